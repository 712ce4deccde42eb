"""`ingest` where a run has been before: interrupted, killed, finished or altered."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import contents
from ingestions import (
    TEXTS,
    letters,
    made,
    times,
    written,
)
from sphere_ebm import LabelError, read_shard
from sphere_ebm.files.journal import JOURNAL, Journal
from sphere_ebm.text import shard_work as run_module
from sphere_ebm.text.base import AbstractEmbedder
from sphere_ebm.text.ingest import IngestRun

# runs that died


def die() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("last", "torn"), [(1, False), (3, False), (3, True), (5, False), (5, True)]
)
def test_an_interrupted_run_is_continued_to_the_same_bytes(
    finished: IngestRun, texts: Path, tmp_path: Path, last: int, torn: bool
) -> None:
    # c.jsonl is two documents
    output = tmp_path / "out"
    done = {1: 0, 3: 2, 5: 3}[last]
    with pytest.raises(KeyboardInterrupt):
        made(texts, output, embedder=letters(last, die))
    before = times(output)
    assert len([name for name in before if name.endswith(".safetensors")]) == done
    assert not [name for name in before if name.endswith(".tmp")]
    if torn:
        (output / JOURNAL).write_bytes((output / JOURNAL).read_bytes()[:-10])
    embedder = letters()
    again = made(texts, output, embedder=embedder)
    assert again.kept == max(done - torn, 0)
    assert contents(output) == contents(finished.output)
    after = times(output)
    assert sum(after.get(name) == before[name] for name in before) == again.kept
    assert embedder.documents == 5 - {0: 0, 1: 1, 2: 2, 3: 4}[again.kept]


KILLED = """
import os, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
import ingestions

embedder = ingestions.letters(3, lambda: os.kill(os.getpid(), signal.SIGKILL))
ingestions.made(sys.argv[2], Path(sys.argv[3]), embedder=embedder)
"""


def test_a_killed_run_is_continued_to_the_same_bytes(
    finished: IngestRun, texts: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(Path(__file__).parents[1]),
        str(texts),
        str(output),
    ]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    before = times(output)
    assert [name for name in before if name.endswith(".tmp")], "killed in the middle of a shard"
    again = made(texts, output)
    assert again.kept == 2
    assert contents(output) == contents(finished.output)
    assert [name for name, time in times(output).items() if before.get(name) == time] == [
        name for name in times(output) if name in ("in__a.safetensors", "b.safetensors")
    ]


def test_a_run_that_died_before_a_shard_was_written_down_writes_it_again(
    finished: IngestRun, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "record", lambda *_: die())
        with pytest.raises(KeyboardInterrupt):
            made(texts, tmp_path / "out")
    assert (tmp_path / "out" / "in__a.safetensors").exists()
    assert made(texts, tmp_path / "out").kept == 0
    assert contents(tmp_path / "out") == contents(finished.output)


# the same command again


@pytest.fixture
def copy(finished: IngestRun, tmp_path: Path) -> Path:
    """A finished folder of one's own."""
    return shutil.copytree(finished.output, tmp_path / "copy", copy_function=shutil.copy)


def test_a_finished_run_is_kept_whole(
    finished: IngestRun, texts: Path, copy: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(run_module, "write_shard", None)
    before = times(copy)
    again = made(texts, copy)
    assert (again.kept, again.statistics, again.bits_per_byte) == (
        4,
        finished.statistics,
        finished.bits_per_byte,
    )
    assert contents(copy) == contents(finished.output)
    assert {name for name, time in times(copy).items() if before[name] != time} == {"ingest.json"}


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"?")]
)
def test_a_shard_that_was_lost_or_altered_is_written_again_and_the_others_kept(
    finished: IngestRun, texts: Path, copy: Path, damage: Callable[[Path], Any]
) -> None:
    before = times(copy)
    damage(copy / "b.safetensors")
    assert made(texts, copy).kept == 3
    assert contents(copy) == contents(finished.output)
    changed = {name for name, time in times(copy).items() if before[name] != time}
    assert changed == {"b.safetensors", "ingest.json"}


def test_the_shard_of_a_changed_text_is_written_again_and_the_others_kept(
    texts: Path, copy: Path
) -> None:
    before = contents(copy)
    (texts / "b.md").write_text("# Other words than there were before\n")
    assert made(texts, copy).kept == 3
    octets = read_shard(copy / "b.safetensors").bytes
    assert octets is not None
    assert octets.tobytes() == (texts / "b.md").read_bytes()
    assert {name for name, raw in contents(copy).items() if before[name] != raw} == {
        "b.safetensors",
        "ingest.json",
    }


def test_a_text_that_can_no_longer_be_read_loses_its_shard(texts: Path, copy: Path) -> None:
    (texts / "b.md").write_bytes(b"abc\xff")
    again = made(texts, copy)
    assert [(one.source, "0xff at byte 3" in one.reason) for one in again.refused] == [
        (texts / "b.md", True)
    ]
    assert (again.kept, sorted(path.name for path in copy.iterdir())) == (
        3,
        ["c.safetensors", "d__a.safetensors", "in__a.safetensors", "ingest.json"],
    )
    assert "b.safetensors" not in json.loads((copy / "ingest.json").read_text())["files"]
    (texts / "b.md").write_text(TEXTS["b.md"])
    assert made(texts, copy).kept == 3


def test_texts_of_which_none_can_be_read_leave_no_shard_and_a_folder_that_can_be_used_again(
    finished: IngestRun, texts: Path, copy: Path
) -> None:
    for name in TEXTS:
        (texts / name).write_bytes(b"\xff")
    with pytest.raises(LabelError, match="no input could be used") as caught:
        made(texts, copy)
    assert len(caught.value.refused) == 4
    assert not list(copy.glob("*.safetensors"))
    written(texts)
    assert made(texts, copy).kept == 0
    assert contents(copy) == contents(finished.output)


def test_inputs_that_are_not_there_are_listed_and_the_others_done(
    texts: Path, tmp_path: Path
) -> None:
    run = made([texts / "a.txt", tmp_path / "gone.txt", str(tmp_path / "no*.md")], tmp_path / "out")
    assert {one.source for one in run.refused} == {tmp_path / "gone.txt", tmp_path / "no*.md"}
    assert list(run.files) == [texts / "a.txt"]


def test_no_inputs_at_all_make_no_folder(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="no input could be used") as caught:
        made(tmp_path / "gone", tmp_path / "out")
    assert [one.source for one in caught.value.refused] == [tmp_path / "gone"]
    assert not (tmp_path / "out").exists()


def test_an_embedding_that_is_not_finite_costs_one_text_only(texts: Path, tmp_path: Path) -> None:
    class Unfinite(AbstractEmbedder):
        name = "unfinite"
        width = 8

        def embed(
            self, octets: np.ndarray, lengths: np.ndarray
        ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            value = np.nan if b"Rand" in octets.tobytes() else 1
            yield np.full((len(lengths), 8), value, np.float32), np.ones(len(lengths), np.float32)

    run = made(texts, tmp_path / "out", embedder=Unfinite())
    assert [one.source for one in run.refused] == [texts / "b.md"]
    assert "unfinite gave what is not finite" in run.refused[0].reason
    assert len(list((tmp_path / "out").iterdir())) == len(run.files) + 1 == 4
