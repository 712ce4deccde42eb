"""The folder of shards.

Whose it is, what of it is kept, what is replaced, and what is never touched.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import Spaces, contents, texts_in
from sphere_ebm import LabelError
from sphere_ebm.files.journal import JOURNAL, Journal, read_journal
from sphere_ebm.text.base import AbstractEmbedder
from sphere_ebm.text.folder import MANIFEST, claim_shards, read_manifest, write_manifest
from sphere_ebm.text.ingest import IngestRun, ingest
from sphere_ebm.text.patching import Patching

TEXTS = {
    "a.txt": "Some words, and then some more of them. " * 3,
    "b.txt": "Fewer words. " * 3,
    "c.md": "# A title\n",
}
SHARDS = ["a.safetensors", "b.safetensors", "c.safetensors"]


class Lengths(AbstractEmbedder):
    """The length of a patch, and 1."""

    def __init__(self, name: str = "lengths") -> None:
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    @property
    def width(self) -> int:
        return 2

    def embed(
        self, octets: np.ndarray, lengths: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        sizes = lengths.astype(np.float32)
        yield np.stack([sizes, np.ones_like(sizes)], axis=1), sizes


def made(inputs: Any, output: Path, **options: Any) -> IngestRun:
    given = {
        "patching": Patching("global", threshold=0.5),
        "entropy": Spaces(),
        "embedder": Lengths(),
    }
    return ingest(inputs, output, **given | options)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    return texts_in(tmp_path / "in", TEXTS)


@pytest.fixture
def output(texts: Path, tmp_path: Path) -> Path:
    """The folder of a finished run."""
    return made(texts, tmp_path / "out").output


def die() -> None:
    raise KeyboardInterrupt


# whose folder it is

OTHERS: dict[str, dict[str, Any]] = {
    "rule": {"patching": Patching("monotonic", threshold=0.5)},
    "threshold": {"patching": Patching("global", threshold=0.25)},
    "mean length": {"patching": Patching("global"), "mean_length": 4.0},
    "maximum": {"patching": Patching("global", threshold=0.5, max_patch_length=9)},
    "characters": {"patching": Patching("global", threshold=0.5, utf8_safe=False)},
    "entropy model": {"entropy": Spaces("other")},
    "embedder": {"embedder": Lengths("other")},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_configuration_is_refused_or_with_overwrite_replaces_all(
    texts: Path, output: Path, tmp_path: Path, kind: str
) -> None:
    before = contents(output)
    fresh = made(texts, tmp_path / "fresh", **OTHERS[kind])
    with pytest.raises(
        LabelError, match=r"out holds the shards of another run .*--overwrite"
    ) as caught:
        made(texts, output, **OTHERS[kind])
    assert len(str(caught.value).splitlines()) == 1
    assert contents(output) == before
    assert made(texts, output, overwrite=True, **OTHERS[kind]).kept == 0
    assert contents(output) == contents(fresh.output)


@pytest.mark.parametrize(
    ("given", "kept"), [(["a.txt", "c.md"], 2), (["a.txt", "b.txt", "c.md", "../d.txt"], 3)]
)
def test_other_inputs_are_refused_or_with_overwrite_keep_what_would_be_the_same(
    texts: Path, output: Path, tmp_path: Path, given: list[str], kept: int
) -> None:
    (tmp_path / "d.txt").write_text("One more text.")
    inputs = [texts / name for name in given]
    before = contents(output)
    fresh = made(inputs, tmp_path / "fresh")
    times = {path: path.stat().st_mtime_ns for path in output.glob("*.safetensors")}
    with pytest.raises(LabelError, match="another run"):
        made(inputs, output)
    assert contents(output) == before
    assert made(inputs, output, overwrite=True).kept == kept
    assert contents(output) == contents(fresh.output)
    assert (
        sum(path.exists() and path.stat().st_mtime_ns == time for path, time in times.items())
        == kept
    )


def test_overwriting_that_was_interrupted_goes_on_with_the_same_command_and_no_other(
    texts: Path, output: Path, tmp_path: Path
) -> None:
    class Dies(AbstractEmbedder):
        name = "other"
        width = 2
        documents = 0

        def embed(
            self, octets: np.ndarray, lengths: np.ndarray
        ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            self.documents += 1
            if self.documents == 2:
                die()
            return Lengths().embed(octets, lengths)

    with pytest.raises(KeyboardInterrupt):
        made(texts, output, embedder=Dies(), overwrite=True)
    with pytest.raises(LabelError, match="another run"):
        made(texts, output)
    assert made(texts, output, embedder=Lengths("other"), overwrite=True).kept == 1
    assert contents(output) == contents(
        made(texts, tmp_path / "fresh", embedder=Lengths("other")).output
    )


def test_a_second_run_at_the_same_time_is_refused_and_disturbs_nothing(
    texts: Path, tmp_path: Path
) -> None:
    refusals = []

    def begin_another(stage: str, done: int, total: int) -> None:
        if done < total:
            with pytest.raises(LabelError, match="another run is working in") as caught:
                made(texts, tmp_path / "out", overwrite=True)
            refusals.append(caught.value)

    done = made(texts, tmp_path / "out", progress=begin_another)
    assert len(refusals) == 3
    assert contents(done.output) == contents(made(texts, tmp_path / "fresh").output)


# files of others

FOREIGN: dict[str, Callable[[Path], object]] = {
    "file": lambda path: path.write_bytes(b"mine"),
    "folder": Path.mkdir,
    "link that leads nowhere": lambda path: path.symlink_to("gone"),
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", FOREIGN)
def test_a_file_of_somebody_else_is_in_the_way_and_never_replaced(
    texts: Path, tmp_path: Path, kind: str, overwrite: bool
) -> None:
    output = tmp_path / "out"
    output.mkdir()
    FOREIGN[kind](output / "b.safetensors")
    status = os.lstat(output / "b.safetensors")
    with pytest.raises(LabelError, match=r"b\.safetensors is in the way; move it away"):
        made(texts, output, overwrite=overwrite)
    assert os.listdir(output) == ["b.safetensors"]
    assert os.lstat(output / "b.safetensors") == status


@pytest.mark.parametrize("overwrite", [False, True])
def test_other_files_in_the_folder_are_left_alone(
    texts: Path, output: Path, overwrite: bool
) -> None:
    others = {"notes.txt": b"mine", "z.safetensors": b"mine too", "map/a.safetensors": b"and this"}
    for name, raw in others.items():
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_bytes(raw)
    made(texts / "a.txt", output, overwrite=True)
    left = contents(output)
    assert {name: left[name] for name in others} == others
    assert sorted(left) == sorted([*others, "a.safetensors", MANIFEST])


def test_the_names_in_a_list_that_was_tampered_with_lead_nowhere_else(
    texts: Path, output: Path
) -> None:
    held = json.loads((output / MANIFEST).read_text())
    mine = {"../mine.safetensors": b"1", "sub/mine.safetensors": b"2", "mine.txt": b"3"}
    for name, raw in mine.items():
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_bytes(raw)
    held["files"] |= dict.fromkeys([*mine, str(output / "sub" / "mine.safetensors"), ""], "0" * 64)
    (output / MANIFEST).write_text(json.dumps(held))
    made(texts / "a.txt", output, overwrite=True)
    assert {name: (output / name).read_bytes() for name in mine} == mine


# the list of a run

DAMAGED = {
    "cut": lambda held: json.dumps(held)[:-20],
    "empty": lambda held: "",
    "no object": lambda held: "[1, 2]",
    "another format": lambda held: json.dumps(held | {"format": "sphere_map_v1"}),
    "no id": lambda held: json.dumps(held | {"id": 3}),
    "no files": lambda held: json.dumps({name: held[name] for name in held if name != "files"}),
    "not UTF-8": lambda held: "\udcff",
}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_list_that_is_damaged_is_named_in_one_line_and_nothing_touched(
    texts: Path, output: Path, kind: str, overwrite: bool
) -> None:
    damaged = DAMAGED[kind](json.loads((output / MANIFEST).read_text()))
    (output / MANIFEST).write_bytes(damaged.encode(errors="surrogateescape"))
    before = contents(output)
    with pytest.raises(
        LabelError, match=rf"{MANIFEST} is (damaged|not a sphere_ingest_v1 file); (re)?move it"
    ) as caught:
        made(texts, output, overwrite=overwrite)
    assert len(str(caught.value).splitlines()) == 1
    assert contents(output) == before


def test_a_folder_without_a_list_has_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


def test_a_list_is_the_same_bytes_every_time_and_ends_the_journal(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        journal, _ = claim_shards(tmp_path / name, "id", SHARDS, overwrite=False)
        for shard in SHARDS if name == "x" else reversed(SHARDS):
            journal.record(shard, "0" * 64)
        write_manifest(journal, {"b": 1, "a": "ü"})
    assert contents(tmp_path / "x") == contents(tmp_path / "y")
    assert list(contents(tmp_path / "x")) == [MANIFEST]
    held = read_manifest(tmp_path / "x")
    assert held == {
        "format": "sphere_ingest_v1",
        "id": "id",
        "b": 1,
        "a": "ü",
        "files": dict.fromkeys(SHARDS, "0" * 64),
    }


def test_a_list_that_is_no_json_is_not_written_and_the_journal_stays(tmp_path: Path) -> None:
    journal, _ = claim_shards(tmp_path, "id", SHARDS, overwrite=False)
    with pytest.raises(ValueError, match="JSON"):
        write_manifest(journal, {"bits_per_byte": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == [JOURNAL]


def test_a_claim_plans_all_shards_before_the_first_and_clears_what_a_killed_run_left(
    tmp_path: Path,
) -> None:
    leftover = tmp_path / ".sphere-0123456789abcdef.tmp"
    leftover.touch()
    claim_shards(tmp_path, "id", SHARDS, overwrite=False)
    left = read_journal(tmp_path)
    assert left is not None
    assert (left.map_id, left.planned, left.finished) == ("id", tuple(SHARDS), {})
    assert not leftover.exists()


@pytest.mark.parametrize("mean", [0.5, float("nan")])
def test_a_mean_length_that_is_none_makes_no_folder(
    texts: Path, tmp_path: Path, mean: float
) -> None:
    with pytest.raises(ValueError, match="mean_length"):
        made(texts, tmp_path / "out", patching=Patching("global"), mean_length=mean)
    assert not (tmp_path / "out").exists()


def test_a_shard_that_nobody_wrote_down_goes_when_its_text_can_no_longer_be_read(
    texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "record", lambda *_: die())
        with pytest.raises(KeyboardInterrupt):
            made(texts, tmp_path / "out")
    (texts / "a.txt").write_bytes(b"\xff")
    made(texts, tmp_path / "out")
    assert not (tmp_path / "out" / "a.safetensors").exists()


def test_the_cure_for_a_damaged_list_cures(texts: Path, output: Path) -> None:
    (output / MANIFEST).write_text('{"format": "sphere_ingest_v1"}')
    with pytest.raises(LabelError, match="remove it and repeat the command with --overwrite"):
        made(texts, output)
    (output / MANIFEST).unlink()
    made(texts, output, overwrite=True)


def test_an_output_inside_the_searched_folder_is_no_input_of_the_same_command(texts: Path) -> None:
    made(texts, texts / "shards")
    assert made(texts, texts / "shards").kept == 3


def test_old_shards_stay_until_a_new_run_has_succeeded(texts: Path, tmp_path: Path) -> None:
    made(texts, tmp_path / "out")
    before = sorted(path.name for path in (tmp_path / "out").iterdir())
    (tmp_path / "bad.txt").write_bytes(b"\xff")
    with pytest.raises(LabelError, match="no input could be used"):
        made(tmp_path / "bad.txt", tmp_path / "out", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == before
    made(texts / "b.txt", tmp_path / "out", overwrite=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.safetensors", MANIFEST]


def test_shards_in_a_searched_folder_are_no_texts(texts: Path, tmp_path: Path) -> None:
    made(texts, texts / "shards")
    assert made(texts, tmp_path / "elsewhere").files.keys() == {texts / name for name in TEXTS}
