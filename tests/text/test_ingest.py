"""Texts in, shards out.

What one run writes, and how the same command continues what a dead one began.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from builders import Spaces, contents
from ingestions import (
    PROSE,
    TEXTS,
    letters,
    made,
)
from sphere_ebm import LabelError, PlacementConfig, label, read_labels, read_shard
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.container import read_container
from sphere_ebm.files.shards.discovery import discover
from sphere_ebm.files.shards.reader import read_item
from sphere_ebm.text.ingest import IngestRun, ingest
from sphere_ebm.text.passage_embedder import PassageEmbedder
from sphere_ebm.text.patching import Patching
from sphere_ebm.text.statistics import statistics_of


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
    nats = sum(float(Spaces(noise=True).read(one).surprisals.sum()) for one in octets)
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
    reordered = [texts / "d", texts / "c.jsonl", texts]
    assert contents(made(reordered, tmp_path / "reordered").output) == contents(finished.output)


def test_two_files_of_one_name_stay_two_documents_from_text_to_labels(
    texts: Path, tmp_path: Path
) -> None:
    run = made([texts / "d", texts / "a.txt"], tmp_path / "shards")
    assert [read_shard(path).documents for path in run.files.values()] == [
        ("in/a.txt",),
        ("d/a.txt",),
    ]
    config = PlacementConfig(neighbours=4, shells=3, steps=20, average=5, replicas=0)
    labelled = label(run.files.values(), tmp_path / "map", config)
    names = [read_labels(path).named_documents for path in labelled.files.values()]
    assert [name for ((name, _),) in names] == ["d/a.txt", "in/a.txt"]
    held = json.loads((tmp_path / "map" / "map.json").read_text())
    assert [one["text"] for one in held["sources"]] == ["d/a.txt", "in/a.txt"]


def test_a_shard_is_written_again_where_its_text_is_called_otherwise(
    texts: Path, tmp_path: Path
) -> None:
    once = made(texts / "d", tmp_path / "shards")
    again = made(texts / "d" / "a.txt", tmp_path / "shards")
    other = made(texts, tmp_path / "shards", include=["d/*"])
    assert (once.kept, again.kept, other.kept) == (0, 1, 0)
    ((_, shard),) = other.files.items()
    assert read_shard(shard).documents == ("d/a.txt",)


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
    config = PlacementConfig(neighbours=4, shells=3, steps=20, average=5, replicas=1)
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
        texts / "c.jsonl",
        tmp_path / "out",
        mean_length=6.0,
        entropy=Spaces(noise=True),
        embedder=letters(),
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
