"""`Recurrent`: layers of LSTM or GRU cells, the networks `lstm` and `gru`."""

from typing import Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from sphere_ebm.librarian.sequence.base import AbstractNetwork

Cell = eqx.nn.LSTMCell | eqx.nn.GRUCell


@final
class Recurrent(AbstractNetwork):
    """Cells one above the other; the state is what the uppermost holds."""

    cells: tuple[Cell, ...]

    def __init__(
        self,
        kind: Literal["lstm", "gru"],
        features: int,
        hidden: int,
        layers: int,
        *,
        key: PRNGKeyArray,
    ):
        make = eqx.nn.LSTMCell if kind == "lstm" else eqx.nn.GRUCell
        keys = jax.random.split(key, layers)
        self.cells = tuple(
            make(features if number == 0 else hidden, hidden, key=keys[number])
            for number in range(layers)
        )

    @property
    @override
    def width(self) -> int:
        return int(self.cells[-1].hidden_size)

    @override
    def __call__(self, window: Float[Array, "steps features"]) -> Float[Array, "steps states"]:
        states = window
        for cell in self.cells:
            states = _run(cell, states)
        return states


def _run(cell: Cell, inputs: Float[Array, "steps inputs"]) -> Float[Array, "steps states"]:
    """One layer over all steps, from a state of zeros."""
    nothing = jnp.zeros(cell.hidden_size, inputs.dtype)
    if isinstance(cell, eqx.nn.LSTMCell):

        def remember(carry: tuple[Array, Array], step: Array) -> tuple[tuple[Array, Array], Array]:
            carry = cell(step, carry)
            return carry, carry[0]

        return jax.lax.scan(remember, (nothing, nothing), inputs)[1]

    def update(carry: Array, step: Array) -> tuple[Array, Array]:
        carry = cell(step, carry)
        return carry, carry

    return jax.lax.scan(update, nothing, inputs)[1]
