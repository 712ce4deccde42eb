"""Points on an equiangular grid of the sphere: their places, deposit on it, interpolation from it.

The grid has `rows` colatitudes at cell centres (no point on a pole) and 2·rows azimuths. Every
point touches a stencil of 4 x 4 cells. A row beyond a pole is the mirrored row half a turn further.
So that a stencil is one block of memory, work is done on a bordered grid, with two more rows at
either pole, one more column before and two after, which are folded back (deposit) or filled in
(interpolation) for the whole grid at once.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

STENCIL = 4
POLE_ROWS = 2

Basis = Callable[[Array], tuple[Array, ...]]
"""Weights of the four nodes -1, 0, 1, 2 at t in [0, 1]."""

# atan(a) / a as a polynomial in a², a in [0, 1], lowest power first: off by less than 2e-8
_ARCTAN = (
    np.polynomial.chebyshev.Chebyshev.interpolate(
        lambda q: np.arctan(np.sqrt(q)) / np.sqrt(q), 9, domain=[0, 1]
    )
    .convert(kind=np.polynomial.Polynomial)
    .coef
)


class Places(NamedTuple):
    """Stencils: the flat index of their first cell on the bordered grid, and their weights.

    Weights are those of their rows and columns.
    """

    cell: Int[Array, "*n"]
    down: Float[Array, "*n 4"]
    along: Float[Array, "*n 4"]


def columns_of(rows: int) -> int:
    """Columns of the bordered grid."""
    return 2 * rows + STENCIL - 1


def places(direction: Float[Array, "n 3"], rows: int, basis: Basis) -> Places:
    """The stencils of points.

    A NaN comes to lie in some cell, with weights that are not numbers.
    """

    def place(direction: Float[Array, "3"]) -> Places:
        x, y, z = direction
        down = _angle(jnp.sqrt(x**2 + y**2), z) * (rows / math.pi) - 0.5
        along = _angle(y, x) * (rows / math.pi)
        # a stencil begins one node before the floor; two rows and one column of the border come
        # before the grid
        first_row = jnp.floor(down)
        first_column = jnp.floor(along)
        row = jnp.clip(first_row.astype(jnp.int32) + 1, 0, rows)
        column = first_column.astype(jnp.int32)
        column = jnp.clip(jnp.where(column < 0, column + 2 * rows, column), 0, 2 * rows - 1)
        weights = (jnp.stack(basis(t)) for t in (down - first_row, along - first_column))
        return Places(row * columns_of(rows) + column, *weights)

    return in_halves(place, direction)


def in_halves(of_point: Callable[[Any], Any], points: Any) -> Any:
    """`jax.vmap(of_point)(points)` in a loop of two passes.

    The loop keeps XLA from working it out again where it is used.

    It would do so for each of the 16 cells of a stencil and each of their four fields: several
    times the time of a step. An optimisation barrier does not keep XLA's CPU compiler from that.
    """
    n = len(jax.tree.leaves(points)[0])
    return jax.lax.map(of_point, points, batch_size=max(1, n // 2))


def deposit(at: Places, rows: int) -> Float[Array, "rows columns"]:
    """The sum of the points' weights in every cell."""
    width = columns_of(rows)
    bordered = jnp.zeros((rows + 2 * POLE_ROWS) * width, at.down.dtype)
    four_in_a_row = jax.lax.ScatterDimensionNumbers((1,), (), (0,))
    for i in range(STENCIL):
        bordered = jax.lax.scatter_add(
            bordered,
            (at.cell + i * width)[:, None],
            at.down[:, i : i + 1] * at.along,
            four_in_a_row,
            mode="promise_in_bounds",
        )
    return _fold(bordered.reshape(-1, width), rows)


def _fold(bordered: Float[Array, "bordered_rows width"], rows: int) -> Float[Array, "rows columns"]:
    # azimuth is a circle: the columns of the border belong to the other end
    grid = bordered[:, 1 : 1 + 2 * rows]
    grid = grid.at[:, -1].add(bordered[:, 0]).at[:, :2].add(bordered[:, -2:])
    north = grid[:POLE_ROWS]
    inner = grid[POLE_ROWS:-POLE_ROWS]
    south = grid[-POLE_ROWS:]
    inner = inner.at[:POLE_ROWS].add(_turned(north, rows))
    return inner.at[-POLE_ROWS:].add(_turned(south, rows))


def bordered_fields(fields: Float[Array, "rows columns 4"]) -> Float[Array, "cells 4"]:
    """Fields that are smooth at the poles, as `interpolated` wants them."""
    rows = fields.shape[0]
    tall = jnp.concatenate(
        [_turned(fields[:POLE_ROWS], rows), fields, _turned(fields[-POLE_ROWS:], rows)]
    )
    return jnp.concatenate([tall[:, -1:], tall, tall[:, :2]], axis=1).reshape(-1, fields.shape[2])


def interpolated(fields: Float[Array, "cells 4"], at: Places, rows: int) -> Float[Array, "n 4"]:
    """The fields at the points. No array holds their stencils."""
    width = columns_of(rows)

    def of_point(at: Places) -> Float[Array, "4"]:
        total = jnp.zeros(fields.shape[1], fields.dtype)
        for i in range(STENCIL):
            near = (
                fields.at[at.cell + (i * width + j)].get(mode="promise_in_bounds")
                for j in range(STENCIL)
            )
            total = total + at.down[i] * sum(
                weight * value for weight, value in zip(at.along, near, strict=True)
            )
        return total

    return in_halves(of_point, at)


def values_of_all(
    direction: Float[Array, "n 3"],
    rows: int,
    basis: Basis,
    convolve: Callable[[Float[Array, "rows columns"]], Float[Array, "rows columns 4"]],
) -> Float[Array, "n 4"]:
    """What the points feel of the fields that they make: deposit, `convolve`, interpolate."""
    at = places(direction, rows, basis)
    return interpolated(bordered_fields(convolve(deposit(at, rows))), at, rows)


def colatitudes(rows: int) -> Float[np.ndarray, " rows"]:
    """The angle of each row from the north pole."""
    return (np.arange(rows) + 0.5) * np.pi / rows


def cartesian(grid: Float[Array, "3 rows columns"]) -> Float[Array, "4 rows columns"]:
    """From a potential with its slopes to the south and east to its Cartesian gradient.

    Returns the potential and the gradient.

    Unlike slopes, those are smooth at the poles.
    """
    rows, columns = grid.shape[1:]
    theta = colatitudes(rows)[:, None]
    phi = np.arange(columns)[None] * np.pi / rows
    cos_t, sin_t, cos_p, sin_p = (
        jnp.asarray(f(x), grid.dtype) for x in (theta, phi) for f in (np.cos, np.sin)
    )
    value, south, east = grid
    return jnp.stack(
        [
            value,
            south * cos_t * cos_p - east * sin_p,
            south * cos_t * sin_p + east * cos_p,
            -south * sin_t,
        ]
    )


def _turned(
    band: Float[Array, "band columns *rest"], rows: int
) -> Float[Array, "band columns *rest"]:
    """Rows on the other side of a pole."""
    return jnp.roll(band[::-1], rows, axis=1)


def _angle(y: Float[Array, ""], x: Float[Array, ""]) -> Float[Array, ""]:
    """`arctan2(y, x)` to 4e-8, four times faster on a CPU; 0 where both are 0."""
    wide = jnp.abs(x)
    high = jnp.abs(y)
    a = jnp.minimum(wide, high) / jnp.maximum(jnp.maximum(wide, high), jnp.finfo(x.dtype).tiny)
    q = a**2
    ratio = jnp.full_like(q, float(_ARCTAN[-1]))
    for coefficient in _ARCTAN[-2::-1]:
        ratio = ratio * q + float(coefficient)
    angle = a * ratio
    angle = jnp.where(high > wide, math.pi / 2 - angle, angle)
    angle = jnp.where(x < 0, math.pi - angle, angle)
    return jnp.where(y < 0, -angle, angle)
