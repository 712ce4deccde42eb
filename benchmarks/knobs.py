"""What each knob of a map turns: `python -m benchmarks.knobs`.

Every row is the default configuration with one change, on scikit-learn's digits and on sets of
--data. *tightness* is the median angle between a point and the mean direction of its class: small
where clusters are tight. A map is stable where its dynamics are not warned of. Exit code 0 where
all maps of `STRENGTHS` are stable, 1 where one is not, 2 for wrong usage.
"""

import argparse
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Shaped

from benchmarks.arguments import add_sets, loaded, parser_of
from benchmarks.datasets import Dataset
from benchmarks.report import machine, markdown_table, publish, say
from sphere_ebm import PlacementConfig, place
from sphere_ebm.errors import MapWarning
from sphere_ebm.geometry.frames import angles_between
from sphere_ebm.graph.index import nearest_neighbours
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.maps.runs import UNSTABLE

PACKAGES = ("sphere-ebm", "jax", "thrml", "numpy")
DEFAULT = "default"
STRENGTHS: dict[str, Mapping[str, Any]] = {
    f"{name} x {label}": {field: factor * float(getattr(PlacementConfig(), field))}
    for name, field in (("lateral", "lateral_strength"), ("osmotic", "osmotic_strength"))
    for label, factor in (("1/4", 0.25), ("1/2", 0.5), ("2", 2.0), ("3", 3.0), ("8", 8.0))
}
KNOBS: dict[str, Mapping[str, Any]] = {
    DEFAULT: {},
    **STRENGTHS,
    "length x 1/2": {"interaction_length": 0.5},
    "length x 2": {"interaction_length": 2.0},
    "5 neighbours": {"neighbours": 5},
    "50 neighbours": {"neighbours": 50, "max_degree": 64},
    "gaussian kernel": {"kernel": "gaussian"},
    "harmonic kernel": {"kernel": "harmonic"},
}
"""Changes by what they are called; an interaction length is in units of the default one."""
SEARCHED = 50
"""Neighbours that are found once; every map takes as many of them as it wants."""


class Knob(NamedTuple):
    """What came of one change: medians in degrees, shares, and whether the dynamics are stable."""

    tightness: float
    recall: float
    occupied: float
    empty_cap: float
    stable: bool


def tightness(
    direction: Float32[np.ndarray, "points 3"], labels: Shaped[np.ndarray, " points"]
) -> float:
    """The median angle to the mean direction of the class, in degrees."""
    angle = np.empty(len(direction))
    for label in np.unique(labels):
        rows = labels == label
        mean = direction[rows].mean(axis=0, dtype=np.float64)
        centre = (mean / np.linalg.norm(mean)).astype(np.float32)
        angle[rows] = angles_between(direction[rows], np.broadcast_to(centre, (rows.sum(), 3)))
    return float(np.degrees(np.median(angle)))


def turned(data: Dataset, changes: Mapping[str, Any], near: Neighbours) -> Knob:
    """A map with these changes."""
    given = dict(changes)
    if "interaction_length" in given:
        given["interaction_length"] /= PlacementConfig().sharpness(len(data))
    config = PlacementConfig(replicas=0, **given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MapWarning)
        placed = place(data.embeddings, config=config, neighbours=near)
    report = placed.quality(ks=(15,), queries=1024)
    return Knob(
        tightness(placed.direction, data.labels),
        report.recall[15],
        report.evenness.occupied,
        report.evenness.empty_cap,
        # other warnings, of norms that order no radii for one, are not about the dynamics
        not any(UNSTABLE in str(one.message) for one in caught),
    )


def measure_set(data: Dataset, names: Sequence[str]) -> dict[str, Knob]:
    """The maps of these changes, all of the same neighbours."""
    near = nearest_neighbours(data.embeddings, min(SEARCHED, len(data) - 1))
    found = {}
    for name in names:
        found[name] = turned(data, KNOBS[name], near)
        say(f"knobs: {data.name}, {name}: recall {found[name].recall:.3f}")
    return found


def table(found: Mapping[str, Knob]) -> str:
    """A row for every change."""
    header = ["change", "tightness", "recall@15", "occupied", "largest empty cap", "stable"]
    rows = [
        [
            name,
            f"{one.tightness:.1f}°",
            f"{one.recall:.3f}",
            f"{one.occupied:.2f}",
            f"{one.empty_cap:.1f}",
            "yes" if one.stable else "no",
        ]
        for name, one in found.items()
    ]
    return markdown_table(header, rows)


def parser() -> argparse.ArgumentParser:
    cli = parser_of("knobs", __doc__)
    add_sets(cli, ("digits",))
    cli.add_argument("--data", type=Path, default=Path(), metavar="DIR", help="folder of the sets")
    cli.add_argument(
        "--changes",
        nargs="+",
        choices=list(KNOBS),
        default=list(KNOBS),
        metavar="NAME",
        help="what to turn (default: all)",
    )
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser()
    options = cli.parse_args(arguments)
    header = machine(PACKAGES)
    sets = loaded(cli, options.sets, options.data)
    found = {data.name: measure_set(data, options.changes) for data in sets}
    sections = "\n\n".join(f"## {name}\n\n{table(one)}" for name, one in found.items())
    text = f"""# What each knob turns

{header}
- the default configuration with one change, seed 0, without replicas
- tightness: median angle between a point and the mean direction of its class; length: in units of
  the default interaction length; recall and evenness as everywhere

{sections}"""
    publish(text, options.output)
    stable = [
        one.stable for runs in found.values() for name, one in runs.items() if name in STRENGTHS
    ]
    return 0 if all(stable) else 1


if __name__ == "__main__":
    sys.exit(main())
