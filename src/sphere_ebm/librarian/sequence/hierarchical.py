"""`Hierarchical`: a GRU within chunks, and one over what chunks came to; `hierarchical_gru`."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from sphere_ebm.librarian.sequence.base import AbstractNetwork, over_steps
from sphere_ebm.librarian.sequence.recurrent import Recurrent


@final
class Hierarchical(AbstractNetwork):
    """Chunks of a window, of about as many vectors as there are chunks: 10 of 10 in a hundred.

    A lower GRU reads each chunk from its beginning; its last state is the chunk's summary. An
    upper GRU reads the summaries. A step's state is a mixture of the lower one and of the upper
    one after the chunk before, so that no step sees a summary of what follows it.
    """

    lower: Recurrent
    upper: Recurrent
    mixing: eqx.nn.Linear
    chunk: int = eqx.field(static=True)

    def __init__(self, features: int, hidden: int, layers: int, chunk: int, *, key: PRNGKeyArray):
        keys = jax.random.split(key, 3)
        self.lower = Recurrent("gru", features, hidden, layers, key=keys[0])
        self.upper = Recurrent("gru", hidden, hidden, layers, key=keys[1])
        self.mixing = eqx.nn.Linear(2 * hidden, 2 * hidden, key=keys[2])
        self.chunk = chunk

    @property
    @override
    def width(self) -> int:
        return int(self.mixing.out_features)

    @override
    def __call__(self, window: Float[Array, "steps features"]) -> Float[Array, "steps states"]:
        steps = len(window)
        chunks = -(-steps // self.chunk)
        # what fills the last chunk comes after all steps, which do not see it
        filled = jnp.pad(window, ((0, chunks * self.chunk - steps), (0, 0)))
        inside = jax.vmap(self.lower)(filled.reshape(chunks, self.chunk, -1))
        above = self.upper(inside[:, -1])
        before = jnp.concatenate([jnp.zeros_like(above[:1]), above[:-1]])
        wide = jnp.broadcast_to(before[:, None], inside.shape)
        both = jnp.concatenate([inside, wide], axis=-1).reshape(chunks * self.chunk, -1)
        return jax.nn.gelu(over_steps(self.mixing, both[:steps]))
