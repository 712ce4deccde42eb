"""Initial directions for the sampler. Heuristics: they start a map, they do not finish one."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float32, Float64
from scipy.sparse import coo_array
from scipy.sparse.linalg import LinearOperator, eigsh

from sphere_ebm.filling.pour import pour, spread_of
from sphere_ebm.filling.presets import PRESETS
from sphere_ebm.geometry.shells import minimum_radius
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.graph import NeighbourGraph
from sphere_ebm.maps.config import PlacementConfig, shells_of

Components = tuple[Float[np.ndarray, "points components"], Float[np.ndarray, " components"]]
"""Scores of the points on principal components, and the components' variances."""

_ROWS = 65_536
_FEATURES = 8


def random_directions(n_points: int, seed: int) -> Float32[np.ndarray, "points 3"]:
    """Independent directions, uniform in area on S²."""
    scores = np.random.default_rng(seed).standard_normal((n_points, 3), dtype=np.float32)
    scores /= np.sqrt(np.einsum("nc,nc->n", scores, scores))[:, None]
    return scores


def pca_directions(
    embeddings: Float32[np.ndarray, "points width"],
    seed: int,
    components: Components | None = None,
) -> Float32[np.ndarray, "points 3"]:
    """The three leading principal components of the unit embeddings, as directions.

    They are centred and normalised.

    Components that the data does not have (width or rank below 3) are filled with small noise; zero
    vectors, which have no part in the axes, and points at the centre get random directions; both by
    `seed`. `components` are what `principal_components` finds for three of them, where that is
    known already: it does not depend on `seed`.
    """
    n, width = embeddings.shape
    if width == 0:
        return random_directions(n, seed)
    scores, variances = components or principal_components(embeddings, 3)
    scores = np.pad(scores, ((0, 0), (0, 3 - scores.shape[1])))
    variances = np.pad(variances, (0, 3 - len(variances)))
    rng = np.random.default_rng(seed)
    missing = np.sqrt(np.maximum(variances, 0)) < 1e-6
    scores[:, missing] = (
        1e-2 * np.sqrt(max(variances[0], 0.0)) * rng.standard_normal((n, int(missing.sum())))
    )
    scores[~embeddings.any(axis=1)] = 0
    return _to_sphere(scores, rng)


def principal_components(embeddings: Float32[np.ndarray, "points width"], count: int) -> Components:
    """Scores of the `count` leading principal components of the unit embeddings.

    There are fewer where the width is smaller. Embeddings are centred, and the variance of each
    component comes with the scores, falling. Zero vectors have no part in the axes and score 0.
    Signs are fixed by each component's largest loading. Everything is in float64; cost O(N D² +
    D³), memory a block of rows.
    """
    n, width = embeddings.shape
    pointing = embeddings.any(axis=1)
    mean = np.zeros(width)
    second = np.zeros((width, width))
    for rows in _unit_blocks(embeddings):
        mean += rows.sum(axis=0)
        second += rows.T @ rows
    held = max(int(pointing.sum()), 1)
    mean /= held
    values, vectors = np.linalg.eigh(second / held - np.outer(mean, mean))
    axes = vectors[:, ::-1][:, : min(count, width)]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    scores = np.zeros((n, axes.shape[1]))
    start = 0
    for rows in _unit_blocks(embeddings):
        scores[start : start + len(rows)] = (rows - mean) @ axes
        start += len(rows)
    scores[~pointing] = 0
    return scores, values[::-1][: axes.shape[1]]


def spectral_directions(graph: NeighbourGraph, seed: int) -> Float32[np.ndarray, "points 3"]:
    """A diffusion map of the neighbour graph in three dimensions, normalised.

    Source: Coifman & Lafon 2006.

    The three leading eigenvectors of D^{-1/2} W D^{-1/2} besides the trivial sqrt(degree), divided
    by sqrt(degree) and multiplied by their eigenvalues (0.01 at least), by Lanczos iteration from a
    start fixed by `seed`. Points without edges get random directions. Needs at least 6 points;
    below that directions are random.
    """
    n = graph.n_points
    rng = np.random.default_rng(seed)
    if n < 6 or graph.senders.size == 0:
        return _to_sphere(np.zeros((n, 3)), rng)
    weights = graph.weights.astype(np.float64)
    upper = coo_array((weights, (graph.senders, graph.receivers)), shape=(n, n))
    adjacency = (upper + upper.T).tocsr()
    degree = np.asarray(adjacency.sum(axis=1)).ravel()
    scale = np.divide(1.0, np.sqrt(degree), out=np.zeros(n), where=degree > 0)
    normalised = (adjacency * scale[:, None] * scale[None, :]).tocsr()
    # Taken out by hand: of a graph in pieces it has equals, and the one that tells the pieces apart
    # must stay.
    trivial = np.sqrt(degree / degree.sum())
    deflated = LinearOperator(
        (n, n), lambda x: normalised @ x - trivial * (trivial @ x), dtype=np.float64
    )
    values, vectors = eigsh(deflated, k=3, which="LA", v0=rng.standard_normal(n), tol=1e-4)
    return _to_sphere(vectors[:, ::-1] * np.maximum(values[::-1], 0.01) * scale[:, None], rng)


def _unit_blocks(
    embeddings: Float32[np.ndarray, "points width"],
) -> Iterator[Float[np.ndarray, "rows width"]]:
    """Blocks of rows in float64, normalised; zero rows stay zero."""
    for start in range(0, len(embeddings), _ROWS):
        yield unit_rows(embeddings[start : start + _ROWS].astype(np.float64))


def _to_sphere(
    scores: Float[np.ndarray, "points 3"], rng: np.random.Generator
) -> Float32[np.ndarray, "points 3"]:
    """Rows scaled to unit length; zero rows become uniform random directions."""
    empty = ~(np.linalg.norm(scores, axis=1) > 0)
    scores = scores.copy()
    scores[empty] = rng.standard_normal((int(empty.sum()), 3))
    scores /= np.maximum(np.abs(scores).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return unit_rows(scores).astype(np.float32)


def likeness_features(
    embeddings: Float32[np.ndarray, "points width"] | None, score: Float64[np.ndarray, " points"]
) -> Float32[np.ndarray, "points features"]:
    """Unit vectors whose product tells how alike two points are.

    The 8 leading principal components of the embeddings, scaled to unit length; without embeddings
    half a circle along the rank of the information score.
    """
    n = len(score)
    if embeddings is None or embeddings.shape[1] == 0:
        angle = np.empty(n)
        angle[np.argsort(score)] = (np.arange(n) + 0.5) * (np.pi / max(n, 1))
        return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)
    scores, _ = principal_components(embeddings, _FEATURES)
    return unit_rows(scores).astype(np.float32)


def roomy(config: PlacementConfig, n_points: int) -> PlacementConfig:
    """`config` with an inner radius at which N points have room, where neither radius is given."""
    if config.inner_radius is not None or config.outer_radius is not None:
        return config
    return dataclasses.replace(config, inner_radius=minimum_radius(n_points, config.shells))


def water_filling_directions(
    embeddings: Float32[np.ndarray, "points width"],
    prominence: Float64[np.ndarray, " points"],
    config: PlacementConfig,
) -> Float32[np.ndarray, "points 3"]:
    """Directions of a water-filling run of the preset `lateral_jit`, from principal components.

    They are those of `sphere_ebm.heuristics.water_filling.water_filling`, without the placement
    around them.
    """
    config = roomy(config, len(embeddings))
    signed = prominence if config.radius_order == "outer" else -prominence
    variance = spread_of(embeddings, len(embeddings))
    return pour(
        prominence,
        variance,
        pca_directions(embeddings, config.seed),
        likeness_features(embeddings, signed * (1 + variance)),
        shells_of(config),
        PRESETS["lateral_jit"],
        order=config.radius_order,
        seed=config.seed,
    ).direction
