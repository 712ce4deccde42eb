"""Quality and cost of the default configuration, with the project's targets.

`python -m benchmarks.quality --data DIR`.

Exit code 0 when every target is met, 1 when one is missed, 2 for wrong usage.
"""

import argparse
import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arguments import add_counts, add_data, add_sets, loaded, parser_of
from benchmarks.costs import (
    contenders,
    footprint,
    footprint_checks,
    footprint_table,
    race,
    time_checks,
    time_table,
)
from benchmarks.datasets import SETS, Dataset
from benchmarks.report import (
    Check,
    finish,
    machine,
    markdown_table,
    mean,
    say,
    spread,
    target_section,
)
from sphere_ebm import PlacementConfig, measure_quality, place
from sphere_ebm.maps.starts import pca_directions
from sphere_ebm.quality.radii import shell_deviation
from sphere_ebm.quality.report import QualityReport

SIZES = (15, 50)
PACKAGES = ("sphere-ebm", "jax", "thrml", "numpy", "scikit-learn", "umap-learn", "numba")
THREE_TERMS = "three terms (default)"
TWO_TERMS = "two terms (osmotic_strength=0)"
START = "start (PCA, normalised)"

RECALL_TARGETS = {"digits": 0.59, "wordnet-2k": 0.42, "wordnet-10k": 0.36}
TRUST_TARGETS = {"digits": 0.98, "wordnet-10k": 0.94}
SPEARMAN_TARGET = 0.99
SHELL_TARGET = 1.0


@dataclass(frozen=True)
class Result:
    """One method on one set.

    A report per seed, and the largest deviation of a shell at T = 0 where that was run.
    """

    data: str
    method: str
    reports: tuple[QualityReport, ...]
    cold_deviation: float | None = None

    def values(self, measure: Callable[[QualityReport], float | None]) -> list[float]:
        """One measure for every seed; empty where the method has none."""
        found = [measure(report) for report in self.reports]
        return [value for value in found if value is not None]


MEASURES: dict[str, Callable[[QualityReport], float | None]] = {
    "recall@15": lambda report: report.recall[15],
    "recall@50": lambda report: report.recall[50],
    "trustworthiness@15": lambda report: report.trustworthiness[15],
    "continuity@15": lambda report: report.continuity[15],
    "label accuracy": lambda report: report.label_accuracy,
    "rho(prominence, radius)": lambda report: report.prominence_spearman,
    "rho(distances)": lambda report: report.distance_spearman,
    "occupied": lambda report: report.evenness.occupied,
    "empty cap": lambda report: report.evenness.empty_cap,
}


def measure(data: Dataset, seeds: int) -> list[Result]:
    """The default configuration, the two-term Hamiltonian and the PCA start on one set, all queries
    exact.
    """
    cold = place(
        data.embeddings, config=PlacementConfig(temperature_start=0.0, temperature_end=0.0)
    )
    deviation = shell_deviation(cold.shell, cold.shells).max_points
    start = measure_quality(
        data.embeddings,
        pca_directions(data.embeddings, 0),
        labels=data.labels,
        ks=SIZES,
        queries=None,
    )
    return [
        Result(data.name, THREE_TERMS, _by_seed(data, PlacementConfig(), seeds), deviation),
        Result(data.name, TWO_TERMS, _by_seed(data, PlacementConfig(osmotic_strength=0.0), seeds)),
        Result(data.name, START, (start,)),
    ]


def _by_seed(data: Dataset, config: PlacementConfig, seeds: int) -> tuple[QualityReport, ...]:
    reports = []
    for seed in range(seeds):
        placement = place(data.embeddings, config=dataclasses.replace(config, seed=seed))
        reports.append(placement.quality(labels=data.labels, ks=SIZES, queries=None))
        say(
            f"quality: {data.name}, osmotic_strength={config.osmotic_strength:g}, seed {seed}: "
            f"recall@15 {reports[-1].recall[15]:.3f}"
        )
    return tuple(reports)


def quality_table(results: Sequence[Result]) -> str:
    """One row per set and method: mean over seeds, with the range."""
    rows = [
        [result.data, result.method, *(spread(result.values(value)) for value in MEASURES.values())]
        for result in results
    ]
    return markdown_table(["set", "method", *MEASURES], rows)


def quality_checks(results: Sequence[Result]) -> list[Check]:
    """Targets of the default configuration on the sets that were measured."""
    checks = []
    for result in results:
        if result.method != THREE_TERMS:
            continue
        bounds = {
            "recall@15": RECALL_TARGETS.get(result.data),
            "trustworthiness@15": TRUST_TARGETS.get(result.data),
            "rho(prominence, radius)": SPEARMAN_TARGET,
        }
        checks += [
            Check(f"{result.data}: {name}", mean(result.values(MEASURES[name])), ">=", bound)
            for name, bound in bounds.items()
            if bound is not None
        ]
        if result.cold_deviation is not None:
            name = f"{result.data}: largest deviation of a shell from its capacity at T = 0"
            checks.append(Check(name, result.cold_deviation, "<=", SHELL_TARGET, "points"))
    return checks


def build_report(
    datasets: Sequence[Dataset], folder: Path, seeds: int, repeats: int, peers: bool
) -> tuple[str, list[Check]]:
    """Measure everything; the report in Markdown, and its targets.

    Costs are measured on the largest set, and first: nothing is compiled yet, so that first runs
    show what that takes.
    """
    header = machine(PACKAGES)
    largest = max(datasets, key=len)
    found = footprint(largest.name, folder)
    timings = race(contenders(peers), largest, repeats)
    results = [result for data in datasets for result in measure(data, seeds)]
    checks = [*quality_checks(results), *time_checks(timings), *footprint_checks(found)]
    points, width = largest.embeddings.shape
    timed = (
        "The peers were not run."
        if not peers
        else "umap-learn: library defaults, cosine, 15 neighbours."
    )
    text = f"""# Quality and cost of the default configuration

{header}
- quality: mean over seeds 0 to {seeds - 1} (lowest..highest), every point asks for its neighbours
  among all points

{target_section(checks)}

## Quality

{quality_table(results)}

## Time

{largest.name}, {points} x {width}, one process, neighbour search included; each method runs once
to compile ("first run", in this order), then all in turn, {repeats} times. {timed}

{time_table(timings)}

## Memory and compilations

{footprint_table(found, largest)}"""
    return text, checks


def parser() -> argparse.ArgumentParser:
    cli = parser_of("quality", __doc__)
    add_data(cli)
    add_sets(cli, SETS)
    add_counts(
        cli,
        {"seeds": (3, "placements per configuration"), "repeats": (3, "timed runs per method")},
    )
    cli.add_argument(
        "--no-peers", action="store_true", help="do not run umap-learn; its targets are left out"
    )
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser()
    options = cli.parse_args(arguments)
    datasets = loaded(cli, options.sets, options.data)
    text, checks = build_report(
        datasets, options.data, options.seeds, options.repeats, not options.no_peers
    )
    return finish(text, options.output, checks)


if __name__ == "__main__":
    sys.exit(main())
