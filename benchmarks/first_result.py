"""Seconds from the command to the table: `sphere-ebm label` in processes of its own.

`python -m benchmarks.first_result [--repeats N] [-- SHARDS ... OPTIONS ...]`

The bounds are those of the shards in `data/`, which are labelled where no others are named. Cold
means that no compiled program is kept, warm that a run of the same command has kept them. In both
the package's modules are compiled to bytecode, as an installer leaves them.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.arguments import add_counts, parser_of
from benchmarks.report import Check, check_table, finish, machine, markdown_table, say

REPEATS = 5
SHARDS = Path(__file__).parents[1] / "data"
BOUNDS = {"cold": 8.0, "warm": 3.0}
"""Seconds that the shards of `data/` may take."""
HEADER = ["programs", "runs", "seconds (median)", "least", "most", "processor seconds (median)"]


@dataclass(frozen=True)
class Runs:
    """Seconds and processor seconds of runs with a cold or a warm cache."""

    programs: str
    seconds: tuple[float, ...]
    processor: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def cells(self) -> list[str]:
        """A row of the table."""
        times = (self.median, min(self.seconds), max(self.seconds))
        return [
            self.programs,
            str(len(self.seconds)),
            *(f"{value:.2f}" for value in times),
            f"{statistics.median(self.processor):.2f}",
        ]


def label_once(given: Sequence[str], cache: Path) -> tuple[float, float]:
    """Seconds and processor seconds of one run of the command, whose labels are thrown away."""
    command = [sys.executable, "-m", "sphere_ebm", "label", *given, "--quiet", "--output"]
    # what else the user has chosen would name another cache, or keep modules from being compiled
    ours = ("JAX_COMPILATION_CACHE_DIR", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment["XDG_CACHE_HOME"] = str(cache)
    with tempfile.TemporaryDirectory() as folder:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        begun = time.perf_counter()
        subprocess.run([*command, f"{folder}/map"], check=True, env=environment)
        seconds = time.perf_counter() - begun
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used


def measure(given: Sequence[str], repeats: int) -> list[Runs]:
    """Cold runs, each with a cache of its own, and warm ones with that of the last."""
    found: dict[str, list[tuple[float, float]]] = {programs: [] for programs in BOUNDS}
    with tempfile.TemporaryDirectory() as folder:
        label_once(given, Path(folder) / "bytecode")
        for number in range(repeats):
            for programs, runs in found.items():
                say(f"{programs}, run {number + 1} of {repeats}")
                runs.append(label_once(given, Path(folder) / str(number)))
    return [
        Runs(programs, *map(tuple, zip(*runs, strict=True))) for programs, runs in found.items()
    ]


def checks(found: Sequence[Runs]) -> list[Check]:
    """The bounds."""
    return [
        Check(f"first result, {runs.programs}", runs.median, "<", BOUNDS[runs.programs], "s")
        for runs in found
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every target is met, 1 when one is missed, 2 for wrong usage."""
    cli = parser_of("first_result", __doc__)
    cli.add_argument("given", nargs="*", metavar="SHARDS", help="and options of `label`")
    add_counts(cli, {"repeats": (REPEATS, "runs of each kind")})
    options = cli.parse_args(arguments)
    found = measure(options.given or [str(SHARDS)], options.repeats)
    targets = [] if options.given else checks(found)
    text = "\n\n".join(
        [
            "# First result",
            machine(["jax", "thrml"]),
            markdown_table(HEADER, [runs.cells() for runs in found]),
            check_table(targets),
        ]
    )
    return finish(text, options.output, targets)


if __name__ == "__main__":
    sys.exit(main())
