"""`Transformer`: causal attention with rotary positions; the network `transformer`."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from sphere_ebm.librarian.sequence.base import AbstractNetwork, over_steps


@final
class _Layer(eqx.Module):
    """Attention and two linear layers, each added to what it reads after a layer norm."""

    attention: eqx.nn.MultiheadAttention
    before_attention: eqx.nn.LayerNorm
    before_inner: eqx.nn.LayerNorm
    widen: eqx.nn.Linear
    narrow: eqx.nn.Linear
    rotary: eqx.nn.RotaryPositionalEmbedding

    def __init__(self, hidden: int, heads: int, inner: int, *, key: PRNGKeyArray):
        keys = jax.random.split(key, 3)
        self.attention = eqx.nn.MultiheadAttention(heads, hidden, key=keys[0])
        self.before_attention = eqx.nn.LayerNorm(hidden)
        self.before_inner = eqx.nn.LayerNorm(hidden)
        self.widen = eqx.nn.Linear(hidden, inner, key=keys[1])
        self.narrow = eqx.nn.Linear(inner, hidden, key=keys[2])
        self.rotary = eqx.nn.RotaryPositionalEmbedding(hidden // heads)

    def __call__(self, states: Float[Array, "steps hidden"]) -> Float[Array, "steps hidden"]:
        steps = len(states)
        read = jax.vmap(self.before_attention)(states)
        # `MultiheadAttention` puts minus infinity where the mask is false
        mask = jnp.tril(jnp.ones((steps, steps), bool))
        states = states + self.attention(read, read, read, mask, process_heads=self._turned)
        read = jax.vmap(self.before_inner)(states)
        return states + over_steps(self.narrow, jax.nn.gelu(over_steps(self.widen, read)))

    def _turned(self, query: Array, key: Array, value: Array) -> tuple[Array, Array, Array]:
        turn = jax.vmap(self.rotary, in_axes=1, out_axes=1)
        return turn(query), turn(key), value


@final
class Transformer(AbstractNetwork):
    """Layers of causal attention; products of queries and keys depend on distances alone."""

    entrance: eqx.nn.Linear
    layers: tuple[_Layer, ...]
    end: eqx.nn.LayerNorm

    def __init__(
        self,
        features: int,
        hidden: int,
        layers: int,
        heads: int,
        inner: int,
        *,
        key: PRNGKeyArray,
    ):
        keys = jax.random.split(key, layers + 1)
        self.entrance = eqx.nn.Linear(features, hidden, key=keys[0])
        self.layers = tuple(_Layer(hidden, heads, inner, key=one) for one in keys[1:])
        self.end = eqx.nn.LayerNorm(hidden)

    @property
    @override
    def width(self) -> int:
        return int(self.entrance.out_features)

    @override
    def __call__(self, window: Float[Array, "steps features"]) -> Float[Array, "steps states"]:
        states = over_steps(self.entrance, window)
        for layer in self.layers:
            states = layer(states)
        return jax.vmap(self.end)(states)
