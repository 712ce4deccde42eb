"""Water-filling and the exact sort on millions of points, in a process of their own."""

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.process import count_compilations, peak_mb, run_apart
from benchmarks.report import Check, markdown_table, say
from sphere_ebm import Placement, PlacementConfig
from sphere_ebm.filling.presets import PRESETS
from sphere_ebm.heuristics.water_filling import capacity_sort, water_filling
from sphere_ebm.quality.radii import shell_deviation

POINTS = 5_000_000
SHELLS = 512
WIDTH = 256
SORT = "capacity_sort"
FASTEST = "lateral_jit"
PROGRAM = "jit(fill)"
SORT_RATE = 3e6
FILL_RATE = 5e5
MEMORY_GB = 3.0


@dataclass(frozen=True)
class Filled:
    """One method, called `len(seconds)` + 1 times, each time with other points.

    The first call compiles.

    `start_deviation` and `deviation` are means of |count - capacity| / capacity over the shells,
    `off` is the largest |count - capacity| in points, all of the last call; `programs` counts
    compilations of the engine in all calls, and `peak_mb` is the peak memory of the process up to
    here.
    """

    method: str
    first: float
    seconds: tuple[float, ...]
    start_deviation: float | None
    deviation: float
    overload_max: float
    off: float
    passes: int
    promotions: int
    lateral_moves: int
    converged: bool
    programs: int
    peak_mb: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def norms_and_variances(n_points: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Like those of Gaussian embeddings of `WIDTH` dimensions with a spread of scales."""
    rng = np.random.default_rng(seed)
    norm = np.sqrt(rng.chisquare(WIDTH, n_points)) * np.exp(0.2 * rng.standard_normal(n_points))
    variance = (1 - rng.chisquare(1, n_points) / WIDTH) / WIDTH
    return norm.astype(np.float32), variance.astype(np.float32)


def measure_here(method: str, n_points: int, shells: int, repeats: int) -> Filled:
    """One method in this process."""
    compiled = count_compilations()
    seconds = []
    for seed in range(repeats + 1):
        norm, variance = norms_and_variances(n_points, seed)
        call = _call(method, PlacementConfig(shells=shells, shell_spacing="sqrt", seed=seed))
        begun = time.perf_counter()
        placed = call(norm, variance)
        seconds.append(time.perf_counter() - begun)
        say(f"filling: {method}, {n_points} points, {seconds[-1]:.2f} s")
    return Filled(
        method,
        seconds[0],
        tuple(seconds[1:]),
        placed.info.get("start_deviation"),
        placed.info["deviation"],
        placed.info["overload_max"],
        shell_deviation(placed.shell, placed.shells).max_points,
        int(placed.info.get("passes", 0)),
        int(placed.info.get("promotions", 0)),
        int(placed.info.get("lateral_moves", 0)),
        placed.converged,
        compiled[PROGRAM],
        peak_mb(),
    )


def _call(method: str, config: PlacementConfig) -> Callable[[np.ndarray, np.ndarray], Placement]:
    if method == SORT:
        return lambda norm, variance: capacity_sort(None, norm, config)
    return lambda norm, variance: water_filling(
        None, norm, config, preset=method, variance=variance
    )


def filling_section(n_points: int, shells: int, repeats: int) -> tuple[str, list[Check]]:
    """The report in Markdown, without a title, and its targets."""
    found = {name: _in_a_process(name, n_points, shells, repeats) for name in (SORT, *PRESETS)}
    rows = [_cells(one, n_points) for one in found.values()]
    text = f"""{n_points} points, {shells} shells (sqrt spacing, capacity R^1.5), norms and
variances given, random directions; every call has other points and another seed. Median of
{repeats} calls after the first, a process for each method.

{markdown_table(HEADER, rows)}"""
    sort = found[SORT]
    fast = found[FASTEST]
    checks = [
        Check(f"{SORT}: points per second", n_points / sort.median, ">=", SORT_RATE),
        Check(f"{SORT}: largest deviation of a shell", sort.off, "<=", 1, "points"),
        Check(
            f"{FASTEST}: points per second, complete run", n_points / fast.median, ">=", FILL_RATE
        ),
        Check(f"{FASTEST}: peak memory of the process", fast.peak_mb / 1000, "<", MEMORY_GB, "GB"),
        Check(
            f"{FASTEST}: compilations of the engine in {repeats + 1} calls", fast.programs, "=", 1
        ),
    ]
    for name in PRESETS:
        ratio = found[name].deviation / (found[name].start_deviation or 1)
        checks.append(Check(f"{name}: deviation from capacity, end / start", ratio, "<=", 1))
    return text, checks


HEADER = ["method", "points/s", "s", "first call s", "deviation start", "end", "largest overload"]
HEADER += ["passes", "promotions", "lateral moves", "converged", "peak MB"]


def _cells(one: Filled, n_points: int) -> list[str]:
    start = "–" if one.start_deviation is None else f"{one.start_deviation:.3f}"
    return [
        one.method,
        f"{n_points / one.median:,.0f}",
        f"{one.median:.2f}",
        f"{one.first:.2f}",
        start,
        f"{one.deviation:.3g}",
        f"{one.overload_max:.3g}",
        str(one.passes),
        str(one.promotions),
        str(one.lateral_moves),
        "yes" if one.converged else "no",
        f"{one.peak_mb:.0f}",
    ]


def _in_a_process(method: str, n_points: int, shells: int, repeats: int) -> Filled:
    sizes = map(str, (n_points, shells, repeats))
    return Filled(**json.loads(run_apart("filling", method, *sizes)))


def main(arguments: Sequence[str]) -> None:
    method, *numbers = arguments
    print(json.dumps(asdict(measure_here(method, *map(int, numbers)))))


if __name__ == "__main__":
    main(sys.argv[1:])
