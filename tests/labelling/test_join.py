"""Labels by landmarks: every shard, on any engine, interrupted or not, with the same bytes."""

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import Died, contents, dying_after
from processes import ready_made
from sphere_ebm import (
    LabelError,
    PlacementConfig,
    ShardError,
    SphereMap,
    label,
    read_labels,
)
from sphere_ebm.files.shards.own import ALL_FOUND
from sphere_ebm.files.shards.reader import read_shard
from sphere_ebm.geometry.shells import assign_shells, ideal_radii, make_shells
from sphere_ebm.labelling import columns, join
from sphere_ebm.labelling.asked import Asked, map_id_of
from sphere_ebm.labelling.engines import AbstractEngine, LocalEngine
from sphere_ebm.labelling.label import LabelRun, measure_map
from sphere_ebm.labelling.sources import read_sources
from sphere_ebm.quality.trust import chance_share

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=50, average=5, tolerance=0.0, replicas=1)
SIZES = (20, 17, 9)
LANDMARKS = 23


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for i, patches in enumerate(SIZES):
        shard(folder / f"s{i}.safetensors", patches, seed=i)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, inputs: Path) -> LabelRun:
    return label(
        [inputs], tmp_path_factory.mktemp("finished") / "out", CONFIG, landmarks=LANDMARKS, sweeps=0
    )


def test_landmarks_keep_their_places_and_the_others_join_them(
    finished: LabelRun, inputs: Path
) -> None:
    assert (finished.points, len(finished.placement)) == (sum(SIZES), LANDMARKS)
    frozen = SphereMap.load(finished.output).frozen_
    fitted = {tuple(row): i for i, row in enumerate(frozen.placement.embeddings.tolist())}
    held = 0
    for i in range(len(SIZES)):
        source = inputs / f"s{i}.safetensors"
        table = read_shard(source)
        labels = read_labels(finished.files[source])
        joined = frozen.place(table.embeddings, table.prominence)
        for row, embedding in enumerate(table.embeddings.tolist()):
            position = fitted.get(tuple(embedding))
            held += position is not None
            place = (
                joined.direction[row] if position is None else frozen.placement.direction[position]
            )
            np.testing.assert_array_equal(labels.direction[row], place)
            home, at = (joined, row) if position is None else (frozen.placement, position)
            for name in ("angle_std", "point_energy", "kept", "kept_p_value"):
                assert vars(labels)[name][row] == vars(home)[name][at]
        np.testing.assert_array_equal(labels.embeddings, table.embeddings)
        np.testing.assert_array_equal(labels.bytes, table.bytes)
        assert labels.metadata["landmarks"] == str(LANDMARKS)
    assert held == LANDMARKS


def test_radii_follow_the_rank_among_all_points(finished: LabelRun, inputs: Path) -> None:
    labels = [read_labels(path) for path in finished.files.values()]
    prominence = np.concatenate([part.prominence for part in labels])
    ideal = ideal_radii(prominence, make_shells(3))
    np.testing.assert_array_equal(np.concatenate([part.radius for part in labels]), ideal)
    np.testing.assert_array_equal(
        np.concatenate([part.shell for part in labels]), assign_shells(ideal, make_shells(3))
    )
    assert finished.quality.prominence_spearman == pytest.approx(1.0)


def test_the_share_of_points_kept_as_by_chance_is_that_of_all_labels(finished: LabelRun) -> None:
    p_value = np.concatenate([read_labels(path).kept_p_value for path in finished.files.values()])
    assert finished.quality.chance_share == chance_share(p_value)
    assert len(p_value) == sum(SIZES)


def test_the_summary_counts_all_points_and_the_fitted_ones(finished: LabelRun) -> None:
    held = json.loads((finished.output / "map.json").read_text())
    assert (held["points"], held["fitted"]) == (sum(SIZES), LANDMARKS)
    assert sum(held["shells"]["occupancy"]) == sum(SIZES)
    assert held["quality"] == finished.quality.to_dict()
    assert finished.quality.points == sum(SIZES)
    assert measure_map(finished.output).to_dict() == finished.quality.to_dict()


def test_several_processes_write_the_same_bytes(
    finished: LabelRun, inputs: Path, tmp_path: Path
) -> None:
    label([inputs], tmp_path, CONFIG, landmarks=LANDMARKS, sweeps=0, engine=LocalEngine(2))
    assert contents(tmp_path) == contents(finished.output)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor_of_the_caller_writes_the_same_bytes_and_is_left_open(
    finished: LabelRun, inputs: Path, tmp_path: Path, kind: str
) -> None:
    workers = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(2, ready_made())
    with workers as pool:
        label([inputs], tmp_path, CONFIG, landmarks=LANDMARKS, sweeps=0, engine=pool)
        assert pool.submit(int).result() == 0
    assert contents(tmp_path) == contents(finished.output)


def test_an_executor_that_cannot_work_is_refused_before_anything_is_fitted(
    inputs: Path, tmp_path: Path
) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(LabelError, match="the executor cannot work: cannot schedule new futures"):
        label([inputs], tmp_path / "out", CONFIG, landmarks=LANDMARKS, sweeps=0, engine=pool)
    assert not (tmp_path / "out").exists()


class LosingEngine(AbstractEngine):
    """Leaves behind what a worker does that is killed while it writes."""

    def prepare(self) -> None:
        pass

    def close(self) -> None:
        pass

    def run(self, work: Any, tasks: Any) -> Any:
        (tasks[0].output.parent / f".sphere-{'0' * 16}.tmp").write_bytes(b"half")
        return LocalEngine().run(work, tasks)


def test_what_a_killed_worker_has_half_written_does_not_remain(
    finished: LabelRun, inputs: Path, tmp_path: Path
) -> None:
    label([inputs], tmp_path, CONFIG, landmarks=LANDMARKS, sweeps=0, engine=LosingEngine())
    assert contents(tmp_path) == contents(finished.output)


@pytest.mark.parametrize("written", [0, 2])
def test_a_run_that_died_is_continued(
    finished: LabelRun, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    write = columns.write_labels
    monkeypatch.setattr(columns, "write_labels", dying_after(written, write))
    with pytest.raises(Died):
        label([inputs], tmp_path, CONFIG, landmarks=LANDMARKS, sweeps=0)
    assert not (tmp_path / "map.json").exists()
    monkeypatch.setattr(columns, "write_labels", write)
    again = label([inputs], tmp_path, CONFIG, landmarks=LANDMARKS, sweeps=0)
    assert again.kept == written
    assert contents(tmp_path) == contents(finished.output)


def test_a_map_of_landmarks_is_another_map_than_that_of_all_points(
    finished: LabelRun, inputs: Path, tmp_path: Path
) -> None:
    whole = label([inputs], tmp_path / "whole", CONFIG, landmarks=sum(SIZES), sweeps=0)
    assert len(whole.placement) == whole.points == sum(SIZES)
    assert whole.map_id == label([inputs], tmp_path / "default", CONFIG).map_id
    with pytest.raises(LabelError, match="holds another map"):
        label([inputs], finished.output, CONFIG, landmarks=sum(SIZES), sweeps=0)
    other = label([inputs], tmp_path / "other", CONFIG, landmarks=LANDMARKS - 3, sweeps=0)
    assert len({whole.map_id, finished.map_id, other.map_id}) == 3


def test_a_shard_that_changes_while_others_are_labelled_is_named(
    inputs: Path, tmp_path: Path, shard: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "in" / "x.safetensors"
    shard(copied, 20)
    place = join.FrozenMap.place

    def changing(*args: Any, **options: Any) -> Any:
        shard(tmp_path / "in" / "y.safetensors", 13, seed=9)
        return place(*args, **options)

    shard(tmp_path / "in" / "y.safetensors", 13)
    monkeypatch.setattr(join.FrozenMap, "place", changing)
    with pytest.raises(
        ShardError,
        match=r"y\.safetensors: has changed since it was first read; repeat .* with --overwrite",
    ):
        label([tmp_path / "in"], tmp_path / "out", CONFIG, landmarks=10, sweeps=0)


def test_other_rows_are_another_map_even_if_they_are_as_many(
    shard: Callable[..., Path], tmp_path: Path
) -> None:
    sources = [
        shard(tmp_path / "in" / f"{i}.safetensors", n, seed=i) for i, n in enumerate((6, 5, 3))
    ]
    chosen = (
        [np.arange(2), np.arange(1), np.arange(1)],
        [np.arange(1), np.arange(2), np.arange(1)],
    )
    found = read_sources([path.parent for path in sources[:1]], "mean", None)[0]
    nothing = np.zeros((0, 5), np.float32)
    asked = [Asked(found, [], None, rows, nothing, nothing[:, 0], ALL_FOUND, 0) for rows in chosen]
    ids = {map_id_of(each, CONFIG, "mean") for each in asked}
    assert len(ids) == 2


def test_an_empty_shard_has_no_say_in_how_many_are_fitted(
    tmp_path: Path, shard: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "a.npy", np.zeros((0, 1), np.float32))
    shard(tmp_path / "b.safetensors", 30)
    asked: list[int] = []
    fitted = "sphere_ebm.labelling.asked.most_fitted"
    monkeypatch.setattr(fitted, lambda width: asked.append(width) or 10)
    run = label([tmp_path / "a.npy", tmp_path / "b.safetensors"], tmp_path / "out", CONFIG)
    assert asked[-1] == 5
    assert (run.points, len(run.placement)) == (30, 10)


def test_a_field_that_cannot_be_tabulated_is_refused_before_anything_is_fitted(
    inputs: Path, tmp_path: Path
) -> None:
    sharp = dataclasses.replace(CONFIG, interaction_length=0.0005)
    with pytest.raises(LabelError, match="raise --interaction-length or --landmarks"):
        label([inputs], tmp_path / "out", sharp, landmarks=LANDMARKS, sweeps=0)
    assert not (tmp_path / "out").exists()


def test_a_placement_of_another_run_is_not_taken(finished: LabelRun) -> None:
    with pytest.raises(ShardError, match="is not the placement that this run has made"):
        join._frozen_map(finished.output / "placement.safetensors", "0" * 64)


def test_a_map_of_empty_shards_can_be_measured(tmp_path: Path) -> None:
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.zeros((0, 16), np.float32))
    label([tmp_path / "a.npy", tmp_path / "b.npy"], tmp_path / "out", CONFIG)
    assert measure_map(tmp_path / "out").points == 0


def test_landmarks_and_edges_of_sidecars_do_not_go_together(inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`landmarks` must be at least 1; got 0"):
        label([inputs], tmp_path, CONFIG, landmarks=0)
