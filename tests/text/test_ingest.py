"""Texts in, shards out.

What one run writes, and how the same command continues what a dead one began.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import contents
from sphere_ebm import LabelError, PlacementConfig, label, read_labels, read_shard
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.container import read_container
from sphere_ebm.files.journal import JOURNAL, Journal
from sphere_ebm.files.shards.discovery import discover
from sphere_ebm.files.shards.reader import read_item
from sphere_ebm.text import ingest as run_module
from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel, Reading
from sphere_ebm.text.ingest import IngestRun, ingest
from sphere_ebm.text.passage_embedder import PassageEmbedder
from sphere_ebm.text.patching import Patching
from sphere_ebm.text.statistics import statistics_of

PROSE = "The quick brown fox jumps over the lazy dog, and nobody minds.\n" * 3
TEXTS = {
    "a.txt": PROSE,
    "b.md": "# Grüße\n\nVom Rand der Welt, wo Äpfel blühen.\n" * 4,
    "c.jsonl": (
        '{"text": "one short line"}\n{"text": null}\n{"text": "and one more that is longer"}\n'
    ),
    "d/a.txt": "Another file of the same name. " * 5,
}
NAMES = [f"{name}.safetensors" for name in ("{}__a", "b", "c", "d__a")]


class Spaces(AbstractEntropyModel):
    """Uncertain behind spaces, and a little so everywhere else."""

    name = "spaces"

    def read(self, octets: np.ndarray) -> Reading:
        entropies = np.where(octets == 32, 2 + octets.cumsum() % 5 / 8, octets % 7 / 20)
        return Reading(
            entropies.astype(np.float32), np.where(octets == 32, 3, 1).astype(np.float32)
        )


class Letters(AbstractEmbedder):
    """Counts of bytes by their last three bits, five patches at a time.

    Calls `dies` in document `last`.
    """

    name = "letters"
    width = 8

    def __init__(self, last: int = -1, dies: Callable[[], object] = print) -> None:
        self.documents = 0
        self._last = last
        self._dies = dies

    def embed(
        self, octets: np.ndarray, lengths: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        self.documents += 1
        patches = np.split(octets, np.cumsum(lengths)[:-1])
        for begin in range(0, len(patches), 5):
            counts = [np.bincount(patch & 7, minlength=8) for patch in patches[begin : begin + 5]]
            yield (
                np.array(counts, np.float32),
                np.array([len(p) for p in patches[begin : begin + 5]], np.float32),
            )
            if self.documents == self._last:
                self._dies()


def made(inputs: Any, output: Path, **options: Any) -> IngestRun:
    given = {
        "patching": Patching("monotonic"),
        "mean_length": 6.0,
        "entropy": Spaces(),
        "embedder": Letters(),
    }
    return ingest(inputs, output, **given | options)


def written(folder: Path) -> Path:
    for name, text in TEXTS.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return written(tmp_path / "in")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> IngestRun:
    """A run that nobody disturbed.

    Its inputs are in a folder of the same name as those of `texts`.
    """
    folder = tmp_path_factory.mktemp("finished")
    return made(written(folder / "in"), folder / "out")


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_each_text_gets_a_shard_of_its_own_bytes(finished: IngestRun) -> None:
    shards = {"a.txt": "in__a", "b.md": "b", "c.jsonl": "c", "d/a.txt": "d__a"}
    folder = finished.output.parent / "in"
    assert finished.files == {
        folder / t: finished.output / f"{s}.safetensors" for t, s in shards.items()
    }
    assert sorted(contents(finished.output)) == sorted(
        [*(f"{s}.safetensors" for s in shards.values()), "ingest.json"]
    )
    for name in ("a.txt", "b.md", "d/a.txt"):
        octets = read_shard(finished.files[folder / name]).bytes
        assert octets is not None
        assert octets.tobytes() == TEXTS[name].encode()
    assert (finished.refused, finished.kept) == ((), 0)
    assert finished.warnings == (
        f"{folder / 'c.jsonl'}: lines without text skipped: 1, first line 2",
    )


def test_totals_are_those_of_all_patches_and_all_bytes(finished: IngestRun) -> None:
    tables = [read_shard(path) for path in finished.files.values()]
    lengths = np.concatenate([table.patch_length for table in tables]).astype(np.int64)
    assert finished.statistics == statistics_of(lengths)
    octets = [table.bytes for table in tables if table.bytes is not None]
    nats = sum(float(Spaces().read(one).surprisals.sum()) for one in octets)
    assert finished.bits_per_byte["model"] == pytest.approx(
        nats / np.log(2) / lengths.sum(), abs=2e-4
    )
    each = [
        json.loads(read_container(path).metadata["bits_per_byte"])["xz"]
        for path in finished.files.values()
    ]
    expected = np.average(each, weights=[len(one) for one in octets])
    assert finished.bits_per_byte["xz"] == pytest.approx(expected, abs=1e-4)


def test_the_list_of_a_run_tells_every_shard_by_hash_and_all_settings(finished: IngestRun) -> None:
    held = json.loads((finished.output / "ingest.json").read_text())
    assert held["files"] == {path.name: sha256_of(path) for path in finished.files.values()}
    assert (held["entropy_model"], held["embedding_model"], held["mean_length"]) == (
        "spaces",
        "letters",
        6.0,
    )
    assert held["patching"]["rule"] == "monotonic"
    assert held["statistics"] == finished.statistics.to_dict()
    assert held["bits_per_byte"] == finished.bits_per_byte


def test_nothing_a_shard_holds_depends_on_other_files(
    finished: IngestRun, texts: Path, tmp_path: Path
) -> None:
    for i, name in enumerate(("b.md", "c.jsonl")):
        alone = made(texts / name, tmp_path / str(i))
        ((_, path),) = alone.files.items()
        assert path.read_bytes() == (finished.output / path.name).read_bytes()
    reordered = [texts / name for name in reversed(TEXTS)]
    assert contents(made(reordered, tmp_path / "reordered").output) == contents(finished.output)


def test_progress_counts_the_files(texts: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    made(texts, tmp_path / "out", progress=lambda *told: seen.append(told))
    assert seen == [("ingest", done, 4) for done in range(5)]


def test_texts_are_never_touched(texts: Path, tmp_path: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in texts.rglob("*.*")}
    made(texts, tmp_path / "out")
    assert {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in texts.rglob("*.*")
    } == before


CHILD = """
import sys
from sphere_ebm.text.ingest import ingest
ingest(sys.argv[1], sys.argv[2])
"""


def test_another_process_makes_the_same_bytes_with_the_models_of_the_package(
    texts: Path, tmp_path: Path
) -> None:
    here = ingest(texts, tmp_path / "here")
    command = [sys.executable, "-c", CHILD, str(texts), str(tmp_path / "there")]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    assert contents(tmp_path / "there") == contents(here.output)
    assert read_shard(here.files[texts / "a.txt"]).embeddings.shape[1] == 256


def test_labels_of_the_shards_lead_back_to_the_text(finished: IngestRun, tmp_path: Path) -> None:
    config = PlacementConfig(neighbours=4, shells=3, steps=20, average=5)
    labelled = label(finished.files.values(), tmp_path / "map", config)
    assert labelled.points == finished.statistics.patches
    for source, shard in finished.files.items():
        labels = read_labels(labelled.files[shard])
        table = read_shard(shard)
        assert labels.metadata["source_sha256"] == sha256_of(shard)
        np.testing.assert_array_equal(labels.embeddings, table.embeddings)
        if source.suffix != ".jsonl":
            raw = source.read_bytes()
            starts = zip(labels.patch_start.tolist(), labels.patch_length.tolist(), strict=True)
            assert b"".join(raw[start : start + length] for start, length in starts) == raw


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
        made(texts, output, embedder=Letters(last, die))
    before = times(output)
    assert len([name for name in before if name.endswith(".safetensors")]) == done
    assert not [name for name in before if name.endswith(".tmp")]
    if torn:
        (output / JOURNAL).write_bytes((output / JOURNAL).read_bytes()[:-10])
    embedder = Letters()
    again = made(texts, output, embedder=embedder)
    assert again.kept == max(done - torn, 0)
    assert contents(output) == contents(finished.output)
    after = times(output)
    assert sum(after.get(name) == before[name] for name in before) == again.kept
    assert embedder.documents == 5 - {0: 0, 1: 1, 2: 2, 3: 4}[again.kept]


KILLED = """
import importlib.util, os, signal, sys
spec = importlib.util.spec_from_file_location("tests_of_run", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
embedder = module.Letters(3, lambda: os.kill(os.getpid(), signal.SIGKILL))
module.made(sys.argv[2], module.Path(sys.argv[3]), embedder=embedder)
"""


def test_a_killed_run_is_continued_to_the_same_bytes(
    finished: IngestRun, texts: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, __file__, str(texts), str(output)]
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
    folder = tmp_path / "copy"
    folder.mkdir()
    for name, raw in contents(finished.output).items():
        (folder / name).write_bytes(raw)
    return folder


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


# what makes a run another one, and names


@pytest.mark.parametrize(
    ("name", "content", "one", "other"),
    [
        (
            "rows.jsonl",
            b'{"text": "one two", "body": "three four"}\n',
            {"column": "text"},
            {"column": "body"},
        ),
        ("old.txt", b"caf\xe9 cr\xe8me", {"encoding": "latin-1"}, {"encoding": "cp437"}),
    ],
)
def test_another_column_or_encoding_is_another_run(
    tmp_path: Path, name: str, content: bytes, one: dict[str, str], other: dict[str, str]
) -> None:
    (tmp_path / name).write_bytes(content)
    made(tmp_path / name, tmp_path / "out", **one)
    fresh = made(tmp_path / name, tmp_path / "fresh", **other)
    made(tmp_path / name, tmp_path / "out", overwrite=True, **other)
    assert contents(tmp_path / "out") == contents(fresh.output)
    with pytest.raises(LabelError, match="another run"):
        made(tmp_path / name, tmp_path / "out", **one)


def test_a_shard_is_never_named_like_a_label_file(tmp_path: Path) -> None:
    (tmp_path / "notes.sphere.txt").write_text(PROSE)
    made(tmp_path / "notes.sphere.txt", tmp_path / "out")
    assert [len(read_item(item).patch_length) > 1 for item in discover([tmp_path / "out"])] == [
        True
    ]


def test_patches_of_one_letter_are_not_forced_on_texts(texts: Path, tmp_path: Path) -> None:
    run = ingest(
        texts / "c.jsonl", tmp_path / "out", mean_length=6.0, entropy=Spaces(), embedder=Letters()
    )
    (path,) = run.files.values()
    assert read_shard(path).patch_length.min() > 1
    forced = made(
        texts / "c.jsonl", tmp_path / "forced", patching=Patching("monotonic", forced_starts=True)
    )
    (path,) = forced.files.values()
    assert read_shard(path).patch_length[:2].tolist() == [1, 1]


def test_a_mean_length_that_cannot_be_reached_is_told(texts: Path, tmp_path: Path) -> None:
    (texts / "long.txt").write_text("abcd " * 2_000)
    run = made(
        texts / "long.txt",
        tmp_path / "out",
        mean_length=100.0,
        patching=Patching(max_patch_length=20),
    )
    assert run.warnings == (
        (
            f"{texts / 'long.txt'}: its patches have 19.9 bytes on average, not 100: no threshold"
            " comes nearer"
        ),
    )
    assert made(texts / "long.txt", tmp_path / "well", mean_length=5.0).warnings == ()


def test_a_text_that_the_embedder_refuses_costs_no_other_text(texts: Path, tmp_path: Path) -> None:
    def function(passages: list[str]) -> np.ndarray:
        return np.ones((len(passages), 2 if any("Rand" in passage for passage in passages) else 3))

    run = made(texts, tmp_path / "out", embedder=PassageEmbedder(function, 3, "ones"))
    assert [one.source for one in run.refused] == [texts / "b.md"]
    assert str(texts / "b.md") in run.refused[0].reason
    assert len(run.files) == 3
