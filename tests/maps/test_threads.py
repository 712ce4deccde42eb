"""Work in threads: its results come in order, its words in the thread that asks, its errors too."""

import threading
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import pytest

from sphere_ebm.maps.threads import jax_threads, one_and_then_all, side_by_side


@pytest.mark.parametrize("at_a_time", [1, 2, 5])
def test_results_come_in_order_and_words_to_the_thread_that_asks(at_a_time: int) -> None:
    heard: list[tuple[int, int]] = []
    late = threading.Event()

    def work(number: int, say: Callable[[int], None]) -> int:
        if at_a_time > 1 and number == 0:
            assert late.wait(60), "others are worked on meanwhile"
        for word in range(3):
            say(word)
        if number == 1:
            late.set()
        return 10 * number

    def hear(number: int, word: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        heard.append((number, word))

    assert list(side_by_side(work, range(4), at_a_time, hear)) == [0, 10, 20, 30]
    assert sorted(heard) == [(number, word) for number in range(4) for word in range(3)]
    for number in range(4):
        assert [word for who, word in heard if who == number] == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_the_first_is_worked_on_by_itself(count: int) -> None:
    first = threading.Event()

    def work(number: int) -> int:
        if number == 3:
            time.sleep(0.05)  # others would come by meanwhile
            first.set()
        assert first.is_set()
        return 10 * number

    found = list(one_and_then_all(work, range(3, 3 + count), 3))
    assert found == [10 * number for number in range(3, 3 + count)]


def test_no_more_is_worked_on_than_was_asked_for() -> None:
    both = threading.Barrier(2)
    live = 0
    most = 0
    guard = threading.Lock()

    def work(number: int, say: Callable[[int], None]) -> int:
        nonlocal live, most
        with guard:
            live += 1
            most = max(most, live)
        both.wait(60)
        with guard:
            live -= 1
        return number

    assert list(side_by_side(work, range(6), 2, lambda *_: None)) == list(range(6))
    assert most == 2


@pytest.mark.parametrize("where", ["in the work", "where it is heard"])
def test_what_fails_ends_the_others_and_is_raised(where: str) -> None:
    begun: list[int] = []
    ended: list[int] = []

    def work(number: int, say: Callable[[str], None]) -> int:
        if number == 1:
            say("bad")
            raise ArithmeticError(where)
        begun.append(number)
        try:
            while True:
                say("on and on")
        finally:
            ended.append(number)

    def hear(number: int, word: str) -> None:
        if word == "bad" and where != "in the work":
            raise ArithmeticError(where)

    with pytest.raises(ArithmeticError, match=where):
        list(side_by_side(work, range(5), 2, hear))
    assert sorted(ended) == sorted(begun)
    assert 0 in ended


def test_threads_have_the_settings_of_the_one_that_makes_them() -> None:
    def dtype() -> str:
        return str(jnp.zeros(1).dtype)

    with jax_threads(2) as threads:
        assert threads.submit(dtype).result() == dtype() == "float32"
    with jax.enable_x64(True), jax_threads(2) as threads:
        assert {threads.submit(dtype).result() for _ in range(4)} == {"float64"}
    assert dtype() == "float32"
    with jax.default_matmul_precision("highest"), jax_threads(1) as threads:
        found = threads.submit(lambda: jax.config.jax_default_matmul_precision).result()
    assert found == "highest"
