"""One comparison of every method on a document that ships with the package."""

import numpy as np
import pytest

from builders import DATA
from sphere_ebm import PlacementConfig, read_shard
from sphere_ebm.heuristics.compare import Compared, compare


@pytest.fixture(scope="session")
def compared() -> dict[str, Compared]:
    shard = read_shard(DATA / "luke.safetensors")
    config = PlacementConfig(seed=3)
    return {one.method: one for one in compare(shard.embeddings, shard.prominence, config)}


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    """A thousand points in clusters in 12 dimensions, of lengths and variances that differ."""
    rng = np.random.default_rng(1)
    centres = np.repeat(3 * rng.standard_normal((10, 12)), 100, axis=0)
    rows = centres + rng.standard_normal((1000, 12))
    rows += rng.gamma(0.7, 3, (1000, 1))
    return (rows * rng.gamma(2, 1, (1000, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def unit_variance(embeddings: np.ndarray) -> np.ndarray:
    rows = embeddings.astype(np.float64)
    return (rows / np.linalg.norm(rows, axis=1)[:, None]).var(axis=1)
