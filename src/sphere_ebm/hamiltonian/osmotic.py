"""Osmotic pressure: H = Π N log[ (1 / (N (N - 1))) Σ_{i≠j} q(u_i, u_j) ], q = 1 / (1 + s² chord²).

It depends on the whole configuration, so all points live in one block. With Q_i = Σ_{j≠i} q_ij, the force is
F_i = -2 Π N (∇_i Q_i) / Σ_j Q_j. Three evaluators of Q and ∇Q with one interface:

- `DirectField`: the exact sum, blocked, O(N²) time and O(N · block) memory; the reference;
- `GridField`: particle-mesh in azimuthal harmonics (`sphere_ebm.harmonics`), O(N + rows³);
- `PyramidField`: the same with matrices on bands of rows, O(N + rows² log rows), for kernels of any sharpness.
"""

import math
from collections.abc import Callable
from typing import ClassVar, Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
from thrml import Block, InteractionGroup

from sphere_ebm.hamiltonian.base import (
    AbstractSphereFactor,
    AbstractSphereInteraction,
    Shared,
    SphereState,
    opened,
)
from sphere_ebm.hamiltonian.pyramid import PyramidField
from sphere_ebm.harmonics import ZonalField
from sphere_ebm.sphere import squared_chord

Evaluator = Literal["auto", "direct", "harmonic", "pyramid"]
EVALUATORS: tuple[str, ...] = ("auto", "direct", "harmonic", "pyramid")

# Rows of the grid per unit of sharpness. Error of the force, rms over rms, for s in 3 to 30 and N in 500 to 10 000:
# 1 to 4 % for clustered points, 3 to 7 % for uniform random ones (whose net force is mere shot noise). It falls as
# rows^-4 (tests/harmonics/test_zonal.py). The pyramid's error is half of that, on as many rows.
ROWS_PER_SHARPNESS = 6.0
# rows³ floats twice: 270 MB at this size. Sharper kernels are for the pyramid.
MAX_ROWS = 320
MAX_SHARPNESS = MAX_ROWS / ROWS_PER_SHARPNESS
# Some 40 rows² floats: 1.5 GB at this size, which is that of eleven million points at s = 0.15 sqrt(N).
MAX_PYRAMID_ROWS = 3072
MAX_PYRAMID_SHARPNESS = MAX_PYRAMID_ROWS / ROWS_PER_SHARPNESS
# Mean repulsion per point, Q = N ln(1 + 4 s²) / (4 s²) for uniform points, below which the grid's own self-term, known
# to a few per cent only, would be felt.
LEAST_REPULSION = 10.0
# Where only the direct sum is possible it is taken up to this many points; beyond, a run would take too long.
DIRECT_LIMIT = 20_000

Field = Callable[[Float[Array, "n 3"]], tuple[Float[Array, " n"], Float[Array, "n 3"]]]


@final
class DirectField(eqx.Module):
    """Q(u_i) = Σ_{j≠i} q(u_i, u_j) and its gradient, by summing over all pairs in blocks."""

    sharpness: Float[Array, ""]
    block_size: int = eqx.field(static=True)

    def __init__(self, sharpness: float, block_size: int = 256):
        self.sharpness = jnp.asarray(sharpness, jnp.result_type(float))
        self.block_size = block_size

    def __call__(self, direction: Float[Array, "n 3"]) -> tuple[Float[Array, " n"], Float[Array, "n 3"]]:
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
            return jnp.sum(q, axis=1), 2 * stretch * (q**2 @ direction)

        starts = jnp.arange(blocks, dtype=jnp.int32) * size
        potential, gradient = jax.lax.map(lambda block: rows(*block), (starts, padded.reshape(blocks, size, 3)))
        return potential.reshape(-1)[:n], gradient.reshape(-1, 3)[:n]


@final
class GridField(eqx.Module):
    """Q(u_i) and its gradient from the grid: the zonal field of all points, less q(u_i, u_i) = 1."""

    zonal: ZonalField

    def __call__(self, direction: Float[Array, "n 3"]) -> tuple[Float[Array, " n"], Float[Array, "n 3"]]:
        potential, gradient = self.zonal(direction)
        return potential - 1, gradient


def grid_rows(sharpness: float) -> int:
    """Rows of the grid for a sharpness s: 6 s rounded up to a multiple of 8, at least 24."""
    return max(24, 8 * math.ceil(ROWS_PER_SHARPNESS * sharpness / 8))


def grid_problem(sharpness: float, n_points: int, most_rows: int = MAX_ROWS) -> str | None:
    """Why a grid of at most `most_rows` cannot serve this many points at this sharpness, or None if it can."""
    if grid_rows(sharpness) > most_rows:
        return f"an interaction length of {1 / sharpness:.4g} needs more than {most_rows} rows"
    repulsion = n_points * math.log1p(4 * sharpness**2) / (4 * sharpness**2)
    if repulsion < LEAST_REPULSION:
        return f"{n_points} points at an interaction length of {1 / sharpness:.4g} hardly feel each other"
    return None


def choose_evaluator(evaluator: str, sharpness: float, n_points: int) -> str:
    """`"direct"`, `"harmonic"` or `"pyramid"`: the one asked for, or for `"auto"` the cheapest that is possible.

    The cost model, in milliseconds on one core (`python -m benchmarks.osmotic`): direct 7e-7 N², harmonic
    5e-5 N + 1e-6 rows³, pyramid 6e-5 N + 5e-5 rows². Raises ValueError when the choice cannot work.
    """
    if evaluator not in EVALUATORS:
        raise ValueError(f"`osmotic_evaluator` must be one of {', '.join(EVALUATORS)}; got {evaluator!r}.")
    problems = {
        "harmonic": grid_problem(sharpness, n_points),
        "pyramid": grid_problem(sharpness, n_points, MAX_PYRAMID_ROWS),
    }
    rows = grid_rows(sharpness)
    cost = {
        "direct": 7e-7 * n_points**2,
        "harmonic": 5e-5 * n_points + 1e-6 * rows**3,
        "pyramid": 6e-5 * n_points + 5e-5 * rows**2,
    }
    possible = [name for name in cost if problems.get(name) is None]
    if evaluator == "auto" and (len(possible) > 1 or n_points <= DIRECT_LIMIT):
        return min(possible, key=cost.__getitem__)
    # harmonic and pyramid serve the same maps, but for the rows
    asked = "pyramid" if evaluator == "auto" else evaluator
    if asked not in possible:
        other = "osmotic_evaluator='pyramid' or " if "pyramid" in possible else ""
        raise ValueError(
            f"osmotic_evaluator={evaluator!r} cannot be used: {problems[asked]}. Raise `interaction_length`, or use "
            f"{other}osmotic_evaluator='direct'."
        )
    return asked


def make_field(evaluator: str, sharpness: float, n_points: int) -> DirectField | GridField | PyramidField:
    """The field evaluator that `choose_evaluator` names, tabulated in the default precision. Raises as that does."""
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


@final
class OsmoticPressure(AbstractSphereInteraction):
    """The mean field of all `n_nodes` points. `strength` is Π; `field` evaluates Q and ∇Q."""

    strength: Float[Array, ""] | Shared[Array]
    field: Field | Shared[Field]
    n_nodes: int = eqx.field(static=True)
    name: ClassVar[str] = "osmotic"
    annealed: ClassVar[bool] = False

    def energy_and_force(
        self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]
    ) -> tuple[Float[Array, ""], SphereState]:
        if (held := here.radius.shape[0]) != self.n_nodes:
            raise ValueError(
                f"the block has {held} nodes and the osmotic term couples {self.n_nodes} at once: put all of them in "
                "one block, or leave the term out (osmotic_strength=0)."
            )
        potential, gradient = opened(self.field)(here.direction)
        strength, total, n = opened(self.strength).astype(potential.dtype), jnp.sum(potential), potential.shape[0]
        force = SphereState(-2 * strength * n / total * gradient, jnp.zeros_like(here.radius))
        return strength * n * jnp.log(total / (n * (n - 1.0))), force

    def gather(self, whole: SphereState) -> list[SphereState]:
        return []


@final
class OsmoticFactor(AbstractSphereFactor):
    """Pressure that keeps the map open, from the logarithm of the mean repulsion over all pairs.

    `strength` is Π (energy per point), `sharpness` s, shared with the lateral term. `evaluator` is `"direct"`,
    `"harmonic"`, `"pyramid"` or `"auto"`.
    """

    node_groups: list[Block]
    strength: float
    field: DirectField | GridField | PyramidField

    def __init__(self, block: Block, *, sharpness: float, strength: float = 1.0, evaluator: str = "auto"):
        """Raises ValueError for fewer than two nodes, a strength < 0, a sharpness <= 0 or an unknown evaluator."""
        super().__init__([block])
        if len(block) < 2:
            raise ValueError(f"osmotic pressure needs at least 2 nodes; got {len(block)}. Leave the term out.")
        if not strength >= 0:
            raise ValueError(f"`strength` must be >= 0; got {strength}.")
        if not sharpness > 0:
            raise ValueError(f"`sharpness` must be positive; got {sharpness}.")
        self.strength = strength
        self.field = make_field(evaluator, sharpness, len(block))

    def to_interaction_groups(self) -> list[InteractionGroup]:
        return [InteractionGroup(self._interaction(), self.node_groups[0], [])]

    def energy(self, state: SphereState) -> Float[Array, ""]:
        return self._interaction().energy(state, [], jnp.ones((len(self.node_groups[0]), 1), bool))

    def _interaction(self) -> OsmoticPressure:
        strength = Shared(jnp.asarray(self.strength, jnp.result_type(float)))
        return OsmoticPressure(strength, Shared(self.field), len(self.node_groups[0]))
