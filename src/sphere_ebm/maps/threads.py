"""Threads that run JAX programs beside each other.

One program of a small map keeps one processor busy, so that others may run meanwhile.
"""

import functools
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar, final

import jax

Result = TypeVar("Result")
Said = TypeVar("Said")


class _Settings(NamedTuple):
    """Settings of JAX that may be those of one thread alone, and that results depend on."""

    enable_x64: bool
    default_device: Any
    default_matmul_precision: Any
    disable_jit: bool


def _settings() -> _Settings:
    return _Settings(*(getattr(jax.config, f"jax_{name}") for name in _Settings._fields))


def jax_threads(at_a_time: int) -> ThreadPoolExecutor:
    """So many threads that have the JAX settings of the one which makes them.

    A context such as `jax.enable_x64(True)` otherwise holds in the thread alone that entered it.
    """
    return ThreadPoolExecutor(at_a_time, initializer=_take_over, initargs=(_settings(),))


def _take_over(settings: _Settings) -> None:
    own = _settings()
    for name in _Settings._fields:
        # what is alike stays as it is: JAX would take it for another setting, and compile anew
        if getattr(own, name) != getattr(settings, name):
            # left when the thread ends
            getattr(jax, name)(getattr(settings, name)).__enter__()


def one_and_then_all(
    work: Callable[[int], Result], numbers: Sequence[int], at_a_time: int
) -> Iterator[Result]:
    """`map(work, numbers)`, of which so many are worked on at once.

    The first is by itself, so that what it makes or compiles for all is not made twice.
    """
    yield from map(work, numbers[:1])
    if len(numbers) > 1:
        with jax_threads(at_a_time) as threads:
            yield from threads.map(work, numbers[1:])


@final
class _Stopped(Exception):
    """Ends a piece of work when it next says something, since other work has failed."""


def side_by_side(
    work: Callable[[int, Callable[[Said], None]], Result],
    numbers: Sequence[int],
    at_a_time: int,
    heard: Callable[[int, Said], None],
) -> Iterator[Result]:
    """Results of `work(number, say)`, in the order of the `numbers`; so many are worked on at once.

    What work says comes to `heard(number, said)` in the thread that asks for the results, so that
    nothing there need be safe for threads. Where that raises, or some work does, the rest ends when
    it next says something, and it is raised here.
    """
    if min(at_a_time, len(numbers)) <= 1:
        for number in numbers:
            yield work(number, functools.partial(heard, number))
        return
    news: queue.SimpleQueue[tuple[int, Said | Future[Result]]] = queue.SimpleQueue()
    stopped = threading.Event()

    def say(number: int, said: Said) -> None:
        if stopped.is_set():
            raise _Stopped
        news.put((number, said))

    def end(number: int, future: Future[Result]) -> None:
        news.put((number, future))

    with jax_threads(at_a_time) as threads:
        try:
            for number in numbers:
                future = threads.submit(work, number, functools.partial(say, number))
                future.add_done_callback(functools.partial(end, number))
            found: dict[int, Result] = {}
            for number in numbers:
                while number not in found:
                    source, word = news.get()
                    if isinstance(word, Future):
                        found[source] = word.result()
                    else:
                        heard(source, word)
                yield found.pop(number)
        finally:
            stopped.set()
            threads.shutdown(wait=False, cancel_futures=True)
