"""A map turned onto an older one: every file with other directions, and the residual."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from builders import contents
from sphere_ebm import LabelError, Placement, PlacementConfig, label, read_labels
from sphere_ebm.geometry.frames import angles_between
from sphere_ebm.labelling.adding import join_map
from sphere_ebm.labelling.label import measure_map
from sphere_ebm.labelling.registering import register_map

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=25, average=5, tolerance=0.0, replicas=2)
NAMES = ("s0.sphere.safetensors", "s1.sphere.safetensors")


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> list[Path]:
    """A map and one by another seed, of the same shards."""
    folder = tmp_path_factory.mktemp("maps")
    for i, patches in enumerate((20, 17)):
        shard(folder / "in" / f"s{i}.safetensors", patches, seed=i)
    seeds = [PlacementConfig(**{**vars(CONFIG), "seed": seed}) for seed in (0, 1)]
    return [label(folder / "in", folder / f"m{c.seed}", c).output for c in seeds]


def directions(folder: Path) -> np.ndarray:
    return np.concatenate([read_labels(folder / name).direction for name in NAMES])


def test_a_map_is_turned_onto_another_and_the_residual_reported(
    maps: list[Path], tmp_path: Path
) -> None:
    older, fresh = maps
    before = [contents(each) for each in maps]
    done = register_map(fresh, older, tmp_path / "turned")
    assert [contents(each) for each in maps] == before
    apart = np.degrees(angles_between(directions(older), directions(tmp_path / "turned")))
    assert done.shared == 37
    np.testing.assert_allclose(done.residual.median, np.median(apart), rtol=1e-6)
    np.testing.assert_allclose(
        directions(fresh).astype(np.float64) @ done.frame,
        directions(tmp_path / "turned"),
        atol=1e-6,
    )
    assert done.reflected == (np.linalg.det(done.frame) < 0)
    assert done.residual.median < done.before.median


def test_the_turned_map_is_whole_and_says_where_it_comes_from(
    maps: list[Path], tmp_path: Path
) -> None:
    older, fresh = maps
    output = tmp_path / "turned"
    register_map(fresh, older, output)
    assert sorted(contents(output)) == sorted(contents(fresh))
    held, was = (json.loads((m / "map.json").read_text()) for m in (output, fresh))
    assert (held["command"], was["command"]) == ("register", "label")
    assert held["registered"]["from"] == was["id"] != held["id"]
    assert held["energy"] == was["energy"]
    assert measure_map(output).recall == pytest.approx(measure_map(fresh).recall)
    placed = Placement.load(output / "placement.safetensors")
    np.testing.assert_array_equal(placed.direction, directions(output))
    labels, before = (read_labels(m / NAMES[0]) for m in (output, fresh))
    for column in ("radius", "angle_std", "embeddings", "bytes"):
        np.testing.assert_array_equal(getattr(labels, column), getattr(before, column))
    assert labels.metadata["map_id"] == held["id"]
    once = contents(output)
    register_map(fresh, older, output)
    assert contents(output) == once


def test_a_turned_copy_is_turned_back(maps: list[Path], tmp_path: Path) -> None:
    older, fresh = maps
    register_map(fresh, older, tmp_path / "turned")
    back = register_map(tmp_path / "turned", fresh)
    assert back.residual.p90 < 1e-3
    assert back.output is None


def test_maps_that_cannot_be_laid_on_each_other_are_refused(
    maps: list[Path], tmp_path: Path, shard
) -> None:
    older, fresh = maps
    with pytest.raises(LabelError, match="is one of the maps"):
        register_map(fresh, older, older)
    shard(tmp_path / "in" / "other.safetensors", 20, seed=5)
    shard(tmp_path / "in" / "another.safetensors", 17, seed=6)
    other = label(tmp_path / "in", tmp_path / "other", CONFIG).output
    with pytest.raises(LabelError, match="share 0 points, and a frame needs three"):
        register_map(other, older)


def test_every_file_keeps_the_columns_that_it_has(maps: list[Path], shard, tmp_path: Path) -> None:
    older, fresh = maps
    folder = Path(shutil.copytree(fresh, tmp_path / "m"))
    join_map(folder, shard(tmp_path / "n.safetensors", 9, seed=7))
    register_map(folder, older, tmp_path / "turned")
    for name in (*NAMES, "n.sphere.safetensors"):
        before, after = (read_labels(m / name) for m in (folder, tmp_path / "turned"))
        for column in ("angle_std", "thermal_std", "kept", "mode_weight"):
            np.testing.assert_array_equal(getattr(after, column), getattr(before, column))
    assert json.loads((tmp_path / "turned" / "map.json").read_text())["joins"] == 1
