"""Engines: every task once, errors as they are, and what a killed worker had is done by another."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sphere_ebm.errors import EngineError, MissingPackageError, ShardError
from sphere_ebm.labelling.engines import LocalEngine, make_engine


def double(number: int) -> int:
    return 2 * number


def fail(number: int) -> int:
    raise ShardError("x.npy", f"is number {number}", "t", 3, cure="count")


def die_once(marker: Path) -> int:
    """The first process to come here is killed, as the kernel would for lack of memory."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def die(_: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_task_is_done_once(jobs: int) -> None:
    assert sorted(LocalEngine(jobs).run(double, [3, 4, 5])) == [(0, 6), (1, 8), (2, 10)]
    assert list(LocalEngine(jobs).run(double, [])) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_of_a_task_is_raised_as_it_is(jobs: int) -> None:
    with pytest.raises(ShardError, match=r"x\.npy: `t` at index 3: is number 0; count"):
        list(LocalEngine(jobs).run(fail, [0, 0]))


def test_tasks_of_a_killed_process_are_done_by_another(tmp_path: Path) -> None:
    done = dict(LocalEngine(2).run(die_once, [tmp_path / "marker"] * 4))
    assert sorted(done) == [0, 1, 2, 3]
    assert os.getpid() not in done.values()


def test_a_task_that_always_kills_its_process_ends_the_run() -> None:
    with pytest.raises(
        EngineError,
        match=r"4 processes in a row were killed, .* take fewer jobs\. What is finished",
    ):
        list(LocalEngine(2).run(die, [0]))


class Awkward(Exception):
    """Does not survive pickling: its arguments are not those that it is made of."""

    def __init__(self, one: str, other: str) -> None:
        super().__init__(f"{one} and {other}")


def fail_awkwardly(_: int) -> int:
    raise Awkward("this", "that")


def test_an_error_that_cannot_travel_keeps_its_name_and_text() -> None:
    with pytest.raises(RuntimeError, match="Awkward: this and that"):
        list(LocalEngine(2).run(fail_awkwardly, [0]))


def test_processes_leave_interruptions_to_the_one_that_started_them() -> None:
    before = signal.getsignal(signal.SIGINT)
    (seen,) = dict(LocalEngine(2).run(handler_here, [0])).values()
    assert seen == "ignored"
    assert signal.getsignal(signal.SIGINT) is before


def handler_here(_: int) -> str:
    return "ignored" if signal.getsignal(signal.SIGINT) is signal.SIG_IGN else "taken"


PARENT = """
import sys
sys.path.insert(0, {folder!r})
from sphere_ebm.labelling.engines import LocalEngine
import test_engines
if __name__ == "__main__":
    for number, pid in LocalEngine(2).run(test_engines.sleep, [0.0, 600.0, 600.0]):
        print(pid, flush=True)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
        if Path(f"/proc/{pid}/stat").exists()
        else False
    )


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "parent.py"
    path.write_text(PARENT.format(folder=str(Path(__file__).parent)))
    return path


def test_workers_end_with_the_process_that_started_them(script: Path) -> None:
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert alive(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not alive(worker):
            break
        time.sleep(0.1)
    assert not alive(worker)


def test_what_cannot_be_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_engine(), LocalEngine)
    with pytest.raises(ValueError, match="`engine` must be one of local, ray; got 'slurm'"):
        make_engine("slurm")
    with pytest.raises(ValueError, match="`jobs` must be at least 1; got 0"):
        make_engine(jobs=0)
    with pytest.raises(ValueError, match="`ray_address` is for engine='ray'"):
        make_engine(ray_address="auto")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match=r"`ray`: pip install 'sphere-ebm\[ray\]'"):
        make_engine("ray")
