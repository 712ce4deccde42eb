"""Swept maps of landmarks: on any engine, killed at any moment, the same bytes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import contents
from deaths import assert_survives_deaths
from sphere_ebm import PlacementConfig, SphereMap, label, read_labels
from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.reader import read_shard
from sphere_ebm.geometry.shells import ideal_radii, make_shells
from sphere_ebm.graph import held
from sphere_ebm.labelling import sweeping
from sphere_ebm.labelling.adding import join_map
from sphere_ebm.labelling.engines import LocalEngine
from sphere_ebm.labelling.label import LabelRun, measure_map
from sphere_ebm.labelling.sweeping import SWEPT
from sphere_ebm.labelling.work import FOLDER
from sphere_ebm.maps import sweeps
from sphere_ebm.quality.trust import kept_by_points

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=25, average=5, tolerance=0.0, replicas=1)
SIZES = (20, 17, 9)
LANDMARKS = 23
SWEEPS = 4


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for i, patches in enumerate(SIZES):
        shard(folder / f"s{i}.safetensors", patches, seed=i)
    return folder


@pytest.fixture(autouse=True)
def _several_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three blocks, whose borders are not those of the shards, and a checkpoint every two."""
    monkeypatch.setattr(sweeps, "BLOCK", 18)
    monkeypatch.setattr(sweeps, "_EVERY", 2)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, inputs: Path) -> LabelRun:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweeps, "BLOCK", 18)
        output = tmp_path_factory.mktemp("finished") / "out"
        return label([inputs], output, CONFIG, landmarks=LANDMARKS, sweeps=SWEEPS)


def test_all_points_have_labels_of_one_map_and_landmarks_the_places_they_moved_to(
    finished: LabelRun, inputs: Path
) -> None:
    assert (finished.points, len(finished.placement)) == (sum(SIZES), LANDMARKS)
    labels = [read_labels(finished.files[inputs / f"s{i}.safetensors"]) for i in range(3)]
    direction = np.concatenate([each.direction for each in labels])
    embeddings = np.concatenate([each.embeddings for each in labels])
    placement = finished.placement
    assert placement.info == {SWEPT: SWEEPS}
    place = {tuple(row): i for i, row in enumerate(embeddings.tolist())}
    rows = [place[tuple(row)] for row in placement.embeddings.tolist()]
    np.testing.assert_array_equal(direction[rows], placement.direction)
    prominence = np.concatenate([each.prominence for each in labels])
    radius = np.concatenate([each.radius for each in labels])
    np.testing.assert_array_equal(radius, ideal_radii(prominence, make_shells(3), seed=0))
    for each in labels:
        assert each.metadata[SWEPT] == str(SWEEPS)
        assert (each.angle_std >= each.thermal_std).all()
        assert each.modes is not None
        assert each.point_energy is not None
    assert placement.replicas.shape == (1, LANDMARKS, 3)
    assert (SphereMap.load(finished.output).placement_.direction == placement.direction).all()
    assert json.loads((finished.output / "map.json").read_text())[SWEPT] == SWEEPS
    assert measure_map(finished.output).recall == finished.quality.recall
    assert not (finished.output / FOLDER).exists()


def test_kept_neighbours_are_counted_among_all_points(finished: LabelRun, inputs: Path) -> None:
    labels = [read_labels(finished.files[inputs / f"s{i}.safetensors"]) for i in range(3)]
    unit = np.concatenate([each.embeddings for each in labels]).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -2)
    nearest = np.argsort(-cosine, axis=1)[:, :4]
    kept = kept_by_points(nearest, np.concatenate([each.direction for each in labels]))
    np.testing.assert_array_equal(np.concatenate([each.kept for each in labels]), kept.share)


def test_other_processes_write_the_same_bytes_and_without_sweeps_it_is_another_map(
    finished: LabelRun, inputs: Path, tmp_path: Path
) -> None:
    label(
        [inputs], tmp_path / "two", CONFIG, landmarks=LANDMARKS, sweeps=SWEEPS,
        engine=LocalEngine(2),
    )  # fmt: skip
    assert contents(tmp_path / "two") == contents(finished.output)
    joined = label([inputs], tmp_path / "joined", CONFIG, landmarks=LANDMARKS, sweeps=0)
    assert joined.map_id != finished.map_id
    assert SWEPT not in json.loads((tmp_path / "joined" / "map.json").read_text())


def test_directions_that_take_too_much_are_held_in_16_bits_and_make_the_same_map(
    finished: LabelRun, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held, "MOST_BYTES", 0)
    read = []
    opened = sweeping.unmapped

    def spy(*of: Any) -> np.ndarray:
        read.append(opened(*of).dtype)
        return opened(*of)

    monkeypatch.setattr(sweeping, "unmapped", spy)
    short = label([inputs], tmp_path / "out", CONFIG, landmarks=LANDMARKS, sweeps=SWEEPS)
    assert read == [np.dtype(np.int16)]
    for i in range(len(SIZES)):
        name = f"s{i}.safetensors"
        found = read_labels(short.files[inputs / name])
        wide = read_labels(finished.files[inputs / name])
        np.testing.assert_array_equal(found.embeddings, wide.embeddings)
        # the neighbours of so few points are the same, and edges go by their order
        np.testing.assert_array_equal(found.direction, wide.direction)
        np.testing.assert_allclose(found.angle_std, wide.angle_std, rtol=0.1)


def test_a_run_killed_at_any_moment_ends_with_the_same_bytes(
    finished: LabelRun, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = contents(finished.output)

    def run() -> None:
        label([inputs], tmp_path / "out", CONFIG, landmarks=LANDMARKS, sweeps=SWEEPS)

    def whole_or_not_there() -> None:
        for path in (tmp_path / "out").glob("*.sphere.safetensors"):
            assert path.read_bytes() == done[path.name]

    assert_survives_deaths(
        run, monkeypatch, moments=14, within=40, seed=5, check=whole_or_not_there
    )
    assert contents(tmp_path / "out") == done
    assert label(
        [inputs], tmp_path / "out", CONFIG, landmarks=LANDMARKS, sweeps=SWEEPS
    ).kept == len(SIZES)


def test_what_a_killed_run_of_other_sweeps_left_is_removed(
    finished: LabelRun, inputs: Path, tmp_path: Path
) -> None:
    work = tmp_path / "out" / FOLDER
    work.mkdir(parents=True)
    (work / "edges-000000.safetensors").write_bytes(b"torn")
    label([inputs], tmp_path / "out", CONFIG, landmarks=LANDMARKS, sweeps=SWEEPS)
    assert contents(tmp_path / "out") == contents(finished.output)
    work.mkdir()
    (work / "directions.f32").write_bytes(b"")
    (work / "mine").write_bytes(b"")
    label([inputs], tmp_path / "out", CONFIG, landmarks=LANDMARKS, sweeps=0, overwrite=True)
    assert contents(work) == {"mine": b""}, "what is not ours stays"


def test_new_points_join_where_the_landmarks_have_moved_to(
    finished: LabelRun, inputs: Path, tmp_path: Path, shard: Callable[..., Path]
) -> None:
    output = tmp_path / "out"
    label([inputs], output, CONFIG, landmarks=LANDMARKS, sweeps=SWEEPS)
    new = shard(tmp_path / "new.safetensors", 7, seed=9)
    run = join_map(output, new)
    table = read_shard(new)
    placed = SphereMap.load(finished.output).frozen_.place(table.embeddings, table.prominence)
    labels = read_labels(run.files[new])
    np.testing.assert_array_equal(labels.direction, placed.direction)
    assert labels.metadata[SWEPT] == str(SWEEPS)
    assert json.loads((output / "map.json").read_text())[SWEPT] == SWEEPS


def test_bad_input_is_refused(
    inputs: Path, tmp_path: Path, shard: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match="`sweeps` must be at least 0; got -1"):
        label([inputs], tmp_path / "out", CONFIG, sweeps=-1)
    for i, patches in enumerate(SIZES):
        changed = shard(tmp_path / "in" / f"s{i}.safetensors", patches, seed=i)
    begun = sweeps.Sweeper.run

    def changing(*args: object, **options: object) -> object:
        shard(changed, SIZES[-1], seed=3)
        return begun(*args, **options)

    monkeypatch.setattr(sweeps.Sweeper, "run", changing)
    with pytest.raises(ShardError, match=r"s2\.safetensors: has changed since it was first read"):
        label([tmp_path / "in"], tmp_path / "out", CONFIG, landmarks=LANDMARKS, sweeps=SWEEPS)
