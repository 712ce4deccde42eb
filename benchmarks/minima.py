"""What lowers the energy of the default map, and what it costs.

`python -m benchmarks.minima --data DIR`.

Every variant is one change of the configuration. It is run beside the default with the same seeds
and the same neighbours, so that differences are those of the dynamics and the start alone. A
variant wins where no seed has a higher energy on any set, no measure is lower on the mean, and the
time is at most `TIME` of the default's. Exit code 0 when all is measured, 2 for wrong usage.
"""

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from benchmarks.arguments import add_counts, add_data, add_sets, loaded, parser_of
from benchmarks.datasets import SETS, Dataset
from benchmarks.report import machine, markdown_table, mean, publish, say, spread
from sphere_ebm import PlacementConfig, place, read_shard
from sphere_ebm.graph.index import nearest_neighbours
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.quality.maps import agreement
from sphere_ebm.quality.report import QualityReport

PACKAGES = ("sphere-ebm", "jax", "thrml", "numpy")
DEFAULT = "default"
RECALL = "recall@15"
TEXTS = "data"
"""The name of the shards that ship with the package, as a set."""
TIME = 1.05
VARIANTS: dict[str, Mapping[str, Any]] = {
    DEFAULT: {},
    "reinsertions 1": {"reinsertions": 1},
    "reinsertions 2": {"reinsertions": 2},
    "start: spectral": {"start": "spectral"},
    "coupling from 4": {"coupling_start": 4.0},
    "coupling from 16": {"coupling_start": 16.0},
    "T from .03": {"temperature_start": 0.03},
    "T from .3": {"temperature_start": 0.3},
    "cooling over 50 %": {"cooling": 0.5},
    "cooling over 85 %": {"cooling": 0.85},
    "friction .15": {"friction": 0.15},
    "friction .6": {"friction": 0.6},
    "step .7": {"step_size": 0.7},
    "step growth 2": {"step_size_growth": 2.0},
}
QUERIES = 1024
"""Points that ask for trustworthiness; recall is that of all."""
MEASURES: dict[str, Callable[[QualityReport], float]] = {
    "trustworthiness@15": lambda report: report.trustworthiness[15],
    "occupied": lambda report: report.evenness.occupied,
}


@dataclass(frozen=True, eq=False)
class Runs:
    """One variant on one set, a number per seed.

    `energy` is H per point of the map as it is written, `apart` the median angle in degrees between
    the maps of two seeds, in their best rotation or reflection, for each pair of seeds.
    """

    energy: list[float]
    measures: dict[str, list[float]]
    apart: list[float]
    seconds: list[float]

    def less(self, other: "Runs") -> list[float]:
        """Energy less the other's, seed by seed."""
        return [a - b for a, b in zip(self.energy, other.energy, strict=True)]

    def gain(self, other: "Runs", name: str) -> float:
        """Mean of a measure less the other's."""
        return mean(self.measures[name]) - mean(other.measures[name])

    def time(self, other: "Runs") -> float:
        """Least processor time over the other's."""
        return min(self.seconds) / min(other.seconds)

    def wins(self, other: "Runs") -> bool:
        """Lower energy for every seed, no measure lower, about the same time."""
        kept = all(self.gain(other, name) >= 0 for name in self.measures)
        return max(self.less(other)) <= 0 and kept and self.time(other) <= TIME


def measure(data: Dataset, changes: Mapping[str, Any], near: Neighbours, seeds: int) -> Runs:
    """A variant with seeds 0, 1, ..."""
    maps: list[Float32[np.ndarray, "points 3"]] = []
    energy = []
    seconds = []
    measures: dict[str, list[float]] = {name: [] for name in (RECALL, *MEASURES)}
    for seed in range(seeds):
        config = PlacementConfig(seed=seed, **changes)
        begun = time.process_time()
        placed = place(data.embeddings, config=config, neighbours=near)
        seconds.append(time.process_time() - begun)
        assert placed.point_energy is not None
        assert placed.kept is not None
        energy.append(float(placed.point_energy.mean(dtype=np.float64)))
        measures[RECALL].append(float(placed.kept.mean(dtype=np.float64)))
        # of the default configuration, so that the same points ask on every map
        asked = dataclasses.replace(placed, config=PlacementConfig())
        report = asked.quality(ks=(15,), queries=QUERIES)
        for name, value in MEASURES.items():
            measures[name].append(value(report))
        maps.append(placed.direction)
    pairs = itertools.combinations(maps, 2)
    apart = [agreement(a, b, reflect=True).median_degrees for a, b in pairs]
    return Runs(energy, measures, apart, seconds)


def measure_set(
    data: Dataset, names: Sequence[str], seeds: int, reinsertions: int
) -> dict[str, Runs]:
    """The variants of these names on one set, and the default first, which they are paired with."""
    near = nearest_neighbours(data.embeddings, PlacementConfig().neighbours)
    place(data.embeddings, neighbours=near)  # compiles what all variants run
    found = {}
    for name in dict.fromkeys([DEFAULT, *names]):
        changes = {"reinsertions": reinsertions} | VARIANTS[name]
        found[name] = measure(data, changes, near, seeds)
        say(f"minima: {data.name}, {name}: energy {mean(found[name].energy):.4f}")
    return found


def table(found: Mapping[str, Runs]) -> str:
    """A row for every variant: means, and changes against the default with the same seeds."""
    base = found[DEFAULT]
    header = ["variant", "energy per point", "change", RECALL, *MEASURES, "seeds apart", "time"]
    rows = []
    for name, runs in found.items():
        measures = [f"{mean(runs.measures[each]):.4f}" for each in (RECALL, *MEASURES)]
        cells = [name, f"{mean(runs.energy):.4f}", spread(runs.less(base), 4), *measures]
        rows.append([*cells, f"{mean(runs.apart):.1f}°" if runs.apart else "–"])
        rows[-1].append(f"{runs.time(base):.2f}")
    return markdown_table(header, rows)


def winners(found: Mapping[str, Mapping[str, Runs]]) -> list[str]:
    """Variants that win on every set."""
    names = list(next(iter(found.values())))
    return [
        name
        for name in names
        if name != DEFAULT and all(runs[name].wins(runs[DEFAULT]) for runs in found.values())
    ]


def texts(folder: Path = Path(__file__).parent.parent / "data") -> Dataset:
    """The shards that ship with the package, all of one map."""
    tables = [read_shard(path) for path in sorted(folder.glob("*.safetensors"))]
    documents = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    return Dataset(TEXTS, np.concatenate([table.embeddings for table in tables]), documents)


def parser() -> argparse.ArgumentParser:
    cli = parser_of("minima", __doc__)
    add_data(cli)
    add_sets(cli, (*SETS, TEXTS))
    add_counts(cli, {"seeds": (3, "placements per variant")})
    cli.add_argument(
        "--variants",
        nargs="+",
        choices=list(VARIANTS),
        default=list(VARIANTS),
        metavar="NAME",
        help="what to run beside the default (default: all)",
    )
    cli.add_argument(
        "--reinsertions",
        type=int,
        default=0,
        metavar="N",
        help="of the default and of every variant that does not name its own (default: 0)",
    )
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser()
    options = cli.parse_args(arguments)
    header = machine(PACKAGES)
    files = loaded(cli, [name for name in options.sets if name != TEXTS], options.data)
    datasets = [*files, *([texts()] if TEXTS in options.sets else [])]
    asked = (options.variants, options.seeds, options.reinsertions)
    found = {data.name: measure_set(data, *asked) for data in datasets}
    sections = "\n\n".join(f"## {name}\n\n{table(runs)}" for name, runs in found.items())
    text = f"""# Lower minima at the same cost

{header}
- reinsertions of every variant that does not name its own: {options.reinsertions}
- seeds 0 to {options.seeds - 1}, paired; change: energy per point less the default's with the same
  seed, mean and range; seeds apart: median angle in the best rotation or reflection; time: least
  processor time over the default's, neighbour search not included
- wins on every set: {", ".join(winners(found)) or "none"}

{sections}"""
    publish(text, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
