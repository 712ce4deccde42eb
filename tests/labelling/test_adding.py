"""Shards that join a finished map: it does not move, and what it had keeps its bytes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from builders import Died, contents, dying_after
from sphere_ebm import LabelError, PlacementConfig, ShardError, SphereMap, label, read_labels
from sphere_ebm.files.formats import PYRAMID
from sphere_ebm.files.shards.reader import read_shard
from sphere_ebm.labelling import adding, columns
from sphere_ebm.labelling.adding import join_map
from sphere_ebm.labelling.label import measure_map
from sphere_ebm.labelling.levels import map_pyramid
from sphere_ebm.retrieval.pyramid import MapPyramid

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=25, average=5, tolerance=0.0, replicas=2)
TOLD = {"map.html", "map.json", "map.png"}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for i, patches in enumerate((20, 17)):
        shard(folder / "old" / f"s{i}.safetensors", patches, seed=i)
    shard(folder / "new" / "n.safetensors", 9, seed=7)
    shard(folder / "new" / "s0.safetensors", 6, seed=8)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, inputs: Path) -> Path:
    return label(inputs / "old", tmp_path_factory.mktemp("map") / "m", CONFIG).output


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "m"))


@pytest.fixture(scope="module")
def joined(finished: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(shutil.copytree(finished, tmp_path_factory.mktemp("joined") / "m"))
    run = join_map(folder, [inputs / "new", inputs / "old"])
    assert run.added == 15
    assert run.points == 52
    assert sorted(path.name for path in run.present) == ["s0.safetensors", "s1.safetensors"]
    return folder


def test_files_that_were_there_keep_their_bytes_but_for_the_summary(
    finished: Path, joined: Path
) -> None:
    before = contents(finished)
    after = contents(joined)
    assert {name for name in before if before[name] != after[name]} == TOLD
    new = sorted(set(after) - set(before))
    assert [name.partition("~")[0] for name in new] == ["n.sphere.safetensors", "s0"]


def test_joined_points_lie_where_the_frozen_map_places_them(joined: Path, inputs: Path) -> None:
    table = read_shard(inputs / "new" / "n.safetensors")
    labels = read_labels(joined / "n.sphere.safetensors")
    placed = SphereMap.load(joined).frozen_.place(table.embeddings, table.prominence)
    for name in ("direction", "radius", "shell", "angle_std", "radius_std"):
        np.testing.assert_array_equal(getattr(labels, name), getattr(placed, name))
    assert labels.metadata["joined"] == "true"
    assert labels.metadata["map_id"] == json.loads((joined / "map.json").read_text())["id"]


def test_the_summary_counts_what_joined(finished: Path, joined: Path) -> None:
    held = json.loads((joined / "map.json").read_text())
    before = json.loads((finished / "map.json").read_text())
    assert (held["id"], held["fitted"], held["points"]) == (before["id"], 37, 52)
    assert (held["command"], "config.toml" in held["files"]) == ("label", True)
    assert [source.get("joined", False) for source in held["sources"]] == [False, False, True, True]
    assert held["files"] == {
        name: measured for name, measured in held["files"].items() if (joined / name).is_file()
    }
    assert measure_map(joined).points == 52


def test_what_is_on_the_map_is_not_added_twice(joined: Path, inputs: Path, tmp_path: Path) -> None:
    before = contents(joined)
    renamed = tmp_path / "other-name.safetensors"
    shutil.copy(inputs / "new" / "n.safetensors", renamed)
    run = join_map(joined, [inputs / "new", renamed])
    assert (run.added, run.files, len(run.present)) == (0, {}, 3)
    assert contents(joined) == before


def test_shards_that_join_one_after_another_lie_where_they_lie_together(
    copied: Path, joined: Path, inputs: Path
) -> None:
    for name in ("n", "s0"):
        join_map(copied, inputs / "new" / f"{name}.safetensors")
    assert contents(copied) == {**contents(joined), "map.json": contents(copied)["map.json"]}
    held, together = (json.loads((m / "map.json").read_text()) for m in (copied, joined))
    assert held == together


@pytest.mark.parametrize("written", [0, 1])
def test_a_run_that_died_is_continued(
    copied: Path, joined: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    write = columns.write_labels
    monkeypatch.setattr(columns, "write_labels", dying_after(written, write))
    with pytest.raises(Died):
        join_map(copied, inputs / "new")
    monkeypatch.setattr(columns, "write_labels", write)
    join_map(copied, inputs / "new")
    assert contents(copied) == contents(joined)


def test_a_pyramid_that_is_kept_grows_to_that_of_all_points(
    copied: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    map_pyramid(copied)
    with monkeypatch.context() as patch:
        patch.setattr(adding, "follow_pyramid", dying_after(0, adding.follow_pyramid))
        with pytest.raises(Died):
            join_map(copied, inputs / "new" / "n.safetensors")
    assert len(MapPyramid.load(copied / PYRAMID)) == 37
    run = join_map(copied, inputs / "new")
    grown = MapPyramid.load(copied / PYRAMID)
    assert len(grown) == run.points == 52
    held = json.loads((copied / "map.json").read_text())
    anew = MapPyramid.build([read_labels(copied / one["labels"]) for one in held["sources"]])
    np.testing.assert_array_equal(grown.order, anew.order)
    np.testing.assert_array_equal(grown.key, anew.key)
    for one, other in zip(grown.levels, anew.levels, strict=True):
        for name, array in one.arrays().items():
            np.testing.assert_allclose(array, vars(other)[name], atol=1e-6, err_msg=name)


def test_what_another_run_left_behind_is_on_no_map_and_goes(
    copied: Path, joined: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch, shard
) -> None:
    other = shard(inputs.parent / "gone" / "gone.safetensors", 5, seed=11)
    write = columns.write_labels
    with monkeypatch.context() as patch:
        patch.setattr(columns, "write_labels", dying_after(1, write))
        with pytest.raises(Died):
            join_map(copied, [other, inputs / "new"])
    assert (copied / "gone.sphere.safetensors").exists()
    join_map(copied, inputs / "new")
    assert contents(copied) == contents(joined)


def test_the_command_that_made_the_map_does_not_forget_what_joined(
    joined: Path, inputs: Path, tmp_path: Path
) -> None:
    before = contents(joined)
    with pytest.raises(LabelError, match="points that joined"):
        label(inputs / "old", joined, CONFIG)
    assert contents(joined) == before
    copied = Path(shutil.copytree(joined, tmp_path / "m"))
    label(inputs / "old", copied, CONFIG, overwrite=True)
    assert not (copied / "n.sphere.safetensors").exists()


def test_what_cannot_join_is_refused(copied: Path, inputs: Path, tmp_path: Path, shard) -> None:
    before = contents(copied)
    with pytest.raises(LabelError, match=r"no readable map\.json"):
        join_map(tmp_path, inputs / "new")
    with pytest.raises(LabelError, match=r"width 4, and the map in .* was made of width 5"):
        join_map(copied, shard(tmp_path / "wide.safetensors", 4, width=4))
    nothing = shard(tmp_path / "empty" / "e.safetensors", 0)
    label(nothing, tmp_path / "bare", CONFIG)
    with pytest.raises(LabelError, match=r"no points can join .* has 0 fitted ones"):
        join_map(tmp_path / "bare", inputs / "new")
    with pytest.raises(LabelError, match="none of the 1 inputs"):
        join_map(copied, tmp_path / "absent.safetensors")
    assert contents(copied) == before
    (copied / "s0.sphere.safetensors").write_bytes(b"damaged")
    with pytest.raises(ShardError, match=r"s0\.sphere\.safetensors.*is missing or has changed"):
        join_map(copied, inputs / "new")


def test_a_map_of_twins_keeps_both_label_files(inputs: Path, shard, tmp_path: Path) -> None:
    for name in "ab":
        shard(tmp_path / "twins" / f"{name}.safetensors", 12, seed=1)
    folder = label(tmp_path / "twins", tmp_path / "m", CONFIG).output
    before = contents(folder)
    newcomer = shard(tmp_path / "other" / "a.safetensors", 7, seed=2)
    run = join_map(folder, newcomer)
    after = contents(folder)
    assert {name for name in before if before[name] != after[name]} == TOLD
    (written,) = run.files.values()
    assert written.name.startswith("a~")


def test_a_file_of_the_users_is_neither_replaced_nor_removed(
    copied: Path, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = copied / "n.sphere.safetensors"
    mine.write_bytes(b"mine")
    before = contents(copied)
    with pytest.raises(LabelError, match=r"n\.sphere\.safetensors is in the way; move it away"):
        join_map(copied, inputs / "new" / "n.safetensors")
    assert contents(copied) == before
    mine.unlink()
    # a join dies before it wrote anything; what comes to lie there meanwhile is nobody else's
    monkeypatch.setattr(columns, "write_labels", dying_after(0, columns.write_labels))
    with pytest.raises(Died):
        join_map(copied, inputs / "new" / "n.safetensors")
    monkeypatch.undo()
    mine.write_bytes(b"mine")
    join_map(copied, inputs / "new" / "s0.safetensors")
    assert mine.read_bytes() == b"mine"
