"""Evaluators of the mean repulsion Q_i = Σ_{j≠i} q_ij and its gradient, and their choice.

There are three of them, with one interface:

- `DirectField`: the exact sum, blocked, O(N²) time and O(N · block) memory; the reference;
- `GridField`: particle-mesh in azimuthal harmonics (`ZonalField`), O(N + rows³);
- `PyramidField`: the same with matrices on bands of rows, O(N + rows² log rows), for kernels of any
  sharpness.
"""

import math
from collections.abc import Callable
from typing import Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from sphere_ebm.geometry.sphere import squared_chord
from sphere_ebm.hamiltonian.fields.costs import BLOCKS, costs_here, device_kind
from sphere_ebm.hamiltonian.fields.pyramid import PyramidField
from sphere_ebm.hamiltonian.fields.zonal import ZonalField

Evaluator = Literal["auto", "direct", "harmonic", "pyramid"]

EVALUATORS: tuple[str, ...] = ("auto", "direct", "harmonic", "pyramid")

# Rows of the grid per unit of sharpness. Error of the force, rms over rms, for s in 3 to 30 and N
# in 500 to 10 000: 1 to 4 % for clustered points, 3 to 7 % for uniform random ones (whose net force
# is mere shot noise). It falls as rows^-4 (tests/hamiltonian/fields/test_zonal.py). The pyramid's
# error is half of that, on as many rows.
ROWS_PER_SHARPNESS = 6.0

# rows³ floats twice: 270 MB at this size. Sharper kernels are for the pyramid.
MAX_ROWS = 320

MAX_SHARPNESS = MAX_ROWS / ROWS_PER_SHARPNESS

# Some 40 rows² floats: 1.5 GB at this size, which is that of eleven million points at s = 0.15
# sqrt(N).
MAX_PYRAMID_ROWS = 3072

MAX_PYRAMID_SHARPNESS = MAX_PYRAMID_ROWS / ROWS_PER_SHARPNESS

# Mean repulsion per point, Q = N ln(1 + 4 s²) / (4 s²) for uniform points, below which the grid's
# own self-term, known to a few per cent only, would be felt.
LEAST_REPULSION = 10.0

# Where only the direct sum is possible it is taken up to this many points; beyond, a run would take
# too long.
DIRECT_LIMIT = 20_000

Field = Callable[[Float[Array, "n 3"]], tuple[Float[Array, " n"], Float[Array, "n 3"]]]


@final
class DirectField(eqx.Module):
    """Q(u_i) = Σ_{j≠i} q(u_i, u_j) and its gradient, by summing over all pairs in blocks."""

    sharpness: Float[Array, ""]
    block_size: int = eqx.field(static=True)

    def __init__(self, sharpness: float, block_size: int | None = None):
        """`block_size` points meet all others at once; None: as many as suit the device."""
        self.sharpness = jnp.asarray(sharpness, jnp.result_type(float))
        self.block_size = BLOCKS[device_kind()] if block_size is None else block_size

    def __call__(
        self, direction: Float[Array, "n 3"]
    ) -> tuple[Float[Array, " n"], Float[Array, "n 3"]]:
        """Q and its gradient, an ambient vector."""
        n = direction.shape[0]
        size = min(self.block_size, n)
        blocks = -(-n // size)
        padded = jnp.pad(direction, ((0, blocks * size - n), (0, 0)))
        everyone = jnp.arange(n, dtype=jnp.int32)
        stretch = self.sharpness.astype(direction.dtype) ** 2

        def rows(start: Int[Array, ""], heads: Float[Array, "size 3"]) -> tuple[Array, Array]:
            itself = start + jnp.arange(size, dtype=jnp.int32)[:, None] == everyone[None]
            q = 1 / (1 + stretch * squared_chord(heads[:, None], direction[None]))
            q = jnp.where(itself, 0, q)
            # a GPU would multiply with fewer digits, and lose the force in the radial part
            product = jnp.matmul(q**2, direction, precision="highest")
            return jnp.sum(q, axis=1), 2 * stretch * product

        starts = jnp.arange(blocks, dtype=jnp.int32) * size
        potential, gradient = jax.lax.map(
            lambda block: rows(*block), (starts, padded.reshape(blocks, size, 3))
        )
        return potential.reshape(-1)[:n], gradient.reshape(-1, 3)[:n]


@final
class GridField(eqx.Module):
    """Q(u_i) and its gradient from the grid.

    That is the zonal field of all points, less q(u_i, u_i) = 1.
    """

    zonal: ZonalField

    def __call__(
        self, direction: Float[Array, "n 3"]
    ) -> tuple[Float[Array, " n"], Float[Array, "n 3"]]:
        """Q and its gradient, an ambient vector near the tangent plane."""
        potential, gradient = self.zonal(direction)
        return potential - 1, gradient


def grid_rows(sharpness: float) -> int:
    """Rows of the grid for a sharpness s: 6 s rounded up to a multiple of 8, at least 24."""
    return max(24, 8 * math.ceil(ROWS_PER_SHARPNESS * sharpness / 8))


def grid_problem(sharpness: float, n_points: int, most_rows: int = MAX_ROWS) -> str | None:
    """Why a grid of at most `most_rows` cannot serve so many points at this sharpness.

    None if it can.
    """
    if grid_rows(sharpness) > most_rows:
        return f"an interaction length of {1 / sharpness:.4g} needs more than {most_rows} rows"
    repulsion = n_points * math.log1p(4 * sharpness**2) / (4 * sharpness**2)
    if repulsion < LEAST_REPULSION:
        return (
            f"{n_points} points at an interaction length of {1 / sharpness:.4g} hardly feel each"
            " other"
        )
    return None


def choose_evaluator(evaluator: str, sharpness: float, n_points: int) -> str:
    """`"direct"`, `"harmonic"` or `"pyramid"`.

    The one asked for, or for `"auto"` the cheapest that is possible, by what each costs on JAX's
    default device (`sphere_ebm.hamiltonian.fields.costs`). Raises ValueError when the choice cannot
    work.
    """
    if evaluator not in EVALUATORS:
        raise ValueError(
            f"`osmotic_evaluator` must be one of {', '.join(EVALUATORS)}; got {evaluator!r}."
        )
    problems = {
        "harmonic": grid_problem(sharpness, n_points),
        "pyramid": grid_problem(sharpness, n_points, MAX_PYRAMID_ROWS),
    }
    rows = grid_rows(sharpness)
    cost = {name: each.of(n_points, rows) for name, each in costs_here().items()}
    possible = [name for name in cost if problems.get(name) is None]
    if evaluator == "auto" and (len(possible) > 1 or n_points <= DIRECT_LIMIT):
        return min(possible, key=cost.__getitem__)
    # harmonic and pyramid serve the same maps, but for the rows
    asked = "pyramid" if evaluator == "auto" else evaluator
    if asked not in possible:
        other = "osmotic_evaluator='pyramid' or " if "pyramid" in possible else ""
        raise ValueError(
            f"osmotic_evaluator={evaluator!r} cannot be used: {problems[asked]}. Raise"
            f" `interaction_length`, or use {other}osmotic_evaluator='direct'."
        )
    return asked


def make_field(
    evaluator: str, sharpness: float, n_points: int
) -> DirectField | GridField | PyramidField:
    """The field evaluator that `choose_evaluator` names, tabulated in the default precision.

    Raises as that does.
    """
    chosen = choose_evaluator(evaluator, sharpness, n_points)
    if chosen == "direct":
        return DirectField(sharpness)
    dtype = jnp.result_type(float)
    if chosen == "pyramid":
        return PyramidField.tabulate(sharpness, grid_rows(sharpness), dtype)
    stretch = 2 * sharpness**2
    zonal = ZonalField.tabulate(
        grid_rows(sharpness),
        kernel=lambda c: 1 / (1 + stretch * (1 - c)),
        derivative=lambda c: stretch / (1 + stretch * (1 - c)) ** 2,
        dtype=dtype,
    )
    return GridField(zonal)
