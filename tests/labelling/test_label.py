"""Shards in, one map, labels out: complete, named, resumable, and nothing else touched."""

import dataclasses
import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import Died, assert_copied, contents, dying_after
from sphere_ebm import (
    LabelError,
    PlacementConfig,
    ShardError,
    compare,
    label,
    place,
    read_labels,
)
from sphere_ebm.errors import MissingPackageError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.journal import JOURNAL
from sphere_ebm.files.shards.columns import COLUMNS
from sphere_ebm.files.shards.reader import read_shard
from sphere_ebm.labelling import columns
from sphere_ebm.labelling import label as labelling
from sphere_ebm.labelling.compare import compare_shards
from sphere_ebm.labelling.label import LabelRun, measure_map

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=50, average=5, tolerance=0.0, replicas=1)
SIZES = (20, 17, 9)


def fill(folder: Path, shard: Callable[..., Path]) -> Path:
    for i, patches in enumerate(SIZES):
        shard(folder / f"s{i}.safetensors", patches, seed=i)
    return folder


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> Path:
    return fill(tmp_path_factory.mktemp("inputs"), shard)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, inputs: Path) -> LabelRun:
    return label([inputs], tmp_path_factory.mktemp("finished") / "out", CONFIG)


def test_the_output_holds_the_map_and_nothing_else(finished: LabelRun) -> None:
    expected = [
        "config.toml",
        "energy.csv",
        "map.html",
        "map.json",
        "map.png",
        "placement.safetensors",
    ]
    assert sorted(contents(finished.output)) == sorted(
        [*(f"s{i}.sphere.safetensors" for i in range(3)), *expected]
    )
    assert finished.kept == 0
    assert not finished.refused


@pytest.mark.usefixtures("drawn_in_full")
def test_the_figure_is_a_page_of_the_map(inputs: Path, tmp_path: Path) -> None:
    drawn = (label([inputs], tmp_path / "out", CONFIG).output / "map.png").read_bytes()
    assert drawn.startswith(b"\x89PNG")
    assert np.frombuffer(drawn[16:24], ">u4").tolist() == [1800, 1380]
    assert len(drawn) > 50_000


def test_every_shard_gets_its_rows_of_the_one_placement(finished: LabelRun, inputs: Path) -> None:
    assert len(finished.placement) == sum(SIZES)
    begin = 0
    for i, patches in enumerate(SIZES):
        source = inputs / f"s{i}.safetensors"
        table = read_shard(source)
        labels = read_labels(finished.files[source])
        rows = slice(begin, begin + patches)
        assert labels.copies is None
        for name in (*(set(COLUMNS) - {"copies"}), "prominence"):
            np.testing.assert_array_equal(vars(labels)[name], vars(finished.placement)[name][rows])
        assert_copied(labels, table)
        assert labels.metadata["map_id"] == finished.map_id
        assert labels.metadata["source_sha256"] == sha256_of(source)
        assert PlacementConfig.from_json(labels.metadata["config"]) == CONFIG
        assert json.loads(labels.metadata["energy"]).keys() == {"gravity", "lateral", "osmotic"}
        assert json.loads(labels.metadata["quality"])["points"] == sum(SIZES)
        begin += patches


def strict(text: str) -> Any:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


def keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys, value.values()))
    return set().union(*map(keys, value)) if isinstance(value, list) else set()


def test_the_map_lists_every_file_with_its_hash_and_tells_no_time(finished: LabelRun) -> None:
    held = strict((finished.output / "map.json").read_text())
    assert held["files"] == {
        n: sha256_of(finished.output / n) for n in contents(finished.output) if n != "map.json"
    }
    assert [(s["file"], s["patches"]) for s in held["sources"]] == [
        (f"s{i}.safetensors", n) for i, n in enumerate(SIZES)
    ]
    assert held["points"] == sum(held["shells"]["occupancy"]) == sum(SIZES)
    assert held["quality"] == finished.quality.to_dict()
    assert not [
        key
        for key in keys(held)
        if any(word in key for word in ("time", "date", "second", "duration", "host"))
    ]


def test_the_energy_table_is_that_of_the_run(finished: LabelRun) -> None:
    lines = (finished.output / "energy.csv").read_text().splitlines()
    assert lines[0] == "step,gravity,lateral,osmotic"
    values = np.array([line.split(",") for line in lines[1:]], float)
    np.testing.assert_array_equal(values[:, 0], finished.placement.step)
    np.testing.assert_array_equal(values[:, 1:].T, list(finished.placement.energy.values()))


def test_where_the_output_lies_does_not_matter(
    finished: LabelRun, inputs: Path, tmp_path: Path
) -> None:
    again = label(str(inputs), tmp_path / "deep" / "er", CONFIG)
    assert contents(again.output) == contents(finished.output)
    assert again.map_id == finished.map_id


def test_the_measures_follow_from_the_label_files_alone(finished: LabelRun) -> None:
    assert measure_map(finished.output).to_dict() == finished.quality.to_dict()


@pytest.fixture
def copy(finished: LabelRun, tmp_path: Path) -> Path:
    """A finished map of one's own."""
    return shutil.copytree(finished.output, tmp_path / "copy", copy_function=shutil.copy)


@pytest.mark.parametrize(
    "name",
    ["s1.sphere.safetensors", "placement.safetensors", "energy.csv", "map.png", "config.toml"],
)
@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1])]
)
def test_what_was_lost_or_altered_is_written_again_and_the_rest_kept(
    finished: LabelRun, inputs: Path, copy: Path, name: str, damage: Callable[[Path], Any]
) -> None:
    damage(copy / name)
    with pytest.raises(ShardError, match=name):
        measure_map(copy)
    before = {path.name: path.stat().st_mtime_ns for path in copy.iterdir()}
    again = label([inputs], copy, CONFIG)
    assert contents(copy) == contents(finished.output)
    assert again.kept == 3 - name.startswith("s1")
    changed = {
        path.name for path in copy.iterdir() if path.stat().st_mtime_ns != before.get(path.name)
    }
    assert changed == {name, "map.json"}


def test_a_finished_map_is_not_computed_again(
    inputs: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelling, "place", None)
    assert label([inputs], copy, CONFIG).kept == 3


@pytest.mark.parametrize("written", [0, 1, 2])
@pytest.mark.parametrize("torn", [False, True])
def test_a_run_that_died_between_two_files_is_continued(
    finished: LabelRun,
    inputs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: int,
    torn: bool,
) -> None:
    output = tmp_path / "out"
    write = columns.write_labels
    monkeypatch.setattr(columns, "write_labels", dying_after(written, write))
    with pytest.raises(Died):
        label([inputs], output, CONFIG)
    assert not (output / "map.json").exists()
    if torn:
        (output / JOURNAL).write_bytes((output / JOURNAL).read_bytes()[:-10])
    monkeypatch.setattr(columns, "write_labels", write)
    again = label([inputs], output, CONFIG)
    assert contents(output) == contents(finished.output)
    assert again.kept == max(written - torn, 0)


@pytest.mark.usefixtures("kept_at_once")
def test_a_sampler_that_was_interrupted_continues(
    finished: LabelRun, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages: list[tuple[str, int]] = []

    def interrupt(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("steps", 50):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label([inputs], tmp_path / "out", CONFIG, progress=interrupt)
    label(
        [inputs],
        tmp_path / "out",
        CONFIG,
        progress=lambda stage, done, _: stages.append((stage, done)),
    )
    assert contents(tmp_path / "out") == contents(finished.output)
    assert [done for stage, done in stages if stage == "steps"] == [0, 50, 55]
    for stage, total in {"reading": 3, "quality": 1, "writing": 3, "figure": 1}.items():
        assert [done for name, done in stages if name == stage] == list(range(total + 1)), (
            "0: before the work begins"
        )


def test_inputs_are_never_touched(inputs: Path, tmp_path: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in inputs.iterdir()}
    label([inputs], tmp_path / "out", CONFIG)
    assert {
        path: (path.read_bytes(), path.stat().st_mtime_ns) for path in inputs.iterdir()
    } == before


def test_refused_inputs_are_listed_and_the_good_ones_labelled(
    finished: LabelRun, inputs: Path, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    bad = shard(
        tmp_path / "in" / "nan.safetensors", 5, embeddings=np.full((5, 5), np.nan, np.float32)
    )
    run = label(
        [inputs, tmp_path / "in", tmp_path / "absent.npy", tmp_path / "none*.npy"],
        tmp_path / "out",
        CONFIG,
    )
    assert {refused.source for refused in run.refused} == {
        bad,
        tmp_path / "absent.npy",
        tmp_path / "none*.npy",
    }
    assert all(str(refused.source) in refused.reason for refused in run.refused)
    assert contents(tmp_path / "out") == contents(finished.output)


@pytest.mark.parametrize(
    "run",
    [
        lambda path, config: label(path, path.parent / "out", config),
        lambda path, config: compare_shards(path, path.parent / "out", config),
        lambda path, config: compare(read_shard(path).embeddings, config=config),
        lambda path, config: place(read_shard(path).embeddings, config=config),
    ],
    ids=["label", "compare_shards", "compare", "place"],
)
def test_an_approximate_search_without_faiss_says_what_to_install(
    tmp_path: Path, shard: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, run: Any
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    approximate = dataclasses.replace(CONFIG, neighbour_search="approximate")
    with pytest.raises(MissingPackageError, match=r"`faiss`: pip install 'faiss-cpu>="):
        run(shard(tmp_path / "in" / "x.safetensors", 12), approximate)


def test_shards_of_different_width_are_refused_with_both_names(
    tmp_path: Path, shard: Callable[..., Path]
) -> None:
    for width in (5, 6):
        shard(tmp_path / "in" / f"w{width}.safetensors", 4, width=width)
    with pytest.raises(LabelError, match=r"w5\.safetensors has 5, .*w6\.safetensors has 6"):
        label([tmp_path / "in"], tmp_path / "out", CONFIG)
    assert not (tmp_path / "out").exists()


def test_a_shard_without_patches_gets_labels_without_rows(
    inputs: Path, finished: LabelRun, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    empty = shard(tmp_path / "empty.safetensors", 0, width=9)
    run = label([inputs, empty], tmp_path / "out", CONFIG)
    labels = read_labels(run.files[empty])
    assert len(labels) == 0
    assert labels.embeddings.shape == (0, 9)
    np.testing.assert_array_equal(run.placement.direction, finished.placement.direction)
    assert measure_map(tmp_path / "out").to_dict() == run.quality.to_dict()


def test_a_map_of_no_patches_at_all_is_a_map(tmp_path: Path, shard: Callable[..., Path]) -> None:
    run = label(shard(tmp_path / "empty.safetensors", 0), tmp_path / "out", CONFIG)
    assert len(read_labels(tmp_path / "out" / "empty.sphere.safetensors")) == 0
    assert strict((tmp_path / "out" / "map.json").read_text())["points"] == 0
    assert measure_map(tmp_path / "out").points == len(run.placement) == 0


def test_inputs_of_one_name_are_all_labelled(tmp_path: Path, shard: Callable[..., Path]) -> None:
    first, second = (
        shard(tmp_path / "in" / name / "x.safetensors", 6, seed=i) for i, name in enumerate("ab")
    )
    third = tmp_path / "in" / "a" / "x.npy"
    np.save(third, np.random.default_rng(5).standard_normal((7, 5)).astype(np.float32))
    run = label([tmp_path / "in"], tmp_path / "out", CONFIG)
    assert {path: len(read_labels(file)) for path, file in run.files.items()} == {
        first: 6,
        second: 6,
        third: 7,
    }
    assert len(set(run.files.values())) == 3
    assert "no stored prominence" in " ".join(run.warnings)


def test_a_warning_that_many_inputs_share_is_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in").mkdir()
    for name in "abc":
        np.save(tmp_path / "in" / f"{name}.npy", rng.standard_normal((6, 5)).astype(np.float32))
    one = tmp_path / "zero.npz"
    np.savez(one, embeddings=np.eye(6, 5, dtype=np.float32), prominence=np.ones(6, np.float32))
    run = label([tmp_path / "in", one], tmp_path / "out", CONFIG)
    (shared,) = [text for text in run.warnings if "prominence: the norm" in text]
    assert shared.startswith("3 inputs (a.npy, b.npy, ...): no stored prominence")
    assert [text.split(":")[0] for text in run.warnings if "zero vector" in text] == [str(one)], (
        "told once"
    )


def sidecar(path: Path, rows: list[tuple[int, int, float]]) -> None:
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE sphere_edges(id INTEGER, src_patch, dst_patch, weight, label)"
        )
        numbered = [(i, *row, "next") for i, row in enumerate(rows)]
        database.executemany("INSERT INTO sphere_edges VALUES (?, ?, ?, ?, ?)", numbered)
    database.close()


def farthest(run: LabelRun, rows: slice) -> tuple[int, int]:
    direction = run.placement.direction[rows]
    i, j = np.unravel_index(np.argmin(direction @ direction.T), (len(direction),) * 2)
    return int(i), int(j)


def test_edges_of_sidecars_pull_when_asked_for(
    finished: LabelRun, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    inputs = fill(tmp_path / "in", shard)
    rows = slice(SIZES[0], SIZES[0] + SIZES[1])
    i, j = farthest(finished, rows)
    sidecar(inputs / "s1.hypergraph.db", [(i, j, 5.0), (i, i, 1.0), (0, 1, 0.0)])
    assert label([inputs], tmp_path / "plain", CONFIG).map_id == finished.map_id
    run = label([inputs], tmp_path / "joined", CONFIG, sidecar_edges=True)
    cosine = [
        float(r.placement.direction[rows][i] @ r.placement.direction[rows][j])
        for r in (finished, run)
    ]
    assert cosine[1] > cosine[0] + 0.5
    (inputs / "s1.hypergraph.db").unlink()
    sidecar(inputs / "s1.hypergraph.db", [(i, j, 6.0)])
    with pytest.raises(LabelError, match="another map"):
        label([inputs], tmp_path / "joined", CONFIG, sidecar_edges=True)


def test_a_shard_whose_sidecar_names_no_patch_of_it_is_refused(
    tmp_path: Path, shard: Callable[..., Path]
) -> None:
    inputs = fill(tmp_path / "in", shard)
    sidecar(inputs / "s0.hypergraph.db", [(0, SIZES[0], 1.0)])
    run = label([inputs], tmp_path / "out", CONFIG, sidecar_edges=True)
    assert [refused.source.name for refused in run.refused] == ["s0.safetensors"]
    assert "s0.hypergraph.db" in run.refused[0].reason
    assert sorted(path.name for path in run.files) == ["s1.safetensors", "s2.safetensors"]
