"""A large map is loaded, asked one question, and joined by others, each in a process of its own.

`python -m benchmarks.loading [--points N ...] [--new M]`

Maps are made up: directions of a mixture's first components, which no dynamics has seen. What is
read, searched and settled is as large as that of a map that was fitted.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arguments import add_counts, add_sizes, parser_of
from benchmarks.mixtures import mixture
from benchmarks.process import peak_mb, run_apart
from benchmarks.report import Check, check_table, finish, machine, markdown_table, say
from sphere_ebm import Placement, PlacementConfig
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.formats import FROZEN, PLACEMENT
from sphere_ebm.geometry.shells import assign_shells, ideal_radii
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.maps.config import shells_of
from sphere_ebm.maps.kept import kept_frozen_map

POINTS = (100_000, 1_000_000)
NEW = 20_000
WIDTH = 256
QUERIES = 9
PARTS = ("hash", "placement", "index")
"""What loading consists of."""
LOADED = 2.0
"""Seconds in which a map of a million points is to be loaded."""
ASKED = 0.2
"""Seconds in which one query is to be answered then."""


def made_up(points: int, seed: int = 0) -> Placement:
    """A placement of a mixture, by its first three components."""
    embeddings = mixture(points, WIDTH, seed=seed)
    config = PlacementConfig()
    prominence = np.linalg.norm(embeddings, axis=1)
    radius = ideal_radii(prominence, shells_of(config), config.radius_order, seed=0)
    direction = unit_rows(embeddings[:, :3]).astype(np.float32)
    spread = np.full(points, 0.1, np.float32)
    return Placement(
        direction=direction,
        radius=radius,
        shell=assign_shells(radius, shells_of(config)),
        radius_std=spread,
        angle_std=spread,
        thermal_std=spread,
        prominence=prominence,
        energy={},
        step=np.zeros(0, np.int64),
        converged=True,
        config=config,
        replicas=direction[None],
        embeddings=embeddings,
    )


def own_mb() -> float:
    """Memory of this process that is mapped from no file, in 10^6 bytes; nan where nobody tells.

    Other processes that load the same map share the rest.
    """
    path = Path("/proc/self/smaps_rollup")
    if not path.exists():
        return float("nan")
    lines = path.read_text(encoding="ascii").splitlines()
    own = next(line for line in lines if line.startswith("Anonymous"))
    return int(own.split()[1]) * 1024 / 1e6


def asked_here(folder: Path, new: int) -> None:
    """Load the map of a folder, let points join it, and print what that took, as JSON."""
    taken: dict[str, Any] = {}

    def timed(name: str, run: Callable[[], Any]) -> Any:
        clocks = (time.perf_counter(), time.process_time())
        found = run()
        taken[name] = time.perf_counter() - clocks[0]
        taken[f"{name}_processor"] = time.process_time() - clocks[1]
        return found

    path = folder / PLACEMENT
    digest = timed("hash", lambda: sha256_of(path))
    placement = timed("placement", lambda: Placement.load(path, mapped=True))
    frozen = timed("index", lambda: kept_frozen_map(placement, folder / FROZEN, digest))
    for clock in ("", "_processor"):
        taken[f"load{clock}"] = sum(taken[f"{part}{clock}"] for part in PARTS)
    points = mixture(new, WIDTH, seed=1)
    timed("first", lambda: frozen.place(points[:1]))
    each = []
    for row in range(1, QUERIES):
        begun = time.perf_counter()
        frozen.place(points[row : row + 1])
        each.append(time.perf_counter() - begun)
    taken["query"] = statistics.median(each)
    timed("join", lambda: frozen.place(points))
    taken["own_mb"] = own_mb()
    taken["peak_mb"] = peak_mb()
    print(json.dumps(taken))


def measure(points: int, new: int) -> dict[str, Any]:
    """A map of so many points, frozen once, then loaded by another process."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        say(f"loading: {points} points")
        placement = made_up(points)
        digest = placement.save(folder / PLACEMENT, embeddings=True)
        begun = time.perf_counter()
        kept_frozen_map(placement, folder / FROZEN, digest)
        frozen = time.perf_counter() - begun
        kept = (folder / FROZEN).stat().st_size if (folder / FROZEN).exists() else 0
        del placement
        found = json.loads(run_apart("loading", "--asked", str(folder), "--new", str(new)))
    return found | {"points": points, "frozen": frozen, "kept_mb": kept / 1e6, "new": new}


HEADER = [
    "points",
    "frozen s",
    "kept MB",
    "load s",
    "processor s",
    "of them hash, placement, index",
    "first query s",
    "query s",
    "joined a second",
    "a processor second",
    "own MB",
    "peak MB",
]


def cells(row: dict[str, Any]) -> list[str]:
    """One row of the table."""
    parts = ", ".join(f"{row[f'{name}_processor']:.2f}" for name in PARTS)
    return [
        str(row["points"]),
        f"{row['frozen']:.1f}",
        f"{row['kept_mb']:.0f}",
        f"{row['load']:.2f}",
        f"{row['load_processor']:.2f}",
        parts,
        f"{row['first']:.2f}",
        f"{row['query']:.3f}",
        f"{row['new'] / row['join']:.0f}",
        f"{row['new'] / row['join_processor']:.0f}",
        f"{row['own_mb']:.0f}",
        f"{row['peak_mb']:.0f}",
    ]


def checks(rows: Sequence[dict[str, Any]]) -> list[Check]:
    """The targets for a map of a million points."""
    large = [row for row in rows if row["points"] == POINTS[-1]]
    return [
        check
        for row in large
        for check in (
            Check(f"load {row['points']} points", row["load"], "<", LOADED, "s"),
            Check(f"one query of {row['points']} points", row["query"], "<", ASKED, "s"),
        )
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every target is met, 1 when one is missed, 2 for wrong usage."""
    cli = parser_of("loading", __doc__)
    add_sizes(cli, POINTS)
    add_counts(cli, {"new": (NEW, "points that join")})
    cli.add_argument("--asked", type=Path, metavar="FOLDER", help="load this map, in this process")
    options = cli.parse_args(arguments)
    if options.asked is not None:
        asked_here(options.asked, options.new)
        return 0
    rows = [measure(points, options.new) for points in options.points]
    text = "\n\n".join(
        [
            "# Loading a map",
            machine(["jax", "faiss-cpu", "thrml"]),
            markdown_table(HEADER, [cells(row) for row in rows]),
            check_table(checks(rows)),
        ]
    )
    return finish(text, options.output, checks(rows))


if __name__ == "__main__":
    sys.exit(main())
