"""Engines: this process, several, a Ray cluster or the caller's executor work on a run's tasks.

A task is a function of this package and one picklable argument; it writes a file that depends on
nothing else. So it may be repeated, and it does not matter where it runs.
"""

import abc
import multiprocessing
import multiprocessing.connection
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, final

import jax
from typing_extensions import override

from sphere_ebm.errors import EngineError, LabelError, require

ENGINES: tuple[str, ...] = ("local", "ray")
RETRIES = 3
"""How often in a row workers may be lost before a run gives up."""

Task = TypeVar("Task")
Result = TypeVar("Result")
Work = Callable[[Task], Result]
"""What is done with a task: a function of this package."""
Numbered = Iterator[tuple[int, Result]]
"""Results as they come, each with the number of its task."""
_Outcome = tuple[Any, Exception | None]
Value = TypeVar("Value")


class AbstractLent(abc.ABC, Generic[Value]):
    """A value that many tasks hold, and that is not sent with each of them."""

    @property
    @abc.abstractmethod
    def value(self) -> Value:
        """The value itself; where it came from another process, arrays in it are not writable."""


@final
@dataclass(frozen=True, eq=False)
class LentHere(AbstractLent[Value]):
    """A value of this very process."""

    held: Value

    @property
    @override
    def value(self) -> Value:
        return self.held


class AbstractEngine(abc.ABC):
    """Works on tasks in any order."""

    @property
    def spreads(self) -> bool:
        """Whether it may have other machines' processors, and is given all that can be tasks.

        Otherwise what this process does with all of its processors is done by itself.
        """
        return False

    def lend(self, value: Value) -> AbstractLent[Value]:
        """`value` for tasks of this engine to hold."""
        return LentHere(value)

    def reach(self) -> None:
        """Find out in seconds whether anybody answers where the tasks are to run.

        Raises:
            EngineError: nobody does.
        """
        return

    @abc.abstractmethod
    def prepare(self) -> None:
        """Find out whether tasks could be run now, before hours of other work.

        Raises:
            EngineError: they could not.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Give back what `prepare` took."""

    @abc.abstractmethod
    def run(self, work: Work[Task, Result], tasks: Sequence[Task]) -> Numbered[Result]:
        """Number and result of every task, as they get done.

        What a task raises is raised here.

        Raises:
            EngineError: workers are lost, again and again where the engine can replace them.
        """


def make_engine(
    name: str = "local", jobs: int = 1, ray_address: str | None = None
) -> AbstractEngine:
    """The engine called `name`.

    Args:
        name: `"local"` or `"ray"` (the extra `ray`).
        jobs: processes of the local engine; tasks that run at a time on a local Ray cluster.
        ray_address: of a Ray cluster that runs already; None: one on this machine.

    Raises:
        ValueError: an unknown name, `jobs` < 1, or an address for another engine.
        MissingPackageError: Ray is not installed.
    """
    if name not in ENGINES:
        raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}; got {name!r}.")
    if jobs < 1:
        raise ValueError(f"`jobs` must be at least 1; got {jobs}.")
    if name == "local":
        if ray_address is not None:
            raise ValueError("`ray_address` is for engine='ray'; got it for engine='local'.")
        return LocalEngine(jobs)
    from sphere_ebm.labelling.ray_engine import RayEngine  # which imports this file

    return RayEngine(require("ray", "ray", "the engine `ray`"), jobs, ray_address)


def reached(engine: AbstractEngine | Executor | None) -> AbstractEngine:
    """The engine that a caller gave, perhaps as an executor; None: this process.

    To be called before anything is read.

    Raises:
        LabelError: nobody answers at its address.
    """
    found = ExecutorEngine(engine) if isinstance(engine, Executor) else engine or LocalEngine()
    try:
        found.reach()
    except EngineError as error:
        raise LabelError(str(error)) from error
    return found


@contextmanager
def ready(engine: AbstractEngine, *, needed: bool = True) -> Iterator[None]:
    """Hold the engine where it is `needed`, and give it back at the end.

    Raises:
        LabelError: it cannot work, which is found out before anything else is done.
    """
    try:
        if needed:
            engine.prepare()
    except EngineError as error:
        raise LabelError(str(error)) from error
    try:
        yield
    finally:
        engine.close()


@final
class LocalEngine(AbstractEngine):
    """This process for one job, else so many new ones.

    Tasks of a process that was killed go to new processes.
    """

    def __init__(self, jobs: int = 1):
        self.jobs = jobs

    @override
    def prepare(self) -> None:
        pass

    @override
    def close(self) -> None:
        pass

    @override
    def run(self, work: Work[Task, Result], tasks: Sequence[Task]) -> Numbered[Result]:
        if self.jobs == 1:
            for number, task in enumerate(tasks):
                yield number, work(task)
            return
        left = dict(enumerate(tasks))
        lost = 0
        while left:
            try:
                for number, result in self._attempt(work, left):
                    del left[number]
                    lost = 0
                    yield number, result
            except BrokenProcessPool as error:
                lost += 1
                if lost > RETRIES:
                    raise EngineError(
                        f"{lost} processes in a row were killed, probably for lack of memory; take"
                        " fewer jobs. What is finished is kept"
                    ) from error

    def _attempt(self, work: Work[Task, Result], tasks: dict[int, Task]) -> Numbered[Result]:
        # spawn, because a fork of a process in which XLA's threads run may hang
        context = multiprocessing.get_context("spawn")
        config: Any = jax.config
        compiled = (
            config.jax_compilation_cache_dir,
            config.jax_persistent_cache_min_compile_time_secs,
        )
        processes = min(self.jobs, len(tasks))
        with ProcessPoolExecutor(
            processes, mp_context=context, initializer=_begin, initargs=compiled
        ) as pool:
            with _interruptions_ignored():
                futures = _submitted(pool, work, tasks)
            try:
                yield from _completed(futures)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


@final
class ExecutorEngine(AbstractEngine):
    """An executor that the caller has made and will end: of threads, of processes, of a cluster.

    Its processes must not be made by `fork`, which may hang beside XLA's threads; give a
    `ProcessPoolExecutor` the context `multiprocessing.get_context("spawn")`. Workers of other
    machines need a file system with inputs and output that all of them share. A worker that is lost
    is not replaced: that ends the run, which the same command continues.

    What it is busy with comes first: `prepare` waits until a worker has taken a task. Processes of
    the caller's are as the caller made them: they do not use this process's cache of compiled
    programs unless the environment names one, and nothing ends them when this process is killed. A
    run that fails returns when none of its tasks is running any more.
    """

    def __init__(self, executor: Executor):
        self.executor = executor

    @override
    def prepare(self) -> None:
        try:
            self.executor.submit(int).result()
        except (RuntimeError, CancelledError) as error:
            raise _lost(error) from error

    @override
    def close(self) -> None:
        pass

    @override
    def run(self, work: Work[Task, Result], tasks: Sequence[Task]) -> Numbered[Result]:
        try:
            futures = _submitted(self.executor, work, dict(enumerate(tasks)))
        except RuntimeError as error:  # it was shut down, or is broken
            raise _lost(error) from error
        try:
            yield from _completed(futures)
        except (BrokenExecutor, CancelledError) as error:
            raise _lost(error) from error
        finally:
            _end(futures)


def _lost(error: Exception) -> EngineError:
    reason = str(error) or "its tasks were cancelled"
    return EngineError(f"the executor cannot work: {reason}. What is finished is kept")


def _submitted(
    executor: Executor, work: Callable[[Task], Result], tasks: dict[int, Task]
) -> dict["Future[_Outcome]", int]:
    """The number of each task by what will be its outcome."""
    futures: dict[Future[_Outcome], int] = {}
    try:
        for number, task in tasks.items():
            futures[executor.submit(_guarded, work, task)] = number
    except BaseException:
        _end(futures)
        raise
    return futures


def _end(futures: Iterable["Future[_Outcome]"]) -> None:
    """Cancel what waits, and wait for what runs: it may still write."""
    running = [future for future in futures if not future.cancel()]
    for future in running:
        with suppress(CancelledError):
            future.exception()


def _completed(futures: dict["Future[_Outcome]", int]) -> Iterator[tuple[int, Any]]:
    """Number and result of every task, as they get done; raises what a task has raised."""
    # Not by `as_completed`, which waits for ever for what a `shutdown` elsewhere has cancelled.
    done: queue.SimpleQueue[Future[_Outcome]] = queue.SimpleQueue()
    for future in futures:
        future.add_done_callback(done.put)
    for _ in futures:
        future = done.get()
        result, problem = future.result()
        if problem is not None:
            raise problem
        yield futures[future], result


@contextmanager
def _interruptions_ignored() -> Iterator[None]:
    """Ignore interruptions while processes are started.

    They inherit this, and leave Ctrl-C to the process that started them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _guarded(work: Callable[[Task], Result], task: Task) -> tuple[Result | None, Exception | None]:
    """The result, or what was raised, in a form that survives the way between processes."""
    try:
        return work(task), None
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return None, RuntimeError(f"{type(error).__name__}: {error}")
        return None, error


def _begin(compiled: str | None, shortest: float) -> None:
    """Use the cache of compiled programs of the starting process, and end when it ends.

    It does not matter how that one ends.
    """
    if compiled is not None:
        jax.config.update("jax_compilation_cache_dir", compiled)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", shortest)
    parent: Any = multiprocessing.parent_process()

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
