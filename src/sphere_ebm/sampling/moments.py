"""Running moments of configurations: memory for the mean and the spread, not for the samples."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sphere_ebm.hamiltonian.base import SphereState


class Moments(NamedTuple):
    """Running mean and sum of squared deviations of every point, over `count` samples.

    Source: Welford 1962.
    """

    count: Float[Array, ""]  # type: ignore[assignment]  # hides tuple.count
    mean: SphereState
    deviation: SphereState


def empty_moments(state: SphereState) -> Moments:
    """Moments of no sample yet, for configurations shaped as `state`."""
    zero = jax.tree.map(jnp.zeros_like, state)
    return Moments(jnp.zeros((), state.radius.dtype), zero, zero)


def accumulate(moments: Moments, state: SphereState) -> Moments:
    """Moments with one more sample."""
    count = moments.count + 1
    before = jax.tree.map(jnp.subtract, state, moments.mean)
    mean = jax.tree.map(lambda m, d: m + d / count, moments.mean, before)
    deviation = jax.tree.map(
        lambda s, x, m, d: s + d * (x - m), moments.deviation, state, mean, before
    )
    return Moments(count, mean, deviation)
