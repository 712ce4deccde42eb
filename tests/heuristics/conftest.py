"""One comparison of every method on a document that ships with the package."""

import pytest

from builders import DATA
from sphere_ebm import PlacementConfig, read_shard
from sphere_ebm.heuristics.compare import Compared, compare


@pytest.fixture(scope="session")
def compared() -> dict[str, Compared]:
    shard = read_shard(DATA / "luke.safetensors")
    config = PlacementConfig(seed=3)
    return {one.method: one for one in compare(shard.embeddings, shard.prominence, config)}
