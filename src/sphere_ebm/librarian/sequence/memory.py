"""`Memory`: a GRU with a bank of slots that it reads by content and writes softly; `memory_gru`."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from sphere_ebm.librarian.sequence.base import AbstractNetwork

_Carry = tuple[Array, tuple[Array, ...]]


@final
class Memory(AbstractNetwork):
    """GRU cells beside a bank of slots.

    At every step the last state asks the bank, by softmax of scaled products with its slots; the
    cells read the vector and the answer. The new state then addresses slots in the same way,
    erases a share of what they hold and adds to them:

        M <- M * (1 - a e') + a v'

    with addresses a, erased shares e and additions v. The bank at the beginning is learned, and
    every window begins with it: nothing is carried from one window to another. Where gradients are
    taken, the bank of every step is held: steps x slots x width numbers for each window.
    """

    bank: Float[Array, "slots width"]
    cells: tuple[eqx.nn.GRUCell, ...]
    asking: eqx.nn.Linear
    addressing: eqx.nn.Linear
    erasing: eqx.nn.Linear
    adding: eqx.nn.Linear

    def __init__(
        self,
        features: int,
        hidden: int,
        layers: int,
        slots: int,
        width: int,
        *,
        key: PRNGKeyArray,
    ):
        keys = jax.random.split(key, 5 + layers)
        self.bank = jax.random.normal(keys[0], (slots, width), jnp.float32) * width**-0.5
        self.asking = eqx.nn.Linear(hidden, width, key=keys[1])
        self.addressing = eqx.nn.Linear(hidden, width, key=keys[2])
        self.erasing = eqx.nn.Linear(hidden, width, key=keys[3])
        self.adding = eqx.nn.Linear(hidden, width, key=keys[4])
        self.cells = tuple(
            eqx.nn.GRUCell(features + width if number == 0 else hidden, hidden, key=one)
            for number, one in enumerate(keys[5:])
        )

    @property
    @override
    def width(self) -> int:
        return int(self.cells[-1].hidden_size + self.bank.shape[1])

    @override
    def __call__(self, window: Float[Array, "steps features"]) -> Float[Array, "steps states"]:
        nothing = jnp.zeros(self.cells[-1].hidden_size, window.dtype)
        start: _Carry = (self.bank, tuple(nothing for _ in self.cells))
        # a module holds arrays and cannot be hashed, which `scan` asks of a bound method
        return jax.lax.scan(lambda carry, step: self._step(carry, step), start, window)[1]

    def _step(self, carry: _Carry, step: Array) -> tuple[_Carry, Array]:
        bank, states = carry
        answer = _addresses(bank, self.asking(states[-1])) @ bank
        inputs = jnp.concatenate([step, answer])
        new = []
        for cell, state in zip(self.cells, states, strict=True):
            inputs = cell(inputs, state)
            new.append(inputs)
        where = _addresses(bank, self.addressing(inputs))[:, None]
        erased = jax.nn.sigmoid(self.erasing(inputs))[None, :]
        bank = bank * (1 - where * erased) + where * self.adding(inputs)[None, :]
        return (bank, tuple(new)), jnp.concatenate([inputs, answer])


def _addresses(
    bank: Float[Array, "slots width"], query: Float[Array, " width"]
) -> Float[Array, " slots"]:
    return jax.nn.softmax(bank @ query * bank.shape[1] ** -0.5)
