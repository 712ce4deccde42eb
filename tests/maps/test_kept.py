"""A frozen map that is read again is the one that was made, to the bit."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from builders import mixed
from sphere_ebm import FrozenMap, Placement, PlacementConfig
from sphere_ebm.files.tensors import read_tensors
from sphere_ebm.maps import kept
from sphere_ebm.maps.kept import kept_frozen_map
from sphere_ebm.maps.starts import random_directions

POINTS = 1100
CONFIG = PlacementConfig(neighbours=4, shells=3, neighbour_search="approximate")
NEW = mixed(5, seed=3)


@pytest.fixture(scope="module")
def placement() -> Placement:
    zeros = np.zeros(POINTS, np.float32)
    return Placement(
        direction=random_directions(POINTS, 0),
        radius=zeros + 2,
        shell=zeros.astype(np.int32),
        radius_std=zeros,
        angle_std=zeros + 1,
        prominence=np.arange(POINTS, dtype=np.float32),
        energy={},
        step=np.zeros(0, np.int64),
        converged=True,
        config=CONFIG,
        embeddings=mixed(POINTS),
    )


@pytest.fixture(autouse=True)
def _not_so_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "LEAST", POINTS)


def made(monkeypatch: pytest.MonkeyPatch) -> list[FrozenMap]:
    """Maps that are tabulated and indexed anew from now on."""
    found: list[FrozenMap] = []
    taken = FrozenMap.field.fget
    monkeypatch.setattr(
        FrozenMap, "field", property(lambda self: (found.append(self), taken(self))[1])
    )
    return found


def test_what_is_kept_places_newcomers_with_the_same_bits_and_nothing_is_made_again(
    placement: Placement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "frozen.safetensors"
    expected = FrozenMap(placement).place(NEW)
    anew = made(monkeypatch)
    for times in (1, 1):
        found = kept_frozen_map(placement, path).place(NEW)
        assert len(anew) >= times
        for name, column in expected.columns().items():
            np.testing.assert_array_equal(found.columns()[name], column, err_msg=name)
        asked = len(anew)
    assert len(anew) == asked
    assert set(read_tensors(path)[0]) == {"index", "grid", "repulsion"}
    path.write_bytes(path.read_bytes()[:-9])
    kept_frozen_map(placement, path)
    assert len(anew) > asked, "a file that is cut short is made again"
    asked = len(anew)
    kept_frozen_map(dataclasses.replace(placement, embeddings=mixed(POINTS, seed=5)), path)
    assert len(anew) > asked, "that of another map is replaced"


def test_a_map_with_copies_is_read_as_it_was_made(placement: Placement, tmp_path: Path) -> None:
    assert placement.embeddings is not None
    embeddings = placement.embeddings.copy()
    embeddings[-2:] = embeddings[0]
    groups = np.arange(POINTS)
    groups[-2:] = 0
    copies = np.bincount(groups, minlength=POINTS)[groups].astype(np.int32)
    heaped = dataclasses.replace(
        placement,
        direction=placement.direction[groups],
        embeddings=embeddings,
        copies=copies,
    )
    path = tmp_path / "frozen.safetensors"
    made_first, read_back = (kept_frozen_map(heaped, path).place(NEW) for _ in range(2))
    assert path.exists()
    np.testing.assert_array_equal(read_back.direction, made_first.direction)


def test_without_a_folder_to_write_to_and_for_small_maps_nothing_is_kept(
    placement: Placement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "absent" / "frozen.safetensors"
    assert len(kept_frozen_map(placement, absent).placement) == POINTS
    assert not absent.exists()
    monkeypatch.setattr(kept, "LEAST", POINTS + 1)
    kept_frozen_map(placement, tmp_path / "frozen.safetensors")
    assert list(tmp_path.iterdir()) == []
