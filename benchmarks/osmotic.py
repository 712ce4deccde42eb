"""The grid evaluators of the osmotic pressure against the direct sum.

`python -m benchmarks.osmotic`.
"""

import functools
import math
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int

from benchmarks.arguments import add_counts, add_sizes, parser_of
from benchmarks.process import warm_milliseconds
from benchmarks.report import machine, markdown_table, publish, say
from sphere_ebm.geometry.sphere import project_tangent, squared_chord, unit_rows
from sphere_ebm.hamiltonian.fields.evaluators import (
    MAX_SHARPNESS,
    DirectField,
    GridField,
    grid_rows,
    make_field,
)
from sphere_ebm.hamiltonian.fields.pyramid import PyramidField

POINTS = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 200_000, 1_000_000)
DIRECT_TIMED = 20_000
"""Above this many points the direct sum is not timed."""
QUERIES = 2048
"""Errors are those at so many of the points, at most."""
CLUSTERS = 20
CLUSTER_WIDTH = 0.15

AnyField = DirectField | GridField | PyramidField


@dataclass(frozen=True)
class Error:
    """Of one evaluator on one map.

    `force` and `potential` are root mean square differences over root mean squares, forces tangent;
    `energy` is the difference of H / N at Π = 1.
    """

    force: float
    potential: float
    energy: float

    def cells(self) -> list[str]:
        return [f"{100 * self.force:.2f} %", f"{100 * self.potential:.3f} %", f"{self.energy:.5f}"]


@dataclass(frozen=True)
class Measured:
    """One map: errors of both grid evaluators, and milliseconds of all three.

    No entry for what was not run.
    """

    kind: str
    n_points: int
    sharpness: float
    errors: dict[str, Error]
    milliseconds: dict[str, float]

    def cells(self) -> list[str]:
        errors = [self.errors[name].cells() if name in self.errors else ["–"] * 3 for name in GRIDS]
        taken = [
            f"{self.milliseconds[name]:.1f}" if name in self.milliseconds else "–"
            for name in (*GRIDS, "direct")
        ]
        of_map = [
            self.kind,
            str(self.n_points),
            f"{self.sharpness:.1f}",
            str(grid_rows(self.sharpness)),
        ]
        return [*of_map, *(cell for cells in errors for cell in cells), *taken]


GRIDS = ("harmonic", "pyramid")
HEADER = [
    "points are",
    "N",
    "s",
    "rows",
    *(
        f"{of}{error}"
        for of in ("", "pyramid: ")
        for error in ("force error", "potential error", "energy error / N")
    ),
    *(f"{name} ms" for name in (*GRIDS, "direct")),
]


def uniform(n_points: int, rng: np.random.Generator) -> Float32[np.ndarray, "points 3"]:
    return unit_rows(rng.standard_normal((n_points, 3))).astype(np.float32)


def clustered(n_points: int, rng: np.random.Generator) -> Float32[np.ndarray, "points 3"]:
    """Equally likely clusters around uniform centres, Gaussian, about `CLUSTER_WIDTH` radians
    wide.
    """
    centre = unit_rows(rng.standard_normal((CLUSTERS, 3))).astype(np.float32)[
        rng.integers(0, CLUSTERS, n_points)
    ]
    return unit_rows(centre + CLUSTER_WIDTH * rng.standard_normal((n_points, 3))).astype(np.float32)


KINDS: dict[str, Callable[[int, np.random.Generator], Float32[np.ndarray, "points 3"]]] = {
    "uniform": uniform,
    "clustered": clustered,
}


def default_sharpness(n_points: int) -> float:
    """0.15 sqrt(N), at least 3: as `PlacementConfig.sharpness`, but without a limit."""
    return max(0.15 * math.sqrt(n_points), 3.0)


@eqx.filter_jit
def evaluate(
    field: AnyField, direction: Float[Array, "n 3"]
) -> tuple[Float[Array, " n"], Float[Array, "n 3"]]:
    return field(direction)


@functools.partial(jax.jit, static_argnames="block_size")
def exact_at(
    query: Int[Array, " queries"],
    direction: Float[Array, "n 3"],
    sharpness: Float[Array, ""],
    block_size: int = 16,
) -> tuple[Float[Array, " queries"], Float[Array, "queries 3"]]:
    """What `DirectField` gives at some of the points."""

    def one(i: Int[Array, ""]) -> tuple[Array, Array]:
        q = 1 / (1 + sharpness**2 * squared_chord(direction[i][None], direction))
        q = q.at[i].set(0)
        return jnp.sum(q), 2 * sharpness**2 * (q**2 @ direction)

    return jax.lax.map(one, query, batch_size=block_size)


def compare(kind: str, n_points: int, repeats: int) -> Measured:
    """All evaluators on one random map, at the default sharpness for so many points."""
    say(f"osmotic: {kind}, {n_points} points")
    rng = np.random.default_rng(0)
    direction = jnp.asarray(KINDS[kind](n_points, rng))
    query = jnp.asarray(rng.permutation(n_points)[:QUERIES].astype(np.int32))
    sharpness = default_sharpness(n_points)
    exact = exact_at(query, direction, jnp.asarray(sharpness, direction.dtype))
    errors = {}
    milliseconds = {}
    for name in GRIDS:
        if name == "harmonic" and sharpness > MAX_SHARPNESS:
            continue
        field = make_field(name, sharpness, n_points)
        potential, gradient = evaluate(field, direction)
        errors[name] = _errors(direction[query], (potential[query], gradient[query]), exact)
        milliseconds[name] = _milliseconds(field, direction, repeats)
    if n_points <= DIRECT_TIMED:
        milliseconds["direct"] = _milliseconds(DirectField(sharpness), direction, repeats)
    return Measured(kind, n_points, sharpness, errors, milliseconds)


def _errors(
    direction: Float[Array, "n 3"], seen: tuple[Array, Array], exact: tuple[Array, Array]
) -> Error:
    """Forces are -2 N ∇Q / ΣQ, with ΣQ / N taken as the mean over the given points, as for the
    energy log ΣQ.
    """

    def force(potential: Float[Array, " n"], gradient: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
        return project_tangent(direction, -2 * gradient / jnp.mean(potential))

    return Error(
        _relative(force(*seen), force(*exact)),
        _relative(seen[0], exact[0]),
        abs(math.log(float(jnp.mean(seen[0])) / float(jnp.mean(exact[0])))),
    )


def _relative(value: Float[Array, "..."], exact: Float[Array, "..."]) -> float:
    reference = np.asarray(exact, np.float64)
    return float(
        np.linalg.norm(np.asarray(value, np.float64) - reference) / np.linalg.norm(reference)
    )


def _milliseconds(field: AnyField, direction: Float[Array, "n 3"], repeats: int) -> float:
    """Median of warm evaluations."""
    return statistics.median(warm_milliseconds(lambda: evaluate(field, direction), repeats))


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser_of("osmotic", __doc__)
    add_sizes(cli, POINTS)
    add_counts(cli, {"repeats": (7, "timed evaluations")})
    options = cli.parse_args(arguments)
    header = machine(("sphere-ebm", "jax"))
    measured = [compare(kind, n, options.repeats) for kind in KINDS for n in options.points]
    text = f"""# The grid evaluators of the osmotic pressure against the direct sum

{header}
- s = 0.15 sqrt(N), at least 3; errors at up to {QUERIES} of the points, rms over rms against the
  direct sum; time per evaluation of potential and gradient, warm, median of {options.repeats}
- clustered: {CLUSTERS} Gaussian clusters, {CLUSTER_WIDTH} rad wide; the net force between uniform
  points is shot noise
- the first three errors are those of the harmonic evaluator, which ends at s = {MAX_SHARPNESS:.0f}
- –: not run; the direct sum is timed up to {DIRECT_TIMED} points

{markdown_table(HEADER, [row.cells() for row in measured])}"""
    publish(text, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
