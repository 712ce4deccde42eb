"""Where the tasks of a run are worked on: in this process, in several, or on a Ray cluster.

A task is a function of this package and one picklable argument; it writes a file that depends on nothing else. So it
may be repeated, and it does not matter where it runs.
"""

import abc
import importlib
import multiprocessing
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, Literal, TypeVar, final

EngineName = Literal["local", "ray"]
ENGINES: tuple[str, ...] = ("local", "ray")
RETRIES = 3
"""How often a task is tried again whose worker was lost."""

Task = TypeVar("Task")
Result = TypeVar("Result")


class Engine(abc.ABC):
    """Works on tasks in any order."""

    @abc.abstractmethod
    def run(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Number and result of every task, as they get done. What a task raises is raised here."""


def make_engine(name: str = "local", jobs: int = 1, ray_address: str | None = None) -> Engine:
    """The engine called `name`.

    Args:
        name: `"local"` or `"ray"` (the extra `ray`).
        jobs: processes of the local engine; tasks that run at a time on a local Ray cluster.
        ray_address: of a Ray cluster that runs already; None: one on this machine.

    Raises:
        ValueError: an unknown name, `jobs` < 1, an address for another engine, or Ray is not installed.
    """
    if name not in ENGINES:
        raise ValueError(f"`engine` must be one of {', '.join(ENGINES)}; got {name!r}.")
    if jobs < 1:
        raise ValueError(f"`jobs` must be at least 1; got {jobs}.")
    if name == "local":
        if ray_address is not None:
            raise ValueError("`ray_address` is for engine='ray'; got it for engine='local'.")
        return LocalEngine(jobs)
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise ValueError(
            "`engine='ray'` needs Ray, which could not be imported. Install it with: pip install 'sphere-ebm[ray]', or "
            "choose engine='local'."
        ) from error
    return RayEngine(ray, jobs, ray_address)


@final
class LocalEngine(Engine):
    """This process for one job, else so many new ones. Tasks of a process that was killed go to new processes."""

    def __init__(self, jobs: int = 1):
        self.jobs = jobs

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        if self.jobs == 1:
            for number, task in enumerate(tasks):
                yield number, work(task)
            return
        left, lost = dict(enumerate(tasks)), 0
        while left:
            try:
                for number, result in self._attempt(work, left):
                    del left[number]
                    yield number, result
            except BrokenProcessPool:
                lost += 1
                if lost > RETRIES:
                    raise

    def _attempt(self, work: Callable[[Task], Result], tasks: dict[int, Task]) -> Iterator[tuple[int, Result]]:
        # spawn, because a fork of a process in which XLA's threads run may hang
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.jobs, mp_context=context, initializer=_follow_parent) as pool:
            futures = {pool.submit(work, task): number for number, task in tasks.items()}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _follow_parent() -> None:
    """End this process when the one that started it is gone, however that ended."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@final
class RayEngine(Engine):
    """Ray tasks (Moritz et al. 2018). Those of a worker or node that was lost are repeated by Ray.

    Inputs and output must lie on a file system that all nodes share.
    """

    def __init__(self, ray: Any, jobs: int = 1, address: str | None = None):
        self.ray, self.jobs, self.address = ray, jobs, address

    def run(self, work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[tuple[int, Result]]:
        ray, ours = self.ray, not self.ray.is_initialized()
        if ours:
            self._start()
        try:
            remote = ray.remote(num_cpus=1, max_retries=RETRIES)(work)
            numbers = {remote.remote(task): number for number, task in enumerate(tasks)}
            waiting = list(numbers)
            while waiting:
                done, waiting = ray.wait(waiting, num_returns=1)
                for reference in done:
                    yield numbers[reference], ray.get(reference)
        finally:
            if ours:
                ray.shutdown()

    def _start(self) -> None:
        """Connect to the cluster, or start one here."""
        options: dict[str, Any] = {"address": self.address}
        if self.address is None:
            options = {"num_cpus": self.jobs, "include_dashboard": False}
        with warnings.catch_warnings():
            # Ray's servers are started by fork and exec, which XLA's threads do not mind
            warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
            self.ray.init(log_to_driver=False, logging_level="ERROR", **options)
