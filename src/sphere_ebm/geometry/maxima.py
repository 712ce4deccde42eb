"""Maxima of a field on the grid of `SphericalHarmonics`, where a search for its peaks begins."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def highest_around(field: Float[Array, "batch rows columns"]) -> Float[Array, "batch rows columns"]:
    """The largest value of each node and its eight neighbours: a node that has it is a maximum.

    Beyond a pole the next row is the same row half a turn further. A maximum of nine is one along
    the columns of those along the rows.
    """
    half_turn = jnp.roll(field, field.shape[1], axis=2)
    tall = jnp.concatenate([half_turn[:, :1], field, half_turn[:, -1:]], axis=1)
    rows = jnp.maximum(jnp.maximum(tall[:, :-2], tall[:, 1:-1]), tall[:, 2:])
    return jnp.maximum(jnp.maximum(jnp.roll(rows, 1, axis=2), rows), jnp.roll(rows, -1, axis=2))
