"""What every benchmark prints.

The machine, Markdown tables, and targets with pass or fail beside each number.
"""

import math
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One target: `measured` must be at least (`>=`), at most (`<=`), below (`<`) or equal to (`=`)
    `bound`.
    """

    target: str
    measured: float
    rule: Literal[">=", "<=", "<", "="]
    bound: float
    unit: str = ""

    @property
    def passed(self) -> bool:
        """Whether the target is met; a number that is not defined (nan) meets none."""
        outcomes = {
            ">=": self.measured >= self.bound,
            "<=": self.measured <= self.bound,
            "<": self.measured < self.bound,
            "=": self.measured == self.bound,
        }
        return outcomes[self.rule]

    def cells(self) -> list[str]:
        """Target, measured, needed and outcome, as text."""
        unit = f" {self.unit}" if self.unit else ""
        outcome = "pass" if self.passed else "**FAIL**"
        return [
            self.target,
            f"{self.measured:.4g}{unit}",
            f"{self.rule} {self.bound:g}{unit}",
            outcome,
        ]


def check_table(checks: Sequence[Check]) -> str:
    """One row per target."""
    return markdown_table(
        ["target", "measured", "needed", "result"], [check.cells() for check in checks]
    )


def target_section(checks: Sequence[Check]) -> str:
    """How many targets are met, and a row for each."""
    met = sum(check.passed for check in checks)
    return f"## Targets: {met} of {len(checks)} met\n\n{check_table(checks)}"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with aligned columns."""
    width = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return (
            "| "
            + " | ".join(cell.ljust(size) for cell, size in zip(cells, width, strict=True))
            + " |"
        )

    return "\n".join([line(header), line(["-" * size for size in width]), *map(line, rows)])


def spread(values: Sequence[float], digits: int = 3) -> str:
    """Mean and range, `0.601 (0.598..0.604)`.

    The mean alone where all values are alike; a dash where undefined.
    """
    mean = sum(values) / len(values) if values else math.nan
    if math.isnan(mean):
        return "–"
    low = f"{min(values):.{digits}f}"
    high = f"{max(values):.{digits}f}"
    return f"{mean:.{digits}f}" + (f" ({low}..{high})" if low != high else "")


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one number."""
    return sum(values) / len(values)


def machine(packages: Sequence[str]) -> str:
    """Cores, processor, system, the load at this moment, and the versions of Python and of
    `packages`.
    """
    versions = ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {_version(name)}" for name in packages)]
    )
    busy = (
        f"load average {os.getloadavg()[0]:.1f} at the start"
        if hasattr(os, "getloadavg")
        else "load unknown"
    )
    return (
        f"- machine: {cores()} cores, {_processor()}, {platform.system()} {platform.machine()};"
        f" {busy}\n- versions: {versions}"
    )


def publish(text: str, output: Path) -> None:
    """Print a report and write it to `output`, with its folder."""
    print(text)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(text + "\n", encoding="utf-8")


def finish(text: str, output: Path, checks: Sequence[Check]) -> int:
    """Publish a report; the exit code, 0 when every target is met and 1 when one is missed."""
    publish(text, output)
    return 0 if all(check.passed for check in checks) else 1


def say(message: str) -> None:
    """Progress for the person who waits, on stderr: stdout holds the report alone."""
    print(message, file=sys.stderr, flush=True)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
