"""The commands for a map that is there: what they print, their exit codes, what they refuse."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from builders import contents
from commands import Command

SMALL = ["--neighbours", "4", "--shells", "3", "--steps", "25", "--average", "5"]
SMALL += ["--replicas", "1"]


@pytest.fixture
def old(command: Command, tmp_path: Path, shard: Callable[..., Path]) -> Path:
    """A map of two shards."""
    for i, patches in enumerate((20, 17)):
        shard(tmp_path / "in" / f"s{i}.safetensors", patches, seed=i)
    command("label", tmp_path / "in", "-o", tmp_path / "old", "--quiet", *SMALL)
    return tmp_path / "old"


def test_a_map_is_joined_updated_and_registered(
    command: Command, old: Path, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    new = shard(tmp_path / "n.safetensors", 9, seed=7)
    grown = tmp_path / "grown"
    done = command("update", old, new, "-o", grown, "--strength", "3")
    assert done.code == 0
    for text in ("grown from", "how far old points moved", "s1", "moved most", str(grown)):
        assert text in done.out
    again = command("update", old, new, "-o", grown, "--strength", "3", "--json")
    told = json.loads(again.out)
    assert (again.code, told["kept"], told["points"]) == (0, 3, 46)
    assert set(told["moved_by_document"]) == {"s0", "s1"}
    assert len(told["moved_most"]) == 10

    turned = command("register", grown, old)
    assert turned.code == 0
    assert "37 shared points" in turned.out
    assert json.loads(command("register", grown, old, "--json").out)["shared"] == 37

    joined = command("join", old, new)
    assert joined.code == 0
    assert "9 points in 1 files" in joined.out
    before = contents(old)
    told = json.loads(command("join", old, new, tmp_path / "absent", "--json").out)
    assert (told["joined"], told["points"], told["present"]) == (0, 46, [str(new)])
    assert list(told["refused"]) == [str(tmp_path / "absent")]
    assert contents(old) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["join", "absent", "x.npy"], 3, "no readable map.json"),
        (["update", "absent", "-o", "new"], 3, "no readable map.json"),
        (["register", "absent", "absent"], 3, "no readable map.json"),
        (["update", "absent", "-o", "new", "--strength", "-1"], 2, "--strength must be"),
        (["join", "absent", "x.npy", "--jobs", "0"], 2, "`jobs` must be at least 1"),
    ],
)
def test_what_cannot_be_done_is_said(
    command: Command, tmp_path: Path, monkeypatch, arguments, code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command(*arguments)
    assert done.code == code
    assert message in done.err
    assert not list(tmp_path.iterdir())
