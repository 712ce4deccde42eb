"""Engines: every task once, errors as they are, and what a killed worker had is done by another."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from processes import die, die_once, double, fail, ready_made, sleep
from sphere_ebm.errors import EngineError, MissingPackageError, ShardError
from sphere_ebm.labelling.engines import (
    AbstractEngine,
    ExecutorEngine,
    LocalEngine,
    make_engine,
)


def local(jobs: int) -> AbstractContextManager[AbstractEngine]:
    return nullcontext(LocalEngine(jobs))


@contextmanager
def threads() -> Iterator[AbstractEngine]:
    with ThreadPoolExecutor(2) as pool:
        yield ExecutorEngine(pool)


@contextmanager
def processes() -> Iterator[AbstractEngine]:
    with ProcessPoolExecutor(2, ready_made()) as pool:
        yield ExecutorEngine(pool)


every_engine = pytest.mark.parametrize(
    "made",
    [lambda: local(1), lambda: local(2), threads, processes],
    ids=["here", "local", "threads", "processes"],
)


@every_engine
def test_every_task_is_done_once(made: Callable[[], Any]) -> None:
    with made() as engine:
        engine.prepare()
        assert sorted(engine.run(double, [3, 4, 5])) == [(0, 6), (1, 8), (2, 10)]
        assert list(engine.run(double, [])) == []
        engine.close()


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that need not be spawned: that they are is tested by what they do."""
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: ready_made())


@every_engine
@pytest.mark.usefixtures("forked")
def test_an_error_of_a_task_is_raised_as_it_is(made: Callable[[], Any]) -> None:
    with made() as engine:
        with pytest.raises(ShardError, match=r"x\.npy: `t` at index 3: is number 0; count"):
            list(engine.run(fail, [0, 0]))
        assert sorted(engine.run(double, [1])) == [(0, 2)]


def test_an_executor_whose_process_was_killed_ends_the_run() -> None:
    with processes() as engine:
        with pytest.raises(EngineError, match=r"the executor cannot work: .*What is finished"):
            list(engine.run(die, [0]))
        with pytest.raises(EngineError, match="the executor cannot work"):
            engine.prepare()
        with pytest.raises(EngineError, match="the executor cannot work"):
            list(engine.run(double, [0]))


def test_tasks_that_wait_are_cancelled_when_one_fails() -> None:
    with ThreadPoolExecutor(1) as pool:
        begun: list[int] = []

        def work(number: int) -> None:
            begun.append(number)
            time.sleep(0.05)
            raise ValueError(number)

        with pytest.raises(ValueError, match="0"):
            list(ExecutorEngine(pool).run(work, range(100)))
    assert len(begun) < 50


def test_a_run_that_fails_returns_when_none_of_its_tasks_is_running() -> None:
    both = threading.Barrier(2)
    ended: list[int] = []

    def work(number: int) -> None:
        if number > 1:
            return
        both.wait()
        if number == 0:
            raise ValueError(number)
        time.sleep(0.2)
        ended.append(number)

    with ThreadPoolExecutor(2) as pool:
        with pytest.raises(ValueError, match="0"):
            list(ExecutorEngine(pool).run(work, range(9)))
        assert ended == [1]


def test_what_was_submitted_before_a_submission_failed_is_ended() -> None:
    begun = threading.Event()
    ended: list[int] = []

    def work(number: int) -> None:
        begun.set()
        time.sleep(0.2)
        ended.append(number)

    class Full(ThreadPoolExecutor):
        """Takes two tasks: the first is running when the third is refused."""

        taken = 0

        def submit(self, *given: Any, **options: Any) -> Any:
            self.taken += 1
            if self.taken > 2:
                assert begun.wait(60)
                raise RuntimeError("full")
            return super().submit(*given, **options)

    with Full(1) as pool:
        with pytest.raises(EngineError, match="the executor cannot work: full"):
            list(ExecutorEngine(pool).run(work, range(3)))
        assert ended == [0]
    assert ended == [0]


def test_tasks_that_others_cancel_end_the_run() -> None:
    pool = ThreadPoolExecutor(1)
    results = ExecutorEngine(pool).run(sleep, [0.0, 1.0, 0.0, 0.0])
    next(results)
    pool.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(EngineError, match="its tasks were cancelled"):
        list(results)


def test_tasks_of_a_killed_process_are_done_by_another(tmp_path: Path) -> None:
    done = dict(LocalEngine(2).run(die_once, [tmp_path / "marker"] * 4))
    assert sorted(done) == [0, 1, 2, 3]
    assert os.getpid() not in done.values()


@pytest.mark.usefixtures("forked")
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


@pytest.mark.usefixtures("forked")
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
import processes
if __name__ == "__main__":
    for number, pid in LocalEngine(2).run(processes.sleep, [0.0, 600.0, 600.0]):
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
    path.write_text(PARENT.format(folder=str(Path(__file__).parents[1])))
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
    with pytest.raises(MissingPackageError, match=r"`ray`: pip install 'ray\[client\]>="):
        make_engine("ray")
