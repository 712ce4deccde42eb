"""Density in the embedding: how near the nearest neighbours of a point are, for radii to order."""

import numpy as np
from jaxtyping import Float32
from numpy.typing import ArrayLike

from sphere_ebm.graph.index import NeighbourIndex, nearest_neighbours
from sphere_ebm.maps.checks import checked_embeddings
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.copies import find_copies


def local_density(
    embeddings: ArrayLike, config: PlacementConfig | None = None
) -> Float32[np.ndarray, " points"]:
    """The mean cosine of each point with its nearest neighbours, as a prominence for `place`.

    It is great amid a theme and small for what stands alone. Exact copies count as one point, and
    have one density. Zero vectors, and a point without another, have 0.

    Args:
        embeddings: (N, D) real numbers.
        config: how many neighbours there are, and how they are searched; None: as by default.

    Raises:
        ValueError: embeddings that are no matrix of finite numbers.
        MissingPackageError: faiss is not installed and `neighbour_search` is `"approximate"`.
    """
    given = checked_embeddings(embeddings)
    config = PlacementConfig() if config is None else config
    copies = find_copies(given)
    once = given if copies is None else given[copies.first]
    if len(once) < 2:
        return np.zeros(len(given), np.float32)
    found = nearest_neighbours(
        once, config.neighbours, search=config.neighbour_search, seed=config.seed
    )
    density = _means(found.index, found.similarity)
    return density if copies is None else density[copies.group]


def density_among(
    index: NeighbourIndex,
    embeddings: Float32[np.ndarray, "new width"],
    neighbours: int,
) -> Float32[np.ndarray, " new"]:
    """The mean cosine of newcomers with their nearest `neighbours` among the points of a map."""
    found = index.query(embeddings, neighbours)
    return _means(found.index, found.similarity)


def _means(
    index: np.ndarray, similarity: Float32[np.ndarray, "points neighbours"]
) -> Float32[np.ndarray, " points"]:
    """Means of the cosines with neighbours that are there."""
    there = index >= 0
    sums = np.where(there, similarity, 0).sum(axis=1, dtype=np.float64)
    return (sums / np.maximum(there.sum(axis=1), 1)).astype(np.float32)
