"""How far a command is: bars on a terminal, plain lines elsewhere and in a log."""

import argparse
import functools
import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from typing_extensions import override

from sphere_ebm.cli.output import PLAIN, say
from sphere_ebm.progress import StageProgress

EVERY = 29.0
"""Seconds after which a stage is told again; with what a line takes, fewer than 30."""

_MANY = 10_000
"""Of so many things to do it is told how many are done in a second."""


@final
class Logbook:
    """The file that `--log` names: a line for each message, the date and time before it."""

    def __init__(self, path: Path) -> None:
        """Open the file, which is made when missing, to write at its end.

        Raises:
            OSError: it cannot be opened.
        """
        self.path = path
        # Line by line, so that whoever follows the file sees what has been reached.
        # It stays open as long as the command works.
        self._file = open(  # noqa: SIM115
            path, "a", encoding="utf-8", errors="backslashreplace", buffering=1
        )
        self._broken = False

    def fileno(self) -> int:
        """For whoever ends the process and cannot write by this object."""
        return self._file.fileno()

    def write(self, text: str) -> None:
        """Add a line. A log that can no longer be written does not end the work: that is said."""
        if self._broken:
            return
        try:
            self._file.write(f"{datetime.now():%Y-%m-%d %H:%M:%S}  {text}\n")
        except OSError as error:
            self._broken = True
            said = f"warning: {self.path} cannot be written ({error.strerror}); the log ends"
            say(Console(stderr=True, **PLAIN), said)

    def close(self) -> None:
        """Close the file, or give it up where it cannot be."""
        try:
            self._file.close()
        except OSError:
            self._broken = True


@final
class ErrorsAndLog(io.TextIOBase):
    """Standard error, of which a logbook keeps a copy."""

    def __init__(self, logbook: Logbook) -> None:
        super().__init__()
        self._logbook = logbook

    @override
    def write(self, text: str) -> int:
        for line in text.splitlines():
            self._logbook.write(line)
        # there is none where it was closed when Python began
        return len(text) if sys.stderr is None else sys.stderr.write(text)

    @override
    def flush(self) -> None:
        if sys.stderr is not None:
            sys.stderr.flush()

    @override
    def isatty(self) -> bool:
        return sys.stderr is not None and sys.stderr.isatty()


def errors_and_log(logbook: Logbook) -> Console:
    """What writes on standard error, and into a logbook."""
    stream: Any = ErrorsAndLog(logbook)
    return Console(file=stream, **PLAIN)


@final
class StageLines:
    """Tells stages by lines: when one begins, when it ends, and in between every now and then."""

    def __init__(
        self,
        write: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        every: float = EVERY,
        begun: str | None = None,
    ) -> None:
        """Lines go to `write`; one is due `every` seconds, by `clock`, after the last.

        A stage that has `begun` is told of only where it is silent for so long.
        """
        self._write = write
        self._clock = clock
        self._every = every
        self._begun = clock()
        self._told = self._begun
        self._open: dict[str, tuple[int, int]] = {} if begun is None else {begun: (0, 1)}
        self._ended: set[str] = set()
        # when each stage began, and how much of it was done then
        self._starts: dict[str, tuple[float, int]] = {}
        # `remind` is called by another thread
        self._lock = threading.Lock()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take note that `done` of `total` are done in a stage."""
        with self._lock:
            first = stage not in self._open and stage not in self._ended
            if first:
                self._starts[stage] = (self._clock(), done)
            if done < total:
                self._ended.discard(stage)
                self._open[stage] = (done, total)
                if first:
                    self._tell(stage, f"begins, {total:,} to do" if total > 1 else "begins")
                elif self._clock() - self._told >= self._every:
                    self._tell(stage, self._share(stage, done, total))
            elif stage not in self._ended:
                self._open.pop(stage, None)
                self._ended.add(stage)
                self._tell(stage, self._share(stage, done, total))

    def remind(self) -> float:
        """Tell a stage that has been silent for long; returns the seconds until one may have."""
        with self._lock:
            silent = self._clock() - self._told
            if silent >= self._every:
                # stages are announced in their order: the first that is open is worked on
                for stage, (done, total) in list(self._open.items())[:1]:
                    self._tell(stage, self._share(stage, done, total))
                if not self._open:
                    self._tell("between stages", "goes on")
                silent = 0.0
        return max(self._every - silent, 0.1)

    def _share(self, stage: str, done: int, total: int) -> str:
        """How much is done, and of many things how many in a second."""
        share = f"{done:,} of {total:,}"
        began, before = self._starts.get(stage, (self._begun, 0))
        seconds = self._clock() - began
        if total < _MANY or done <= before or seconds <= 0:
            return share
        return f"{share}, {(done - before) / seconds:,.0f} a second"

    def _tell(self, stage: str, text: str) -> None:
        self._told = self._clock()
        self._write(f"{stage}: {text}, {self._told - self._begun:.1f} s")


@contextmanager
def following(options: argparse.Namespace, errors: Console) -> Iterator[StageProgress | None]:
    """What to call about stages of the work; None where nobody is to be told.

    On a terminal there is a bar per stage, but for `--json`; elsewhere there are lines on standard
    error. `--quiet` is without either. A log gets the lines in any case.
    """
    write = _writer(options, errors)
    bars = errors.is_terminal and not (options.quiet or options.json)
    if write is None and not bars:
        yield None
    elif write is None:
        with _bars() as advance:
            yield advance
    else:
        with _reminded(StageLines(write)) as told:
            if not bars:
                yield told
                return
            with _bars() as advance:
                yield lambda stage, done, total: _both(advance, told, stage, done, total)


@contextmanager
def working(work: str, options: argparse.Namespace, errors: Console) -> Iterator[None]:
    """Tell of `work` that has no stages, where it takes long and lines are to be told."""
    write = _writer(options, errors)
    if write is None:
        yield
        return
    with _reminded(StageLines(write, every=EVERY, begun=work)):
        yield


def _writer(options: argparse.Namespace, errors: Console) -> Callable[[str], None] | None:
    """Where lines go; None for nowhere."""
    if not (errors.is_terminal or options.quiet):
        # the log keeps what standard error is told
        return functools.partial(say, errors)
    return None if options.logbook is None else options.logbook.write


def _both(first: StageProgress, second: StageProgress, stage: str, done: int, total: int) -> None:
    first(stage, done, total)
    second(stage, done, total)


@contextmanager
def _reminded(lines: StageLines) -> Iterator[StageLines]:
    """Let a thread tell of stages that tell nothing while they work."""
    over = threading.Event()

    def remind() -> None:
        wait = EVERY
        while not over.wait(wait):
            wait = lines.remind()

    thread = threading.Thread(target=remind, daemon=True)
    thread.start()
    try:
        yield lines
    finally:
        over.set()
        thread.join()


@contextmanager
def _bars() -> Iterator[StageProgress]:
    """A bar per stage on standard error."""
    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def advance(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield advance
