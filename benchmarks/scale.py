"""From shards to labels at scale, and new points on a finished map.

python -m benchmarks.scale [--points N ...] [--output FILE]
python -m benchmarks.scale --repeats 0 --points 50000 --landmarks 10000 --ways full joined swept
python -m benchmarks.scale --repeats 0 --points 10000000 --cases mixture --landmarks 200000 --half

With several `--ways` each set is labelled in each of them, one after the other in one run.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int
from scipy.spatial import cKDTree

from benchmarks.arguments import parser_of
from benchmarks.datasets import load
from benchmarks.mixtures import mixture, mixture_chunks
from benchmarks.process import peak_mb, run_apart
from benchmarks.report import Check, check_table, finish, machine, markdown_table, say
from sphere_ebm import FrozenMap, PlacementConfig, place, read_shard
from sphere_ebm.graph.index import NeighbourIndex
from sphere_ebm.maps.sweeps import SWEEPS

WIDTH = 256
SHARDS = 16
LONGEST = 200_000
"""Points of a shard at most; small sets come in `SHARDS` shards."""
FITTED = 100_000
NEW = 50_000
K = 15
SAMPLE = 2_000
REAL = Path(__file__).parents[1] / "data"
FULL = "full"
JOINED = "joined"
SWEPT = "swept"
WAYS = (FULL, JOINED, SWEPT)
"""How a set is labelled: all points are fitted, or the others join the landmarks, or all move."""
KEPT = 0.93
"""Share of a full fit's recall that a swept map keeps."""
LIMITS = {100_000: (3.0, 3.0), 1_000_000: (30.0, 12.0), 10_000_000: (60.0, 12.0)}
"""Points -> minutes and GB (10^9 bytes) that `label` may take."""


@dataclass(frozen=True)
class Labelled:
    """One run of `sphere-ebm label` in a process of its own."""

    case: str
    way: str
    points: int
    fitted: int
    minutes: float
    processor_minutes: float
    peak_gb: float
    recall: float
    trustworthiness: float
    stages: dict[str, float]
    """Processor seconds by stage, in the order in which they began."""

    def cells(self) -> list[str]:
        """One row of the table."""
        return [
            self.case,
            self.way,
            f"{self.points}",
            f"{self.fitted}",
            f"{self.minutes:.2f}",
            f"{self.processor_minutes:.2f}",
            f"{self.peak_gb:.2f}",
            f"{self.recall:.3f}",
            f"{self.trustworthiness:.3f}",
        ]


@dataclass(frozen=True)
class Joined:
    """New points on a map of `FITTED` points."""

    per_second: float
    recall_fitted: float
    recall_new: float
    within_5_degrees: float


def repeated_chunks(points: int, seed: int) -> Iterator[Float32[np.ndarray, "chunk width"]]:
    """The shards in `data/`, as often as it takes, each time jittered by a tenth of an embedding's
    norm.
    """
    real = np.concatenate(
        [read_shard(path).embeddings for path in sorted(REAL.glob("*.safetensors"))]
    )
    scale = 0.1 * np.linalg.norm(real, axis=1, keepdims=True) / np.sqrt(real.shape[1])
    for start in range(0, points, len(real)):
        rng = np.random.default_rng([seed, start])
        yield (real + scale * rng.standard_normal(real.shape, np.float32))[: points - start].astype(
            np.float32
        )


def write_shards(
    chunks: Iterator[Float32[np.ndarray, "chunk width"]],
    points: int,
    folder: Path,
    dtype: np.dtype | type = np.float32,
) -> None:
    """`.npy` files of about equally many points, `SHARDS` of them or more."""
    shards = max(SHARDS, -(-points // LONGEST))
    bounds = np.linspace(0, points, shards + 1).astype(int)
    buffer: list[np.ndarray] = []
    held = 0
    written = 0
    for chunk in chunks:
        buffer.append(chunk)
        held += len(chunk)
        while written < shards and held >= bounds[written + 1] - bounds[written]:
            whole = np.concatenate(buffer)
            size = int(bounds[written + 1] - bounds[written])
            np.save(folder / f"shard-{written:02d}.npy", whole[:size].astype(dtype))
            buffer = [whole[size:]]
            held = held - size
            written = written + 1


def chunks_of(
    case: str, points: int, data: Path | None
) -> tuple[Iterator[Float32[np.ndarray, "chunk width"]], int]:
    """The points of a case, and how many there are: sets of `data` have their own number."""
    if case == "mixture":
        return mixture_chunks(points, WIDTH, seed=0), points
    if case == "repeated":
        return repeated_chunks(points, seed=0), points
    if data is None:
        raise SystemExit(f"the set {case} is in a folder that --data names")
    held = load(case, data).embeddings
    return iter([held]), len(held)


def label(
    case: str,
    points: int,
    landmarks: int | None,
    jobs: int = 1,
    way: str = SWEPT,
    data: Path | None = None,
    half: bool = False,
) -> Labelled:
    """Write the shards of a case to a temporary folder and label them by the command."""
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "shards"
        inputs.mkdir()
        chunks, points = chunks_of(case, points, data)
        write_shards(chunks, points, inputs, np.float16 if half else np.float32)
        few = landmarks is not None and way != FULL
        say(f"label: {case}, {points} points" + (f", {landmarks} landmarks, {way}" if few else ""))
        options = ["--jobs", str(jobs)] + (["--landmarks", str(landmarks)] if few else [])
        options += ["--sweeps", "0"] if way == JOINED else []
        begun = time.perf_counter()
        printed = run_apart("scale", "--measured", str(inputs), f"{folder}/labels", *options)
        minutes = (time.perf_counter() - begun) / 60
    found = json.loads(printed)
    quality = found["quality"]
    return Labelled(
        case, way if few else FULL, found["points"], found["fitted"], minutes,
        found["processor_seconds"] / 60, found["peak_mb"] / 1000,
        quality["recall"][str(K)], quality["trustworthiness"][str(K)], found["stages"],
    )  # fmt: skip


class StageTimes:
    """Processor seconds of each stage that `label` tells of; `start` is what comes before."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"start": 0.0}
        self._stage = "start"
        self._since = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """`stage` goes on, and the one before it has ended."""
        now = time.process_time()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage = stage
        self._since = now


def label_here(inputs: str, output: str, landmarks: int | None, jobs: int, sweeps: int) -> None:
    """What `sphere-ebm label` does, with the peak memory of the process, as JSON on stdout."""
    from sphere_ebm import label
    from sphere_ebm.labelling.engines import LocalEngine

    times = StageTimes()
    run = label(
        inputs,
        output,
        landmarks=landmarks,
        sweeps=sweeps,
        engine=LocalEngine(jobs),
        progress=times,
    )
    times("end", 1, 1)
    facts = {
        "points": run.points,
        "fitted": len(run.placement),
        "quality": run.quality.to_dict(),
        "peak_mb": peak_mb(),
        "processor_seconds": time.process_time(),
        "stages": times.seconds,
    }
    print(json.dumps(facts))


def join(repeats: int) -> Joined:
    """`NEW` points of a mixture join a map of `FITTED` others.

    Their recall is that among the fitted points.
    """
    points = mixture(FITTED + NEW, WIDTH, seed=1)
    fitted = points[:FITTED]
    new = points[FITTED:]
    say(f"transform: fitting {FITTED} points")
    placement = place(fitted, config=PlacementConfig())
    frozen = FrozenMap(placement)
    frozen.place(new[: frozen.batch])  # compiles
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        joined = frozen.place(new)
        seconds.append(time.perf_counter() - begun)
        say(f"transform: {NEW / seconds[-1]:.0f} points a second")
    rows = np.random.default_rng(0).choice(NEW, SAMPLE, replace=False)
    exact = NeighbourIndex.build(fitted, search="exact")
    on_map = cKDTree(placement.direction).query(joined.direction[rows], K)[1]
    recall_new = _shared(exact.query(new[rows], K).index, on_map)
    own = frozen.place(fitted[:NEW])
    cosine = np.sum(own.direction * placement.direction[:NEW], axis=1)
    return Joined(
        NEW / float(np.median(seconds)),
        placement.quality(queries=SAMPLE).recall[K],
        recall_new,
        float(np.mean(cosine >= np.cos(np.radians(5)))),
    )


def _shared(a: Int[np.ndarray, "queries k"], b: Int[np.ndarray, "queries k"]) -> float:
    return float(
        np.mean([len(set(x) & set(y)) / K for x, y in zip(a.tolist(), b.tolist(), strict=True)])
    )


def checks(labelled: Sequence[Labelled], joined: Joined | None) -> list[Check]:
    """The targets for what was measured."""
    found = []
    for run in labelled:
        if run.points in LIMITS:
            minutes, memory = LIMITS[run.points]
            found.append(
                Check(
                    f"label {run.case}, {run.points} points: time", run.minutes, "<", minutes, "min"
                )
            )
            found.append(
                Check(
                    f"label {run.case}, {run.points} points: memory", run.peak_gb, "<", memory, "GB"
                )
            )
    found += sweep_checks(labelled)
    if joined is not None:
        found += [
            Check("transform: new points a second", joined.per_second, ">=", 5000),
            Check(
                "transform: recall@15, new / fitted",
                joined.recall_new / joined.recall_fitted,
                ">=",
                0.85,
            ),
            Check(
                "transform: fitted points back within 5 degrees", joined.within_5_degrees, ">=", 0.8
            ),
        ]
    return found


def sweep_checks(labelled: Sequence[Labelled]) -> list[Check]:
    """Of swept maps beside the full fits of the same sets in the same run."""
    full = {(run.case, run.points): run for run in labelled if run.way == FULL}
    found = []
    for run in labelled:
        beside = full.get((run.case, run.points))
        if run.way == SWEPT and beside is not None:
            name = f"swept {run.case}, {run.points} points, {run.fitted} landmarks"
            found += [
                Check(f"{name}: recall@15 / full fit's", run.recall / beside.recall, ">=", KEPT),
                Check(
                    f"{name}: processor time / full fit's",
                    run.processor_minutes / beside.processor_minutes,
                    "<=",
                    1,
                ),
            ]
    return found


def report(labelled: Sequence[Labelled], joined: Joined | None) -> str:
    """Tables and targets as Markdown."""
    parts = ["# Scale", machine(["jax", "faiss-cpu", "thrml"])]
    if labelled:
        head = [
            "shards",
            "way",
            "points",
            "fitted",
            "minutes",
            "processor minutes",
            "peak GB",
            "recall@15",
            "trustworthiness@15",
        ]
        parts.append(markdown_table(head, [run.cells() for run in labelled]))
        stages = list(dict.fromkeys(name for run in labelled for name in run.stages))
        rows = [
            [run.case, run.way, str(run.points)]
            + [f"{run.stages[name]:.1f}" if name in run.stages else "–" for name in stages]
            for run in labelled
        ]
        parts.append("Processor seconds by stage:")
        parts.append(markdown_table(["shards", "way", "points", *stages], rows))
    if joined is not None:
        rows = [
            ["new points a second, neighbour search included", f"{joined.per_second:.0f}"],
            ["recall@15 of fitted points", f"{joined.recall_fitted:.3f}"],
            ["recall@15 of new points among the fitted", f"{joined.recall_new:.3f}"],
            ["fitted points that come back within 5 degrees", f"{joined.within_5_degrees:.3f}"],
        ]
        parts.append(markdown_table([f"transform, {FITTED} x {WIDTH} fitted", "measured"], rows))
    parts.append(check_table(checks(labelled, joined)))
    return "\n\n".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every target is met, 1 when one is missed, 2 for wrong usage."""
    parser = parser_of("scale", __doc__)
    parser.add_argument("--points", type=int, nargs="*", default=[100_000, 1_000_000], metavar="N")
    parser.add_argument(
        "--cases",
        nargs="+",
        default=["mixture", "repeated"],
        metavar="CASE",
        help="mixture, repeated, or a set in the folder that --data names",
    )
    parser.add_argument("--data", type=Path, metavar="DIR")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[SWEPT])
    parser.add_argument("--sweeps", type=int, default=SWEEPS, help=argparse.SUPPRESS)
    parser.add_argument("--landmarks", type=int, metavar="N", help="fit at most N points")
    parser.add_argument("--half", action="store_true", help="shards of float16")
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="of the transform; 0: leave it out"
    )
    parser.add_argument("--measured", nargs=2, metavar=("INPUTS", "LABELS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measured:
        label_here(*options.measured, options.landmarks, options.jobs, options.sweeps)
        return 0
    joined = join(options.repeats) if options.repeats else None
    labelled = [
        label(case, n, options.landmarks, options.jobs, way, options.data, options.half)
        for n in options.points
        for case in options.cases
        for way in options.ways
    ]
    return finish(report(labelled, joined), options.output, checks(labelled, joined))


if __name__ == "__main__":
    sys.exit(main())
