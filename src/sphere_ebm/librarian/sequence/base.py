"""The contract of networks that read a window of vectors step by step."""

import abc

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class AbstractNetwork(eqx.Module):
    """Reads a window and gives a state after every step, which depends on no later step."""

    @abc.abstractmethod
    def __call__(self, window: Float[Array, "steps features"]) -> Float[Array, "steps states"]:
        """The state after each step.

        Args:
            window: for each step its row of `Frame.inputs`, and the products of the running means
                there with each other. The network begins anew with every window.
        """

    @property
    @abc.abstractmethod
    def width(self) -> int:
        """How many numbers a state has."""


def over_steps(
    layer: eqx.nn.Linear, states: Float[Array, "steps inputs"]
) -> Float[Array, "steps outputs"]:
    """A linear layer on each step."""
    return jax.vmap(layer)(states)


def prefix_means(
    window: Float[Array, "steps features"], spans: tuple[int, ...]
) -> Float[Array, "steps spans features"]:
    """Means of the last vectors up to each step, for each span; of all there are where fewer."""
    sums = jnp.concatenate([jnp.zeros_like(window[:1]), jnp.cumsum(window, axis=0)])
    ends = jnp.arange(1, len(window) + 1)
    means = []
    for span in spans:
        first = jnp.maximum(ends - span, 0)
        count = (ends - first).astype(window.dtype)
        means.append((sums[ends] - sums[first]) / count[:, None])
    return jnp.stack(means, axis=1)
