"""Cold runs meet no compiled program, warm ones those of the cold run before them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def first(benchmark: Callable[[str], Any]) -> Any:
    return benchmark("first_result")


def test_every_cold_run_has_a_cache_of_its_own(first: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    caches: list[str] = []

    def label_once(shards: Sequence[str], cache: Path) -> tuple[float, float]:
        caches.append(cache.name)
        return (7.0, 9.0) if caches.count(cache.name) == 1 else (3.5, 4.0)

    monkeypatch.setattr(first, "label_once", label_once)
    found = first.measure(["shards"], 2)
    assert caches == ["bytecode", "0", "0", "1", "1"]
    assert [(runs.programs, runs.seconds) for runs in found] == [
        ("cold", (7.0, 7.0)),
        ("warm", (3.5, 3.5)),
    ]
    assert [check.passed for check in first.checks(found)] == [True, False]
    assert all(len(runs.cells()) == len(first.HEADER) for runs in found)


def test_the_command_is_run_and_keeps_its_programs_where_it_should(
    first: Any, shard: Callable[..., Path], tmp_path: Path
) -> None:
    given = str(shard(tmp_path / "one.safetensors", 30))
    quick = ["--steps", "5", "--average", "2", "--replicas", "0", "--no-page"]
    seconds, processor = first.label_once([given, *quick], tmp_path / "cache")
    assert processor > 0
    assert seconds > 0
    assert list((tmp_path / "cache").rglob("*run_chunk*"))
