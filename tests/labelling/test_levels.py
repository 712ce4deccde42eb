"""The pyramid in a map's folder is that of its points, however it came about."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from builders import contents
from sphere_ebm import PlacementConfig, label, read_labels
from sphere_ebm.files.formats import MAP, PYRAMID
from sphere_ebm.labelling import levels
from sphere_ebm.labelling.levels import follow_pyramid, map_pyramid
from sphere_ebm.retrieval.pyramid import MapPyramid

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=5, average=2, replicas=0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for i, patches in enumerate((14, 9, 8)):
        shard(folder / f"s{i}.safetensors", patches, seed=i)
    return label(folder, tmp_path_factory.mktemp("map") / "m", CONFIG).output


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "m"))


def built(folder: Path, sources: int = 3) -> MapPyramid:
    return MapPyramid.build(
        [read_labels(folder / f"s{i}.sphere.safetensors") for i in range(sources)]
    )


def as_if_of(folder: Path, sources: int) -> None:
    """Keep the pyramid that the map had when it held its first label files only."""
    whole = (folder / MAP).read_bytes()
    held = json.loads(whole)
    (folder / MAP).write_text(json.dumps({**held, "sources": held["sources"][:sources]}))
    map_pyramid(folder)
    (folder / MAP).write_bytes(whole)


def assert_alike(one: MapPyramid, other: MapPyramid) -> None:
    """The same points in the same cells of the same levels; means up to rounding."""
    np.testing.assert_array_equal(one.order, other.order)
    np.testing.assert_array_equal(one.key, other.key)
    assert [level.level for level in one.levels] == [level.level for level in other.levels]
    for here, there in zip(one.levels, other.levels, strict=True):
        for name, array in here.arrays().items():
            np.testing.assert_allclose(array, vars(there)[name], atol=1e-6, err_msg=name)


def test_it_is_built_once_and_kept(copied: Path) -> None:
    made = map_pyramid(copied)
    assert_alike(made, built(copied))
    kept = contents(copied)
    assert_alike(map_pyramid(copied), made)
    assert contents(copied) == kept


@pytest.mark.parametrize(("before", "read"), [(1, 2 + 3), (2, 1)])
def test_one_of_fewer_label_files_grows_by_the_others_alone_while_its_cells_suit(
    copied: Path, monkeypatch: pytest.MonkeyPatch, before: int, read: int
) -> None:
    as_if_of(copied, before)
    opened = []
    monkeypatch.setattr(levels, "read_labels", lambda p: opened.append(p) or read_labels(p))
    assert_alike(map_pyramid(copied), built(copied))
    # 14 points suit wider cells than 31 do: it is built anew
    assert len(opened) == read
    assert MapPyramid.load(copied / PYRAMID).tags["files"] == "3"


def test_one_of_other_points_or_of_no_map_is_replaced(copied: Path) -> None:
    for tags in ({}, {"files": "x"}, {"files": "1", "labels": "0", "map_id": "another"}):
        built(copied, 1).tagged(**tags).save(copied / PYRAMID)
        assert_alike(map_pyramid(copied), built(copied))
    (copied / PYRAMID).write_bytes(b"damaged")
    assert_alike(map_pyramid(copied), built(copied))


def test_a_map_is_followed_only_where_a_pyramid_is_kept(copied: Path, finished: Path) -> None:
    follow_pyramid(copied)
    follow_pyramid(copied, finished)
    assert not (copied / PYRAMID).exists()
    as_if_of(copied, 2)
    follow_pyramid(copied)
    assert_alike(MapPyramid.load(copied / PYRAMID), built(copied))


def test_a_folder_that_cannot_be_written_is_no_hindrance(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: MapPyramid, path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(MapPyramid, "save", refuse)
    assert_alike(map_pyramid(copied), built(copied))
