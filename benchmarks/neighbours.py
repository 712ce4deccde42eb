"""k-NN at scale: seconds, recall, speed of queries and memory, each set in a process of its own.

python -m benchmarks.neighbours [--data DIR] [--points N ...] [--output FILE]
"""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, Int64

from benchmarks.arguments import add_sizes, parser_of
from benchmarks.mixtures import mixture
from benchmarks.process import peak_mb, run_apart
from benchmarks.report import Check, check_table, machine, markdown_table, publish, say
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.graph.index import NeighbourIndex

K = 15
SAMPLE = 1000
"""Points whose recall is measured, against the exact search of them."""

NEW = 50_000
"""New points of a mixture that are asked for; of a set, `SAMPLE` of its points are left out of the
index.
"""

BATCH = 10_000
WIDTH = 256
SECONDS = {100_000: 40.0, 1_000_000: 480.0}
"""Targets for build and search on two cores."""


@dataclass(frozen=True)
class Measured:
    """One set, indexed."""

    name: str
    points: int
    width: int
    search: str
    build: float
    """Seconds of building the index."""
    own: float
    """Seconds of searching its own points."""
    recall: float
    """Recall@15 of its own points."""
    queries_per_second: float
    """Of new points."""
    new_recall: float
    """Recall@15 of new points."""
    peak_mb: float
    """The most memory that the process has held until it had answered, the embeddings included, in
    10^6 bytes.
    """
    input_mb: float
    """The embeddings alone, in 10^6 bytes."""

    def cells(self) -> list[str]:
        """One row of the table."""
        return [
            f"{self.name}, {self.points} x {self.width}",
            self.search,
            f"{self.build:.1f}",
            f"{self.own:.1f}",
            f"{self.recall:.3f}",
            f"{self.queries_per_second:.0f}",
            f"{self.new_recall:.3f}",
            f"{self.peak_mb:.0f}",
            f"{self.peak_mb - self.input_mb:.0f}",
        ]


def sets(data: Path | None, points: Sequence[int]) -> list[str]:
    """What is measured: every .npz file of `data`, and `mixture-N`."""
    files = [] if data is None else sorted(str(path) for path in data.glob("*.npz"))
    return [*files, *(f"mixture-{n}" for n in points)]


def load(name: str) -> tuple[Float32[np.ndarray, "points width"], Float32[np.ndarray, "new width"]]:
    """The points to index, and new ones."""
    if name.startswith("mixture-"):
        n = int(name.removeprefix("mixture-"))
        whole = mixture(n + NEW, WIDTH, seed=0)
        new = min(NEW, n)
    else:
        with np.load(name) as file:
            whole = file["embeddings"].astype(np.float32)
            new = SAMPLE
        whole = whole[np.random.default_rng(0).permutation(len(whole))]
        n = len(whole) - new
    return whole[:n], whole[n : n + new]


def measure(name: str, search: str) -> Measured:
    """`name` in this process."""
    points, new = load(name)
    start = time.perf_counter()
    index = NeighbourIndex.build(points, search=search)
    built = time.perf_counter()
    found = index.self_neighbours(K)
    searched = time.perf_counter()
    batches = [index.query(new[i : i + BATCH], K) for i in range(0, len(new), BATCH)]
    asked = time.perf_counter()
    peak = peak_mb()
    sample = np.random.default_rng(1).permutation(len(points))[:SAMPLE]
    own = exact(points, points[sample], sample)
    others = exact(points, new[:SAMPLE], np.full(min(SAMPLE, len(new)), -1))
    return Measured(
        Path(name).stem,
        *points.shape,
        "approximate" if index.approximate else "exact",
        built - start,
        searched - built,
        recall(found.index[sample], own),
        len(new) / (asked - searched),
        recall(np.concatenate([batch.index for batch in batches])[:SAMPLE], others),
        peak,
        (points.nbytes + new.nbytes) / 1e6,
    )


def exact(
    points: Float32[np.ndarray, "points width"],
    queries: Float32[np.ndarray, "queries width"],
    own: Int64[np.ndarray, " queries"],
) -> Int[np.ndarray, "queries k"]:
    """The K nearest points of each query, `own` left out, by a search that shares nothing with the
    one that is measured.
    """
    return exact_neighbours(unit_rows(points), unit_rows(queries), K, own=own)


def recall(found: Int[np.ndarray, "queries k"], truth: Int[np.ndarray, "queries k"]) -> float:
    """Share of the true neighbours that were found."""
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]
    return sum(hits) / truth.size


def checks(measured: Measured) -> list[Check]:
    """The targets for one set."""
    name = f"{measured.name}, {measured.search}:"
    found = [Check(f"{name} recall@15", min(measured.recall, measured.new_recall), ">=", 0.95)]
    if measured.points in SECONDS:
        found.append(
            Check(
                f"{name} build and search",
                measured.build + measured.own,
                "<=",
                SECONDS[measured.points],
            )
        )
        found.append(
            Check(
                f"{name} memory on top", (measured.peak_mb - measured.input_mb) / 1000, "<", 6, "GB"
            )
        )
    if measured.points == 100_000:
        found.append(Check(f"{name} queries a second", measured.queries_per_second, ">=", 10_000))
    return found


def apart(name: str, search: str) -> Measured:
    """`measure` in a fresh process."""
    say(f"neighbours: {name}, {search}")
    return Measured(**json.loads(run_apart("neighbours", "--here", name, search)))


HEADER = [
    "set",
    "search",
    "build s",
    "own k-NN s",
    "recall@15",
    "new / s",
    "their recall",
    "peak MB",
    "on top MB",
]


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser_of("neighbours", __doc__)
    cli.add_argument(
        "--data", type=Path, metavar="DIR", help="folder of .npz files with `embeddings`"
    )
    add_sizes(cli, list(SECONDS))
    cli.add_argument("--search", default="auto", help="auto (default), exact or approximate")
    cli.add_argument("--here", nargs=2, help=argparse.SUPPRESS)
    options = cli.parse_args(arguments)
    if options.here:
        print(json.dumps(asdict(measure(*options.here))))
        return 0
    header = machine(("sphere-ebm", "faiss-cpu", "jax"))
    folder = None if options.data is None else options.data.resolve()
    measured = [apart(name, options.search) for name in sets(folder, options.points)]
    text = f"""# Nearest neighbours at scale

{header}
- k = {K}; recall on {SAMPLE} points against all cosines; new points in batches of {BATCH}: up to
  {NEW} of a mixture,
  {SAMPLE} of a set; compilation included
- mixtures: `benchmarks/mixtures.py`, {WIDTH} wide, seed 0
- memory on top: peak of the process less the embeddings, interpreter and libraries included

{markdown_table(HEADER, [row.cells() for row in measured])}

{check_table([check for row in measured for check in checks(row)])}"""
    publish(text, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
