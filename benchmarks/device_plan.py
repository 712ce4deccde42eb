"""How large everything is that `benchmarks.device` measures, and how it keeps to its time."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax

from benchmarks.report import Check, say

SLACK = 1.3
"""What a case is expected to take is multiplied by this before it is begun."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How large everything is that is measured."""

    megabytes: int
    """Of each array of the copy."""
    side: int
    """Of the square matrices."""
    points: tuple[int, ...]
    """Of the maps whose steps are timed."""
    field_points: tuple[int, ...]
    """Of the maps whose evaluators are timed."""
    correct: int
    """Points of the map that is compared with the CPU."""
    evaluators: tuple[str, ...]
    """Those that are compared."""
    laws: tuple[str, ...]
    """Runs of `benchmarks.law_systems` that are judged."""
    chains: int | None
    """Of a law test; None: as many as the tests of laws take."""
    landmarks: tuple[int, ...]
    """Of the maps that others join."""
    new: int
    batches: tuple[int, ...]
    """Of newcomers that settle together."""


WHOLE = Sizes(
    megabytes=256,
    side=4096,
    points=(10_000, 100_000, 1_000_000, 10_000_000),
    field_points=(1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 10_000_000),
    correct=2_000,
    evaluators=("direct", "harmonic", "pyramid"),
    laws=("pair", "two"),
    chains=None,
    landmarks=(10_000, 100_000),
    new=65_536,
    batches=(1_024, 4_096, 16_384, 65_536),
)
SMALL = Sizes(
    megabytes=1,
    side=64,
    points=(1_500,),
    field_points=(1_000,),
    correct=300,
    evaluators=("direct",),
    laws=("pair",),
    chains=2_000,
    landmarks=(200,),
    new=64,
    batches=(32,),
)
"""What a CPU does in seconds: the same code, and no figure worth keeping."""


class Clock:
    """So many seconds from now on; `now` is asked for the time."""

    def __init__(self, seconds: float, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._begun = now()
        self._end = self._begun + seconds

    @property
    def left(self) -> float:
        """Seconds until the end; below zero after it."""
        return self._end - self._now()

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return self._now() - self._begun

    def until(self, second: float) -> "Clock":
        """The same clock with an end so many seconds after its beginning."""
        return Clock(self._begun + second - self._now(), self._now)


@dataclass
class Part:
    """What one part has measured, and what it left out and why."""

    name: str
    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0

    def each(
        self,
        clock: Clock,
        cases: Sequence[Any],
        measure: Callable[[Any], Row],
        first: float,
        growth: Callable[[Any, Any], float] | None = None,
    ) -> None:
        """Measure the cases for which there is time and memory.

        Args:
            clock: of this part.
            cases: in rising order of what they take.
            measure: makes a row of a case.
            first: seconds that a case is expected to take before one has been measured.
            growth: how much more a case takes than the one before it; None: as much.
        """
        expected = first
        for number, case in enumerate(cases):
            if number and growth is not None:
                expected *= growth(cases[number - 1], case)
            if clock.left < SLACK * expected:
                left = max(clock.left, 0)
                self.skipped.append(f"{case}: {expected:.0f} s expected, {left:.0f} s left")
                continue
            begun = clock.spent
            say(f"device: {self.name}, {case}; {clock.left:.0f} s left")
            with self._enough_memory(case):
                self.rows.append(measure(case))
            expected = max(clock.spent - begun, 1e-3)

    @contextmanager
    def _enough_memory(self, case: Any) -> Iterator[None]:
        try:
            yield
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
                self.skipped.append(f"{case}: out of memory")
                return
            raise
