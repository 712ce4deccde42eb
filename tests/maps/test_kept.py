"""A frozen map that is read again is the one that was made, to the bit."""

import dataclasses
import pickle
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
KEPT = {"unit", "lists", "pointing", "points", "grid", "repulsion"}
"""What is kept of a map without copies."""


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
        found = kept_frozen_map(placement, path, "this map").place(NEW)
        assert len(anew) >= times
        for name, column in expected.columns().items():
            np.testing.assert_array_equal(found.columns()[name], column, err_msg=name)
        asked = len(anew)
    assert len(anew) == asked
    assert set(read_tensors(path)[0]) == KEPT
    path.write_bytes(path.read_bytes()[:-9])
    kept_frozen_map(placement, path, "this map")
    assert len(anew) > asked, "a file that is cut short is made again"
    asked = len(anew)
    other = dataclasses.replace(placement, embeddings=mixed(POINTS, seed=5))
    kept_frozen_map(other, path, "another map")
    assert len(anew) > asked, "that of another map is replaced"


def test_directions_are_mapped_and_embeddings_are_not_needed(
    placement: Placement, tmp_path: Path
) -> None:
    path = tmp_path / "frozen.safetensors"
    expected = kept_frozen_map(placement, path, "this map").place(NEW)
    bare = dataclasses.replace(placement, embeddings=None)
    frozen = kept_frozen_map(bare, path, "this map")
    arrays = frozen.index.arrays
    assert arrays is not None
    assert isinstance(arrays["unit"], np.memmap)
    np.testing.assert_array_equal(frozen.place(NEW).direction, expected.direction)
    # an index that is sent to another process maps the file there
    sent = pickle.dumps(frozen.index)
    assert len(sent) < arrays["unit"].nbytes
    again = pickle.loads(sent)
    assert isinstance(again.arrays["unit"], np.memmap)
    np.testing.assert_array_equal(again.query(NEW, 4).index, frozen.index.query(NEW, 4).index)


def test_copies_and_zero_vectors_are_the_same_points_again(
    placement: Placement, tmp_path: Path
) -> None:
    path = tmp_path / "frozen.safetensors"
    embeddings = mixed(POINTS)
    # of two copies both share a place; scaled by 2 they are one direction in two places
    embeddings[7] = embeddings[3]
    embeddings[9] = 2 * embeddings[8]
    embeddings[11] = 0
    direction = placement.direction.copy()
    direction[7] = direction[3]
    copies = np.ones(POINTS, np.int32)
    copies[[3, 7]] = 2
    heaped = dataclasses.replace(
        placement, embeddings=embeddings, direction=direction, copies=copies
    )
    new = np.concatenate([NEW, embeddings[[3, 8, 11]]])
    expected = FrozenMap(heaped).place(new)
    for _ in range(2):
        found = kept_frozen_map(heaped, path, "heaps").place(new)
        for name, column in expected.columns().items():
            np.testing.assert_array_equal(found.columns()[name], column, err_msg=name)
    assert set(read_tensors(path)[0]) > KEPT


def test_without_a_folder_to_write_to_and_for_small_maps_nothing_is_kept(
    placement: Placement, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = tmp_path / "absent" / "frozen.safetensors"
    assert len(kept_frozen_map(placement, absent, "").placement) == POINTS
    assert not absent.exists()
    monkeypatch.setattr(kept, "LEAST", POINTS + 1)
    kept_frozen_map(placement, tmp_path / "frozen.safetensors", "")
    assert list(tmp_path.iterdir()) == []
