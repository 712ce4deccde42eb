"""A map from the folder of the command: the same points, in their order, for others to join."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sphere_ebm import LabelError, PlacementConfig, ShardError, SphereMap, label
from sphere_ebm.files.shards.reader import read_shard
from sphere_ebm.labelling.label import LabelRun
from sphere_ebm.maps.loading import load_placement

CONFIG = PlacementConfig(neighbours=4, shells=3, steps=25, average=5, tolerance=0.0, replicas=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, shard: Callable[..., Path]) -> LabelRun:
    folder = tmp_path_factory.mktemp("map")
    for i, patches in enumerate((20, 0, 17)):
        shard(folder / "in" / f"s{i}.safetensors", patches, seed=i)
    return label(folder / "in", folder / "m", CONFIG)


def test_a_folder_gives_the_map_that_was_fitted(run: LabelRun) -> None:
    sphere = SphereMap.load(run.output)
    np.testing.assert_array_equal(sphere.placement_.direction, run.placement.direction)
    np.testing.assert_array_equal(sphere.placement_.embeddings, run.placement.embeddings)
    assert sphere.config == CONFIG
    assert sphere.placement_.quality().recall == run.quality.recall
    shards = [read_shard(source).embeddings for source in run.files]
    np.testing.assert_array_equal(sphere.placement_.embeddings[:20], shards[0])


def test_a_folder_without_a_whole_map_is_refused(run: LabelRun, tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"no readable map\.json"):
        SphereMap.load(tmp_path)
    folder = Path(shutil.copytree(run.output, tmp_path / "m"))
    shutil.copy(run.output / "s0.sphere.safetensors", folder / "s2.sphere.safetensors")
    with pytest.raises(ShardError, match=r"s2\.sphere\.safetensors: is missing or has changed"):
        load_placement(folder)
    (folder / "placement.safetensors").write_bytes(b"other")
    with pytest.raises(ShardError, match=r"is not the placement that map\.json names"):
        load_placement(folder)
