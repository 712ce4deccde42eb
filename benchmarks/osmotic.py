"""The harmonic evaluator of the osmotic pressure against the direct sum: `python -m benchmarks.osmotic`."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32

from benchmarks.report import machine, markdown_table, publish, say
from sphere_ebm import PlacementConfig
from sphere_ebm.hamiltonian.osmotic import DirectField, GridField, grid_rows, make_field
from sphere_ebm.sphere import project_tangent

DEFAULT_OUTPUT = Path(__file__).parent / "results" / "osmotic.md"
POINTS = (500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)
DIRECT_TIMED = 20_000
"""Above this many points the direct sum runs once, for the error, and is not timed."""
CLUSTERS = 20
CLUSTER_WIDTH = 0.15


@dataclass(frozen=True)
class Measured:
    """One map: errors of the harmonic evaluator, and milliseconds of both.

    `force_error` and `potential_error` are root mean square differences over root mean squares, forces tangent;
    `energy_error` is the difference of H / N at Π = 1.
    """

    kind: str
    n_points: int
    sharpness: float
    rows: int
    force_error: float
    potential_error: float
    energy_error: float
    harmonic_ms: float
    direct_ms: float | None

    def cells(self) -> list[str]:
        direct, ratio = "–", "–"
        if self.direct_ms is not None:
            direct, ratio = f"{self.direct_ms:.1f}", f"{self.direct_ms / self.harmonic_ms:.1f}"
        return [
            self.kind,
            str(self.n_points),
            f"{self.sharpness:.1f}",
            str(self.rows),
            f"{100 * self.force_error:.2f} %",
            f"{100 * self.potential_error:.3f} %",
            f"{self.energy_error:.5f}",
            f"{self.harmonic_ms:.1f}",
            direct,
            ratio,
        ]


HEADER = [
    "points are",
    "N",
    "s",
    "rows",
    "force error",
    "potential error",
    "energy error / N",
    "harmonic ms",
    "direct ms",
    "direct / harmonic",
]


def uniform(n_points: int, rng: np.random.Generator) -> Float32[np.ndarray, "points 3"]:
    return _unit(rng.standard_normal((n_points, 3)))


def clustered(n_points: int, rng: np.random.Generator) -> Float32[np.ndarray, "points 3"]:
    """Equally likely clusters around uniform centres, Gaussian, about `CLUSTER_WIDTH` radians wide."""
    centre = _unit(rng.standard_normal((CLUSTERS, 3)))[rng.integers(0, CLUSTERS, n_points)]
    return _unit(centre + CLUSTER_WIDTH * rng.standard_normal((n_points, 3)))


KINDS: dict[str, Callable[[int, np.random.Generator], Float32[np.ndarray, "points 3"]]] = {
    "uniform": uniform,
    "clustered": clustered,
}


def _unit(vectors: Float[np.ndarray, "points 3"]) -> Float32[np.ndarray, "points 3"]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@eqx.filter_jit
def evaluate(
    field: DirectField | GridField, direction: Float[Array, "n 3"]
) -> tuple[Float[Array, " n"], Float[Array, "n 3"], Float[Array, ""]]:
    """Potential, tangent force and H / N at Π = 1, as `OsmoticPressure` takes them from the field."""
    potential, gradient = field(direction)
    n = direction.shape[0]
    pairs = jnp.sum(potential)
    return potential, project_tangent(direction, -2 * n / pairs * gradient), jnp.log(pairs / (n * (n - 1.0)))


def compare(kind: str, n_points: int, repeats: int) -> Measured:
    """Both evaluators on one random map, at the sharpness that the default configuration gives so many points."""
    say(f"osmotic: {kind}, {n_points} points")
    direction = jnp.asarray(KINDS[kind](n_points, np.random.default_rng(0)))
    sharpness = PlacementConfig().sharpness(n_points)
    harmonic, direct = make_field("harmonic", sharpness, n_points), make_field("direct", sharpness, n_points)
    potential, force, energy = evaluate(harmonic, direction)
    exact_potential, exact_force, exact_energy = evaluate(direct, direction)
    return Measured(
        kind,
        n_points,
        sharpness,
        grid_rows(sharpness),
        _relative(force, exact_force),
        _relative(potential, exact_potential),
        abs(float(energy) - float(exact_energy)),
        _milliseconds(harmonic, direction, repeats),
        _milliseconds(direct, direction, repeats) if n_points <= DIRECT_TIMED else None,
    )


def _relative(value: Float[Array, "..."], exact: Float[Array, "..."]) -> float:
    reference = np.asarray(exact, np.float64)
    return float(np.linalg.norm(np.asarray(value, np.float64) - reference) / np.linalg.norm(reference))


def _milliseconds(field: DirectField | GridField, direction: Float[Array, "n 3"], repeats: int) -> float:
    """Median of warm evaluations: `compare` has compiled them."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(evaluate(field, direction))
        taken.append(1000 * (time.perf_counter() - start))
    return statistics.median(taken)


def main(arguments: Sequence[str] | None = None) -> int:
    cli = argparse.ArgumentParser(prog="python -m benchmarks.osmotic", description=__doc__)
    cli.add_argument("--points", nargs="+", type=int, default=list(POINTS), metavar="N", help="sizes of the maps")
    cli.add_argument("--repeats", type=int, default=7, help="timed evaluations (default 7)")
    cli.add_argument("--output", type=Path, default=DEFAULT_OUTPUT, metavar="FILE", help="Markdown file to write")
    options = cli.parse_args(arguments)
    header = machine(("sphere-ebm", "jax"))
    measured = [compare(kind, n, options.repeats) for kind in KINDS for n in options.points]
    text = f"""# The harmonic evaluator of the osmotic pressure against the direct sum

{header}
- s by the default configuration; errors are rms over rms against the direct sum; time per evaluation of potential and
  force, warm, median of {options.repeats}
- clustered: {CLUSTERS} Gaussian clusters, {CLUSTER_WIDTH} rad wide; the net force between uniform points is shot noise

{markdown_table(HEADER, [row.cells() for row in measured])}"""
    publish(text, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
