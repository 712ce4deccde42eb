"""How far a command is: what is told, when, and where."""

import io
import sys
import threading
from argparse import Namespace
from pathlib import Path

import pytest
from rich.console import Console

from commands import Command
from sphere_ebm.cli import progress
from sphere_ebm.cli.progress import Logbook, StageLines, errors_and_log, following, working


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_stage_is_told_at_its_ends_and_every_so_often_between() -> None:
    told: list[str] = []
    clock = Clock()
    lines = StageLines(told.append, clock, every=30.0)
    for now, done in ((1.0, 0), (2.0, 10), (40.0, 50), (45.0, 60), (75.0, 100), (76.0, 100)):
        clock.now = now
        lines("steps", done, 100)
    assert told == [
        "steps: begins, 100 to do, 1.0 s",
        "steps: 50 of 100, 40.0 s",
        "steps: 100 of 100, 75.0 s",
    ]


def test_of_many_things_it_is_told_how_many_are_done_in_a_second() -> None:
    told: list[str] = []
    clock = Clock()
    lines = StageLines(told.append, clock, every=30.0)
    # what an earlier run had done took no time of this one
    for now, done in ((10.0, 5_000), (12.0, 9_000), (50.0, 25_000), (90.0, 45_000)):
        clock.now = now
        lines("neighbours", done, 45_000)
    assert told == [
        "neighbours: begins, 45,000 to do, 10.0 s",
        "neighbours: 25,000 of 45,000, 500 a second, 50.0 s",
        "neighbours: 45,000 of 45,000, 500 a second, 90.0 s",
    ]


def test_a_silent_stage_is_told_again() -> None:
    told: list[str] = []
    clock = Clock()
    lines = StageLines(told.append, clock, every=30.0)
    lines("neighbours", 0, 1)
    lines("steps", 0, 1)
    del told[:]
    clock.now = 29.0
    assert (lines.remind(), told) == (1.0, [])
    clock.now = 31.0
    assert lines.remind() == 30.0
    lines("neighbours", 1, 1)
    clock.now = 62.0
    lines.remind()
    lines("steps", 1, 1)
    clock.now = 93.0
    lines.remind()
    assert told == [
        "neighbours: 0 of 1, 31.0 s",
        "neighbours: 1 of 1, 31.0 s",
        "steps: 0 of 1, 62.0 s",
        "steps: 1 of 1, 62.0 s",
        "between stages: goes on, 93.0 s",
    ]


@pytest.mark.parametrize("json", [True, False])
def test_a_terminal_shows_bars_and_the_log_has_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, json: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    logbook = Logbook(tmp_path / "log")
    options = Namespace(quiet=False, json=json, logbook=logbook)
    errors = errors_and_log(logbook)
    with following(options, errors) as advance:
        assert advance is not None
        advance("steps", 0, 2)
        advance("steps", 2, 2)
    logbook.close()
    assert ("100%" in sys.stderr.getvalue()) != json  # type: ignore[attr-defined]
    assert "begins" not in sys.stderr.getvalue()  # type: ignore[attr-defined]
    assert (tmp_path / "log").read_text().count("steps: ") == 2


def test_work_without_stages_is_told_of_only_where_it_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = threading.Event()
    monkeypatch.setattr(progress, "say", lambda errors, text: told.set())
    options = Namespace(quiet=False, json=False, logbook=None)
    errors = Console(file=io.StringIO())
    with working("page", options, errors):
        pass
    assert not told.is_set()
    monkeypatch.setattr(progress, "EVERY", 0.01)
    with working("page", options, errors):
        assert told.wait(60)


def test_a_log_that_cannot_be_opened_is_wrong_usage(command: Command, tmp_path: Path) -> None:
    done = command("inspect", "x.npy", "--log", tmp_path / "none" / "log")
    assert done.code == 2
    assert f"--log: {tmp_path / 'none' / 'log'} cannot be written" in done.err.splitlines()[0]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is full")
def test_a_log_that_is_full_does_not_end_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    logbook = Logbook(Path("/dev/full"))
    logbook.write("one")
    logbook.write("two")
    logbook.close()
    assert capsys.readouterr().err.count("the log ends") == 1
