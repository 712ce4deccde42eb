"""One comparison of every method on a document that ships with the package."""

from pathlib import Path

import pytest

from sphere_ebm import PlacementConfig, read_shard
from sphere_ebm.comparison import Compared, compare

LUKE = Path(__file__).parents[2] / "data" / "luke.safetensors"


@pytest.fixture(scope="session")
def compared() -> dict[str, Compared]:
    shard = read_shard(LUKE)
    return {one.method: one for one in compare(shard.embeddings, shard.prominence, PlacementConfig(seed=3))}
