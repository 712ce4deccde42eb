"""Do error bars tell where another run puts a point? With the project's targets, and a figure.

`python -m benchmarks.certainty --data DIR`.

Exit code 0 when every target is met, 1 when one is missed, 2 for wrong usage.
"""

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Float, Float32
from scipy.stats import spearmanr

from benchmarks.arguments import add_counts, add_data, add_sets, loaded, parser_of
from benchmarks.datasets import SETS, Dataset
from benchmarks.process import peak_mb, run_apart
from benchmarks.report import Check, finish, machine, markdown_table, say, target_section
from sphere_ebm import FrozenMap, Placement, PlacementConfig, place
from sphere_ebm.geometry.frames import angles_between, robust_frame
from sphere_ebm.graph.index import NeighbourIndex
from sphere_ebm.maps.replicas import SAME_PLACE

PACKAGES = ("sphere-ebm", "jax", "thrml", "numpy", "scipy")
TENTHS = 10
COSTS = {10_000: 2.5, 100_000: 1.6}
"""Points, and how many times as long as without replicas `place` may take."""
MEMORY = 1.3


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is stated of some points of a map, and what further seeds found: angles in radians."""

    data: str
    points: str
    stated: Float[np.ndarray, " points"]
    thermal: Float[np.ndarray, " points"]
    found: Float[np.ndarray, " points"]
    """Root mean square angle to the further seeds' places."""
    two: float
    """Share of points with two modes."""
    hit_stated: float
    """Of those, the stated probability that a further seed lands within 10° of one of them."""
    hit_found: float

    @property
    def rank(self) -> float:
        """Spearman's correlation of stated and found."""
        return float(spearmanr(self.stated, self.found).statistic)

    @property
    def thermal_rank(self) -> float:
        """The same for the thermal spread of one chain."""
        return float(spearmanr(self.thermal, self.found).statistic)

    @property
    def ratio(self) -> float:
        """Found over stated, root mean squares over all points."""
        return _root(self.found) / _root(self.stated)

    @property
    def tenths(self) -> list[tuple[float, float]]:
        """Stated and found in each tenth of what is stated."""
        parts = np.array_split(np.argsort(self.stated, kind="stable"), TENTHS)
        return [(_root(self.stated[part]), _root(self.found[part])) for part in parts]

    def checks(self) -> list[Check]:
        """The targets of fitted points, or of joined ones."""
        name = f"{self.data}, {self.points}"
        fitted = self.points == "fitted"
        low, high = (0.88, 1.14) if fitted else (0.75, 1.33)
        rank = Check(f"{name}: Spearman(stated, found)", self.rank, ">=", 0.6 if fitted else 0.4)
        overall = [
            Check(f"{name}: found / stated over all", self.ratio, ">=", low),
            Check(f"{name}: found / stated over all", self.ratio, "<=", high),
        ]
        if not fitted:
            return [rank, *overall]
        ratios = [found / stated for stated, found in self.tenths]
        tenths = [
            Check(f"{name}: smallest ratio of a tenth", min(ratios), ">=", 0.7),
            Check(f"{name}: largest ratio of a tenth", max(ratios), "<=", 1.4),
        ]
        if not self.two:
            return [rank, *overall, *tenths]
        hits = f"{name}: share within 10° of two modes, over what is stated"
        return [rank, *overall, *tenths, Check(hits, self.hit_found / self.hit_stated, ">=", 1.0)]


def fitted_points(data: Dataset, seed: int, seeds: int) -> Comparison:
    """The default map of a set against further seeds."""
    placed = place(data.embeddings, config=PlacementConfig(seed=seed))
    others = []
    for further in _further(seed, seeds):
        other = place(data.embeddings, config=PlacementConfig(seed=further, replicas=0))
        others.append(other.direction @ robust_frame(placed.direction, other.direction))
        say(f"certainty: {data.name}, seed {further}")
    return compared(data.name, "fitted", placed, others)


def joined_points(data: Dataset, seed: int, seeds: int) -> Comparison:
    """A fifth of a set joins the map of the others; against further seeds of that map."""
    order = np.random.default_rng(seed).permutation(len(data))
    new = np.sort(order[: len(data) // 5])
    old = np.sort(order[len(data) // 5 :])
    index = NeighbourIndex.build(data.embeddings[old])
    fitted = place(data.embeddings[old], config=PlacementConfig(seed=seed))
    joined = FrozenMap(fitted, index=index).place(data.embeddings[new])
    others = []
    for further in _further(seed, seeds):
        other = place(data.embeddings[old], config=PlacementConfig(seed=further, replicas=0))
        frame = robust_frame(fitted.direction, other.direction)
        placed = FrozenMap(other, index=index).place(data.embeddings[new])
        others.append(placed.direction @ frame)
        say(f"certainty: {data.name}, joined, seed {further}")
    return compared(data.name, "joined", joined, others)


def compared(
    data: str, points: str, placed: Placement, others: Sequence[Float[np.ndarray, "points 3"]]
) -> Comparison:
    """What `placed` states beside where `others` lie, in its frame."""
    squared = [angles_between(placed.direction, other) ** 2 for other in others]
    two = placed.mode_weight[:, 1] > 0
    near = [
        np.minimum(*(angles_between(placed.modes[:, m], other) for m in (0, 1)))[two] < SAME_PLACE
        for other in others
    ]
    return Comparison(
        data,
        points,
        placed.angle_std.astype(np.float64),
        placed.thermal_std.astype(np.float64),
        np.sqrt(np.mean(squared, axis=0)),
        float(two.mean()),
        float(placed.mode_weight[two].sum(axis=1).mean()) if two.any() else 0.0,
        float(np.mean(near)) if two.any() else 0.0,
    )


def _further(seed: int, seeds: int) -> range:
    return range(seed + 1, seed + 1 + seeds)


def _root(values: Float[np.ndarray, " points"]) -> float:
    return float(np.sqrt(np.mean(values**2)))


def summary_table(comparisons: Sequence[Comparison]) -> str:
    """One row per set and kind of points."""
    rows = [
        [
            c.data,
            c.points,
            str(len(c.stated)),
            f"{c.thermal_rank:.2f}",
            f"{c.rank:.2f}",
            f"{np.degrees(np.median(c.thermal)):.1f}",
            f"{np.degrees(np.median(c.stated)):.1f}",
            f"{np.degrees(np.median(c.found)):.1f}",
            f"{c.ratio:.2f}",
            f"{c.two:.3f}",
            f"{c.hit_stated:.2f}",
            f"{c.hit_found:.2f}",
        ]
        for c in comparisons
    ]
    header = ["set", "points", "N", "rho thermal", "rho", "thermal", "stated", "found"]
    header += ["found / stated", "two modes", "within 10°, stated", "found"]
    return markdown_table(header, rows)


def tenth_table(comparisons: Sequence[Comparison]) -> str:
    """Found over stated by tenth of what is stated, surest first."""
    rows = [
        [c.data, c.points, *(f"{found / stated:.2f}" for stated, found in c.tenths)]
        for c in comparisons
    ]
    return markdown_table(["set", "points", *map(str, range(1, TENTHS + 1))], rows)


def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """The calibration figure: found against stated by tenth, and what the thermal spread says."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from sphere_ebm.figures.colours import PALETTE

    figure, panels = plt.subplots(1, 2, figsize=(9, 4.4), sharey=True, layout="constrained")
    sets = list(dict.fromkeys(c.data for c in comparisons))
    for c in comparisons:
        colour = PALETTE[sets.index(c.data) % len(PALETTE)]
        label = f"{c.data}, {c.points} ({c.rank:.2f})"
        style = "o-" if c.points == "fitted" else "s--"
        panels[0].plot(*np.degrees(c.tenths).T, style, ms=4, lw=1.2, color=colour, label=label)
        thermal = dataclasses.replace(c, stated=c.thermal).tenths
        panels[1].plot(*np.degrees(thermal).T, style, ms=4, lw=1.2, color=colour)
    for panel, title in zip(panels, ("angle_std", "thermal_std: one chain"), strict=True):
        panel.plot((0.3, 90), (0.3, 90), color="0.6", lw=0.8)
        panel.set(xscale="log", yscale="log", xlim=(0.3, 90), ylim=(1, 90))
        panel.set(title=title, xlabel="stated, degrees")
    panels[0].set_ylabel("found by further seeds, degrees")
    panels[0].legend(frameon=False, fontsize=7, title="tenths of each set (rank correlation)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def synthetic(points: int, width: int = 384) -> Float32[np.ndarray, "points width"]:
    """Points of 200 overlapping clusters, for costs alone."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((200, width))
    own = centres[rng.integers(0, len(centres), points)] + rng.standard_normal((points, width))
    return own.astype(np.float32)


def timed(rows: Float32[np.ndarray, "points width"], replicas: int | None) -> float:
    """Seconds of one `place`."""
    begin = time.perf_counter()
    place(rows, config=PlacementConfig(replicas=replicas))
    return time.perf_counter() - begin


def costs(sizes: Sequence[int], repeats: int) -> list[Check]:
    """Time and peak memory of the default against no replicas, warm and in turn in one process."""
    checks = []
    for points in sizes:
        rows = synthetic(points)
        for replicas in (0, None):
            timed(rows, replicas)
        pairs = [(timed(rows, 0), timed(rows, None)) for _ in range(repeats)]
        ratio = statistics.median(default / plain for plain, default in pairs)
        say(f"certainty: {points} points, {ratio:.2f} times as long with replicas")
        name = f"{points} points: time of the default over that without replicas"
        checks.append(Check(name, ratio, "<=", COSTS.get(points, 2.5)))
        memory = [float(run_apart("certainty", f"--peak={points},{n}")) for n in (0, -1)]
        name = f"{points} points: peak memory of the default over that without replicas"
        checks.append(Check(name, memory[1] / memory[0], "<=", MEMORY))
    return checks


def parser() -> argparse.ArgumentParser:
    cli = parser_of("certainty", __doc__)
    add_data(cli)
    add_sets(cli, SETS)
    counts = {"seeds": (3, "further seeds"), "repeats": (3, "timed pairs of runs")}
    add_counts(cli, counts)
    cli.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the map (default 0)")
    cli.add_argument("--costs", nargs="*", type=int, default=list(COSTS), metavar="POINTS")
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) == 1 and given[0].startswith("--peak="):
        points, replicas = map(int, given[0].removeprefix("--peak=").split(","))
        timed(synthetic(points), None if replicas < 0 else replicas)
        print(peak_mb())
        return 0
    cli = parser()
    asked = cli.parse_args(given)
    comparisons = []
    for data in loaded(cli, asked.sets, asked.data):
        comparisons.append(fitted_points(data, asked.seed, asked.seeds))
        comparisons.append(joined_points(data, asked.seed, asked.seeds))
    checks = [check for c in comparisons for check in c.checks()]
    checks += costs(asked.costs, asked.repeats)
    figure = asked.output.with_suffix(".png")
    if comparisons:
        draw(comparisons, figure)
    text = f"""# What error bars say, and what further seeds find

{machine(PACKAGES)}
- the default map of seed {asked.seed} against {asked.seeds} further seeds, each turned or reflected
  onto it; angles in degrees, medians over points; drawn in {figure.name}
- joined: a fifth of each set joins the map of the others

{target_section(checks)}

## Stated and found

{summary_table(comparisons)}

## Found over stated, by tenth of what is stated (root mean squares)

{tenth_table(comparisons)}"""
    return finish(text, asked.output, checks)


if __name__ == "__main__":
    sys.exit(main())
