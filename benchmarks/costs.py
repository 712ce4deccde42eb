"""Seconds beside the peers, and peak memory and compilations of a run in a process of its own."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32

from benchmarks.datasets import Dataset, load
from benchmarks.peer_methods import umap_3d, umap_haversine
from benchmarks.process import count_compilations, peak_mb, run_apart
from benchmarks.report import Check, markdown_table, say
from sphere_ebm import PlacementConfig, place
from sphere_ebm.quality.neighbours import neighbour_recall

Method = Callable[[Float32[np.ndarray, "points width"]], Float[np.ndarray, "points 3"]]

OURS = "sphere_ebm `place`"
ALONE = PlacementConfig(replicas=0)
"""Peers state no errors, so that the replicas which measure ours are left out."""
UMAP_3D = "umap-learn 3-D"
HAVERSINE = 'umap-learn `output_metric="haversine"`'
SAMPLER = "jit(run_chunk)"


@dataclass(frozen=True)
class Timing:
    """Seconds of one method, neighbour search included."""

    name: str
    first: float
    """The warm-up, with compilation."""
    seconds: tuple[float, ...]
    """The warm repeats: nothing is compiled any more, but each searches for the neighbours
    anew.
    """
    recall: float
    """Recall@15 of the last repeat."""

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def contenders(peers: bool) -> dict[str, Method]:
    """Methods by name: ours, and the two of umap-learn when `peers`."""
    ours: dict[str, Method] = {OURS: lambda embeddings: place(embeddings, config=ALONE).direction}
    return ours | {UMAP_3D: umap_3d, HAVERSINE: umap_haversine} if peers else ours


def race(methods: dict[str, Method], data: Dataset, repeats: int) -> list[Timing]:
    """Each method once to compile, then all of them in turn, `repeats` times, in this process."""
    first = {name: _timed(name, method, data)[0] for name, method in methods.items()}
    warm: dict[str, list[float]] = {name: [] for name in methods}
    last: dict[str, Float[np.ndarray, "points 3"]] = {}
    for _ in range(repeats):
        for name, method in methods.items():
            seconds, last[name] = _timed(name, method, data)
            warm[name].append(seconds)
    return [
        Timing(
            name,
            first[name],
            tuple(warm[name]),
            neighbour_recall(data.embeddings, last[name], queries=None),
        )
        for name in methods
    ]


def _timed(name: str, method: Method, data: Dataset) -> tuple[float, Float[np.ndarray, "points 3"]]:
    start = time.perf_counter()
    direction = method(data.embeddings)
    seconds = time.perf_counter() - start
    say(f"time: {name} on {data.name}, {seconds:.2f} s")
    return seconds, direction


def time_table(timings: Sequence[Timing]) -> str:
    """One row per method; the first is ours."""
    ours = timings[0].median
    rows = [
        [
            timing.name,
            f"{timing.median:.2f}",
            f"{min(timing.seconds):.2f}..{max(timing.seconds):.2f}",
            f"{timing.first:.1f}",
            f"{ours / timing.median:.3f}",
            f"{timing.recall:.3f}",
        ]
        for timing in timings
    ]
    return markdown_table(
        ["method", "median s", "range s", "first run s", "ours / this", "recall@15"], rows
    )


def time_checks(timings: Sequence[Timing]) -> list[Check]:
    """Ratios to the peers that were measured."""
    median = {timing.name: timing.median for timing in timings}
    bounds = {UMAP_3D: 1.0, HAVERSINE: 0.1}
    return [
        Check(f"time: ours / {name}", median[OURS] / median[name], "<=", bound)
        for name, bound in bounds.items()
        if name in median
    ]


@dataclass(frozen=True)
class Footprint:
    """What one `place` costs in a fresh process, and what a second one on the same input compiles.

    `peak_mb` is the peak resident memory (10^6 bytes) of the process after the first run:
    interpreter, libraries and data included. `programs` counts XLA compilations, `sampler_programs`
    those of the sampler's `run_chunk`.
    """

    peak_mb: float
    programs: int
    sampler_programs: int
    second_programs: int


def footprint(name: str, folder: Path) -> Footprint:
    """Run `place` twice on a set in a fresh process."""
    say(f"memory and compilations: {name} in a process of its own")
    return Footprint(**json.loads(run_apart("costs", name, str(folder.resolve()))))


def footprint_table(found: Footprint, data: Dataset) -> str:
    """One row per cost of `place` on `data`."""
    points, width = data.embeddings.shape
    rows = [
        [
            f"peak memory of a process that runs `place` on {points} x {width}",
            f"{found.peak_mb:.0f} MB",
        ],
        ["compilations of the sampler (`run_chunk`) in that run", str(found.sampler_programs)],
        [
            "other programs compiled in that run (k-NN, conversions of arrays)",
            str(found.programs - found.sampler_programs),
        ],
        ["programs compiled by a second run on the same input", str(found.second_programs)],
    ]
    return markdown_table(["cost", "measured"], rows)


def footprint_checks(found: Footprint) -> list[Check]:
    """The targets for memory and compilations."""
    return [
        Check("peak memory", found.peak_mb / 1000, "<", 1.5, "GB"),
        Check("compilations of the sampler in one run", found.sampler_programs, "=", 1),
        Check("compilations in a second run", found.second_programs, "=", 0),
    ]


def _measure_here(name: str, folder: Path) -> Footprint:
    data = load(name, folder)
    compiled = count_compilations()
    place(data.embeddings)
    peak = peak_mb()
    first = compiled.copy()
    place(data.embeddings)
    return Footprint(peak, first.total(), first[SAMPLER], compiled.total() - first.total())


if __name__ == "__main__":
    print(json.dumps(asdict(_measure_here(sys.argv[1], Path(sys.argv[2])))))
