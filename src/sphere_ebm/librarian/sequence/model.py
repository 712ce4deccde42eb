"""`NextVector`: weighted running means and what a network adds to them, by the name of a model."""

import math
from collections.abc import Mapping
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, PRNGKeyArray

from sphere_ebm.librarian.sequence.base import AbstractNetwork, over_steps, prefix_means
from sphere_ebm.librarian.sequence.hierarchical import Hierarchical
from sphere_ebm.librarian.sequence.memory import Memory
from sphere_ebm.librarian.sequence.mixture import Mixture
from sphere_ebm.librarian.sequence.recurrent import Recurrent
from sphere_ebm.librarian.sequence.transformer import Transformer
from sphere_ebm.librarian.sequence.windows import spans_of

_SHAPES: Mapping[str, Mapping[str, Mapping[str, int]]] = {
    "small": {
        "lstm": {"hidden": 128, "layers": 1},
        "gru": {"hidden": 128, "layers": 1},
        "transformer": {"hidden": 128, "layers": 2, "heads": 4, "inner": 256},
        "amn": {"experts": 8, "rank": 16, "hidden": 32},
        "hierarchical_gru": {"hidden": 96, "layers": 1},
        "memory_gru": {"hidden": 96, "layers": 1, "slots": 32, "width": 32},
    },
    "full": {
        "lstm": {"hidden": 512, "layers": 2},
        "gru": {"hidden": 512, "layers": 4},
        "transformer": {"hidden": 512, "layers": 6, "heads": 8, "inner": 1792},
        "amn": {"experts": 8, "rank": 56, "hidden": 64},
        "hierarchical_gru": {"hidden": 512, "layers": 2},
        "memory_gru": {"hidden": 512, "layers": 4, "slots": 2048, "width": 768},
    },
}


@final
class NextVector(eqx.Module):
    """Predicts the vector after each step of a window, in the frame of the training documents.

    The prediction is a weighted sum of running means of the window. A network reads the same steps,
    and the products of running means with each other, which tell how alike the last vectors are;
    from its states come changes of the weights and a vector that is added. Weights begin as least
    squares gave them, changes and vector as 0: before training this is the baseline
    `weighted_means`.

    - `weights` (spans,): of running means.
    - `network`: read step by step.
    - `projection`: from a network's states to the vector and the changes; None where the states
      are all that is added (`amn`).
    """

    weights: Float[Array, " spans"]
    network: AbstractNetwork
    projection: eqx.nn.Linear | None
    dropout: eqx.nn.Dropout
    spans: tuple[int, ...] = eqx.field(static=True)

    def __call__(
        self, window: Float[Array, "steps features"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "steps dim"]:
        """The predicted next vector after each step.

        Args:
            window: rows of `Frame.inputs`.
            key: for dropout; without it nothing is left out.
        """
        means = prefix_means(window, self.spans)[:, :, :-1]
        base = jnp.einsum("k,tkd->td", self.weights, means)
        products = jnp.einsum("tkd,tld->tkl", means, means).reshape(len(window), -1)
        states = self.network(jnp.concatenate([window, products], axis=1))
        if self.projection is None:
            return base + states
        kept = self.dropout(states, key=key, inference=key is None)
        said = over_steps(self.projection, kept)
        dim = means.shape[2]
        return base + said[:, :dim] + jnp.einsum("tk,tkd->td", said[:, dim:], means)

    @property
    def parameters(self) -> int:
        """How many numbers are learned."""
        return sum(leaf.size for leaf in jax.tree.leaves(eqx.filter(self, eqx.is_inexact_array)))


def build_model(
    name: str,
    size: str,
    width: int,
    context: int,
    weights: Float32[np.ndarray, " spans"],
    key: PRNGKeyArray,
    *,
    dropout: float = 0.0,
) -> NextVector:
    """An untrained model.

    Args:
        name: of `MODELS`.
        size: `"small"` for two cores, `"full"` for an accelerator.
        width: of the vectors.
        context: how many vectors it will see.
        weights: of the running means of `spans_of(context)`, as the baseline has them.
        key: for what begins at random.
        dropout: share of a network's states that is left out while it trains.
    """
    inside, outside = jax.random.split(key)
    spans = spans_of(context)
    features = width + 1 + len(spans) ** 2
    network = _network(name, _SHAPES[size][name], features, context, spans, inside)
    projection = None
    if not isinstance(network, Mixture):
        blank = eqx.nn.Linear(network.width, width + len(spans), key=outside)
        projection = jax.tree.map(jnp.zeros_like, blank, is_leaf=eqx.is_array)
    return NextVector(
        jnp.asarray(weights),
        network,
        projection,
        eqx.nn.Dropout(dropout),
        spans,
    )


def _network(
    name: str,
    shape: Mapping[str, int],
    features: int,
    context: int,
    spans: tuple[int, ...],
    key: PRNGKeyArray,
) -> AbstractNetwork:
    given: dict[str, Any] = dict(shape)
    if name == "lstm":
        return Recurrent("lstm", features, **given, key=key)
    if name == "gru":
        return Recurrent("gru", features, **given, key=key)
    if name == "transformer":
        return Transformer(features, **given, key=key)
    if name == "amn":
        return Mixture(features, spans, **given, key=key)
    if name == "hierarchical_gru":
        return Hierarchical(features, **given, chunk=math.isqrt(context - 1) + 1, key=key)
    return Memory(features, **given, key=key)
