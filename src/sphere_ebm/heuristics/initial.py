"""Initial directions for the sampler. Heuristics: they start a map, they do not finish one."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Float32
from scipy.sparse import coo_array
from scipy.sparse.linalg import LinearOperator, eigsh

from sphere_ebm.graph import NeighbourGraph

_ROWS = 65_536


def random_directions(n_points: int, seed: int) -> Float32[np.ndarray, "points 3"]:
    """Independent directions, uniform in area on S²."""
    scores = np.random.default_rng(seed).standard_normal((n_points, 3), dtype=np.float32)
    scores /= np.sqrt(np.einsum("nc,nc->n", scores, scores))[:, None]
    return scores


def pca_directions(embeddings: Float32[np.ndarray, "points width"], seed: int) -> Float32[np.ndarray, "points 3"]:
    """The three leading principal components of the unit embeddings, centred and normalised to directions.

    Components that the data does not have (width or rank below 3) are filled with small noise; zero vectors, which
    have no part in the axes, and points at the centre get random directions; both by `seed`. See
    `principal_components`.
    """
    n, width = embeddings.shape
    if width == 0:
        return random_directions(n, seed)
    scores, variances = principal_components(embeddings, 3)
    scores = np.pad(scores, ((0, 0), (0, 3 - scores.shape[1])))
    variances = np.pad(variances, (0, 3 - len(variances)))
    rng = np.random.default_rng(seed)
    missing = np.sqrt(np.maximum(variances, 0)) < 1e-6
    scores[:, missing] = 1e-2 * np.sqrt(max(variances[0], 0.0)) * rng.standard_normal((n, int(missing.sum())))
    scores[~embeddings.any(axis=1)] = 0
    return _to_sphere(scores, rng)


def principal_components(
    embeddings: Float32[np.ndarray, "points width"], count: int
) -> tuple[Float[np.ndarray, "points components"], Float[np.ndarray, " components"]]:
    """Scores of the `count` leading principal components of the unit embeddings, fewer where the width is smaller.

    Centred; with the variance of each, falling. Zero vectors have no part in the axes and score 0. Signs are fixed by
    each component's largest loading. Float64; cost O(N D² + D³), memory a block of rows.
    """
    n, width = embeddings.shape
    pointing = embeddings.any(axis=1)
    mean, second = np.zeros(width), np.zeros((width, width))
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
    """A diffusion map of the neighbour graph (Coifman & Lafon 2006) in three dimensions, normalised.

    The three leading eigenvectors of D^{-1/2} W D^{-1/2} besides the trivial sqrt(degree), divided by sqrt(degree) and
    multiplied by their eigenvalues (0.01 at least), by Lanczos iteration from a start fixed by `seed`. Points without
    edges get random directions. Needs at least 6 points; below that directions are random.
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
    # Taken out by hand: of a graph in pieces it has equals, and the one that tells the pieces apart must stay.
    trivial = np.sqrt(degree / degree.sum())
    deflated = LinearOperator((n, n), lambda x: normalised @ x - trivial * (trivial @ x), dtype=np.float64)
    values, vectors = eigsh(deflated, k=3, which="LA", v0=rng.standard_normal(n), tol=1e-4)
    return _to_sphere(vectors[:, ::-1] * np.maximum(values[::-1], 0.01) * scale[:, None], rng)


def _unit_blocks(embeddings: Float32[np.ndarray, "points width"]) -> Iterator[Float[np.ndarray, "rows width"]]:
    """Blocks of rows in float64, normalised; zero rows stay zero."""
    for start in range(0, len(embeddings), _ROWS):
        rows = embeddings[start : start + _ROWS].astype(np.float64)
        norm = np.linalg.norm(rows, axis=1, keepdims=True)
        yield np.divide(rows, norm, out=np.zeros_like(rows), where=norm > 0)


def _to_sphere(scores: Float[np.ndarray, "points 3"], rng: np.random.Generator) -> Float32[np.ndarray, "points 3"]:
    """Rows scaled to unit length; zero rows become uniform random directions."""
    empty = ~(np.linalg.norm(scores, axis=1) > 0)
    scores = scores.copy()
    scores[empty] = rng.standard_normal((int(empty.sum()), 3))
    scores /= np.maximum(np.abs(scores).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return (scores / np.linalg.norm(scores, axis=1, keepdims=True)).astype(np.float32)
