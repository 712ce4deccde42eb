"""Whether labels of swept maps say how far off other seeds put their points.

`python -m benchmarks.sweeps --data DIR [--sets wordnet-2k] [--landmarks N] [--seeds 0 1 ...]`

Each set is labelled by landmarks and sweeps with every seed. Of each pair of seeds, one map's
`angle_std` is compared with the angles to where the other map has the points, in its frame.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from benchmarks.arguments import add_counts, add_data, add_sets, loaded, parser_of
from benchmarks.datasets import Dataset
from benchmarks.report import Check, check_table, finish, machine, markdown_table, say
from sphere_ebm import PlacementConfig, label, read_labels
from sphere_ebm.geometry.frames import angles_between, robust_frame, turned

TENTHS = 10


@dataclass(frozen=True)
class Labelled:
    """The labels of one seed: directions, and what they state of their error, in radians."""

    direction: Float32[np.ndarray, "points 3"]
    angle_std: Float32[np.ndarray, " points"]


@dataclass(frozen=True)
class Compared:
    """What the labels of `seed` state beside what `other` found.

    `ratio`: root mean square angle over root mean square of what is stated. `tenths`: the same of
    each tenth of the points, the surest first.
    """

    data: str
    seed: int
    other: int
    found: float
    stated: float
    ratio: float
    tenths: tuple[float, ...]

    def cells(self) -> list[str]:
        """One row of the table; angles in degrees."""
        return [
            self.data,
            f"{self.seed}, {self.other}",
            f"{np.degrees(self.stated):.1f}",
            f"{np.degrees(self.found):.1f}",
            f"{self.ratio:.2f}",
            " ".join(f"{each:.2f}" for each in self.tenths),
        ]


def labelled(data: Dataset, landmarks: int, seed: int, replicas: int) -> Labelled:
    """Sweep a set from so many landmarks, with one seed."""
    say(f"sweeps: {data.name}, seed {seed}")
    with tempfile.TemporaryDirectory() as folder:
        shard = Path(folder) / "all.npy"
        np.save(shard, data.embeddings)
        config = PlacementConfig(seed=seed, replicas=replicas)
        run = label(shard, Path(folder) / "out", config, landmarks=landmarks, page=False)
        found = read_labels(run.files[shard])
    return Labelled(found.direction, found.angle_std)


def compared(data: str, seeds: tuple[int, int], one: Labelled, other: Labelled) -> Compared:
    """What `one` states beside where `other` has the points."""
    moved = turned(other.direction, robust_frame(one.direction, other.direction))
    angle = angles_between(one.direction, moved)
    by_stated = np.array_split(np.argsort(one.angle_std, kind="stable"), TENTHS)
    found = _root(angle)
    stated = _root(one.angle_std)
    tenths = tuple(_root(angle[rows]) / _root(one.angle_std[rows]) for rows in by_stated)
    return Compared(data, *seeds, found, stated, found / stated, tenths)


def _root(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def checks(rows: Sequence[Compared]) -> list[Check]:
    """Of each map, the mean over the others: labels state no less than half, and no more than twice
    what was found.
    """
    found = []
    for key, group in itertools.groupby(rows, key=lambda row: (row.data, row.seed)):
        mean = float(np.mean([row.ratio for row in group]))
        name = f"{key[0]}, seed {key[1]}: found / stated"
        found += [Check(name, mean, ">=", 0.5), Check(name, mean, "<=", 1.25)]
    return found


HEADER = ["set", "seeds", "stated °", "found °", "found / stated", "by tenths, surest first"]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every target is met, 1 when one is missed, 2 for wrong usage."""
    cli = parser_of("sweeps", __doc__)
    add_data(cli)
    add_sets(cli, ["wordnet-2k"])
    add_counts(cli, {"landmarks": (500, "points that are fitted"), "replicas": (15, "of each map")})
    cli.add_argument(
        "--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="of the maps"
    )
    options: argparse.Namespace = cli.parse_args(arguments)
    rows = []
    for data in loaded(cli, options.sets, options.data):
        maps = {
            seed: labelled(data, options.landmarks, seed, options.replicas)
            for seed in options.seeds
        }
        rows += [
            compared(data.name, pair, maps[pair[0]], maps[pair[1]])
            for pair in itertools.permutations(options.seeds, 2)
        ]
    how = f"{options.landmarks} landmarks, {options.replicas} replicas"
    text = "\n\n".join(
        [
            "# What labels of swept maps say of their error",
            machine(["jax", "faiss-cpu", "thrml"]),
            f"{how}, each with landmarks of its own",
            markdown_table(HEADER, [row.cells() for row in rows]),
            check_table(checks(rows)),
        ]
    )
    return finish(text, options.output, checks(rows))


if __name__ == "__main__":
    sys.exit(main())
