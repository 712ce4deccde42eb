"""Overdamped Langevin dynamics by the Leimkuhler-Matthews scheme on S² x R."""

from typing import Any, ClassVar, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key
from typing_extensions import override

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.langevin import (
    AbstractInertial,
    AbstractOverdamped,
    Stage,
    flow,
    tangent_noise,
)


class LeimkuhlerMatthewsState(NamedTuple):
    """`noise` ξ_n was drawn in the step before and transported to the present tangent planes.

    It is 0 before the first step.
    """

    step: Int[Array, ""]
    noise: SphereState


@final
class LeimkuhlerMatthews(AbstractInertial, AbstractOverdamped):
    """x ← x + h μ F(x) + sqrt(2 h μ T) (ξ_n + ξ_{n+1}) / 2.

    Every noise is used in two steps, half in each.

    On the sphere the step has two legs: a geodesic along h μ F + sqrt(2 h μ T) ξ_n / 2, then, from
    where that ends, one along the other half with a fresh tangent noise ξ_{n+1}, which is carried
    to its end. That is geodesic BAOAB at infinite friction with step sqrt(2 h), one force a step.
    References: Leimkuhler & Matthews 2013 (the scheme), 2016 (the geodesic integrator).

    In flat space its stationary law differs from the Gibbs law by O(h²), and not at all for a
    harmonic well. Curvature alone would spoil that: noise spreads and drift carries by factors 1 +
    O(h) of their own, as if T were T (1 + h μ T / 6). Because the curvature of S² is the same
    everywhere, one factor, 1 + h μ T / 6 on the drift of directions, restores second order (ours;
    the second notebook computes it without sampling, and `python -m benchmarks.laws` measures it).

    `n_nodes` is the size of the block.
    """

    coefficients: Coefficients
    # two degrees of freedom of h μ T each: two independent halves
    variance: ClassVar[int] = 2
    n_nodes: int = eqx.field(static=True)
    dtype: Any = eqx.field(static=True, default=jnp.float32, kw_only=True)

    @override
    def init(self) -> LeimkuhlerMatthewsState:  # type: ignore[override]
        return LeimkuhlerMatthewsState(jnp.zeros((), jnp.int32), self.at_rest())

    @override
    def move(
        self, key: Key[Array, ""], stage: Stage, carried: LeimkuhlerMatthewsState
    ) -> tuple[SphereState, LeimkuhlerMatthewsState]:
        here, _, temperature, h, _, mobility, minimum = stage
        one = SphereState(jnp.ones_like(h), jnp.ones_like(h))
        force = stage.force()
        spread = jax.tree.map(lambda mu: jnp.sqrt(2 * h * mu * temperature) / 2, mobility)
        drift = SphereState(
            (1 + h * mobility.direction * temperature / 6) * force.direction, force.radius
        )
        move = jax.tree.map(
            lambda mu, f, s, xi: h * mu * f + s * xi, mobility, drift, spread, carried.noise
        )
        here, _ = flow(here, move, one, minimum)
        here, noise = flow(here, tangent_noise(key, here, one, temperature), spread, minimum)
        return here, LeimkuhlerMatthewsState(carried.step + 1, noise)
