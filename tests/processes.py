"""Processes that tests start and kill, forked from one that has imported the package and run none.

To import JAX and the command takes longer than what most of these processes do.
"""

import functools
import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

from sphere_ebm.errors import ShardError


@functools.cache
def ready_made() -> BaseContext:
    """New processes like those of `spawn`, from a server without threads, where there is one.

    The server keeps the environment of the test that starts it, so that only tests of one room may
    use it: `conftest.TINY` is told to processes by the environment.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sphere_ebm.cli.main", __name__])
    return context


def run_command(
    arguments: list[str], compiled: str, suffix: str = "", count: int = 0, more: int = 0
) -> None:
    """Run the command, with the compiled programs of a folder, in this process, and exit.

    Checkpoints of the fit are written after every chunk.

    With a `suffix` it kills itself once the `count`-th rename onto (or removal of) a file named
    *`suffix` has begun and `more` audit events of any kind (opening, renaming, importing,
    compiling) have passed: a moment that depends on no clock.
    """
    import jax

    from sphere_ebm.cli.main import main
    from sphere_ebm.maps import checkpoint

    checkpoint.EVERY = 0.0
    jax.config.update("jax_compilation_cache_dir", compiled)

    def watch(event: str, given: tuple[Any, ...]) -> None:
        nonlocal count, more
        if count > 0 and event in ("os.rename", "os.remove"):
            count -= os.fspath(given[event == "os.rename"]).endswith(suffix)
        if not count:
            more -= 1
            if more < 0:
                count = -1  # os.kill is an event too
                os.kill(os.getpid(), signal.SIGKILL)

    if suffix:
        sys.addaudithook(watch)
    sys.exit(main(arguments))


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
