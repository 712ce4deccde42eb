"""Landmarks of a finished map.

A few points that stand for the rest, and where each of them says that its kind lies.
"""

from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int
from scipy.sparse import csr_array

from sphere_ebm.geometry.harmonics import basis, degrees_and_orders
from sphere_ebm.graph.exact import exact_neighbours

Choice = Literal["medoids", "farthest", "random"]
_POINTS = 1024
_CANDIDATES = 32
# share of its deposit that a landmark spreads over its neighbours
_SPREAD = 2 / 3


def cell_medoids(
    direction: Float[np.ndarray, "points 3"],
    unit: Float[np.ndarray, "points width"],
    count: int,
    seed: int,
) -> Int[np.ndarray, " landmarks"]:
    """One landmark for each of `count` cells of the map.

    It is the point whose embedding agrees best with its cell.

    Cells come from halving the points along the principal axis of their directions until each holds
    about N/count: a k-d tree whose axes turn with the map. The medoid has the largest sum of
    cosines to its cell. O(N (log count + D)).
    """
    cells: list[np.ndarray] = []
    waiting = [(np.arange(len(direction)), count)]
    while waiting:
        cell, parts = waiting.pop()
        if parts == 1:
            cells.append(cell)
            continue
        centred = direction[cell].astype(np.float64)
        centred -= centred.mean(axis=0)
        along = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
        along = along * (1.0 if (along**3).sum() >= 0 else -1.0)
        order = cell[np.argsort(along, kind="stable")]
        cut = round(len(cell) * (parts // 2) / parts)
        waiting += [(order[:cut], parts // 2), (order[cut:], parts - parts // 2)]
    return np.sort(
        np.array([cell[(unit[cell] @ unit[cell].sum(axis=0)).argmax()] for cell in cells])
    )


def farthest_first(
    direction: Float[np.ndarray, "points 3"],
    unit: Float[np.ndarray, "points width"],
    count: int,
    seed: int,
) -> Int[np.ndarray, " landmarks"]:
    """Landmarks by farthest-point sampling (Gonzalez 1985) among 32 `count` candidates.

    Each next one is the point farthest in angle from all before.
    """
    rng = np.random.default_rng(seed)
    pool = np.sort(
        rng.choice(len(direction), min(len(direction), _CANDIDATES * count), replace=False)
    )
    points = direction[pool].astype(np.float64)
    chosen = np.empty(count, np.int64)
    nearest = np.full(len(pool), -np.inf)
    chosen[0] = 0
    for step in range(1, count):
        nearest = np.maximum(nearest, points @ points[chosen[step - 1]])
        chosen[step] = nearest.argmin()
    return np.sort(pool[chosen])


def random_landmarks(
    direction: Float[np.ndarray, "points 3"],
    unit: Float[np.ndarray, "points width"],
    count: int,
    seed: int,
) -> Int[np.ndarray, " landmarks"]:
    """Any points."""
    return np.sort(np.random.default_rng(seed).choice(len(direction), count, replace=False))


CHOICES: dict[str, Callable[..., Int[np.ndarray, " landmarks"]]] = {
    "medoids": cell_medoids,
    "farthest": farthest_first,
    "random": random_landmarks,
}
"""Ways to choose landmarks: directions, unit embeddings, count and seed -> sorted indices without
repetition.
"""


def deposits(
    unit: Float32[np.ndarray, "points width"],
    landmarks: Int[np.ndarray, " landmarks"],
    hidden: Int[np.ndarray, " hidden"],
    neighbours: int,
) -> csr_array:
    """What a landmark of weight 1 puts where: a sparse (S, N) matrix, rows sum to 1.

    A third stays on the landmark, the rest goes in equal parts to the k points of largest cosine to
    it, itself and the `hidden` ones left out. With k = 0 all of it stays. O(S N D), once, in blocks
    of landmarks.
    """
    count = len(landmarks)
    n = len(unit)
    k = max(min(neighbours, n - len(hidden) - 1), 0)
    near = exact_neighbours(unit, unit[landmarks], k, own=landmarks, hidden=hidden)
    share = np.full((count, k + 1), _SPREAD / max(k, 1))
    share[:, 0] = 1 - _SPREAD if k > 0 else 1.0
    column = np.concatenate([landmarks[:, None], near], axis=1)
    rows = np.arange(0, column.size + 1, column.shape[1])
    return csr_array((share.ravel(), column.ravel(), rows), shape=(count, n))


def signatures(
    deposit: csr_array,
    direction: Float32[np.ndarray, "points 3"],
    band_limit: int,
    smoothing: float,
) -> Float32[np.ndarray, "landmarks coefficients"]:
    """Harmonic coefficients of every landmark's deposit, smoothed.

    A_lm = exp(-l (l+1) σ²/2) Σ_i share_i R_l^m(u_i).

    The factor is the heat kernel on the sphere, a Gaussian of width σ = `smoothing` radians for
    small σ. One block of points at a time, O(N L²) at most.
    """
    degree = degrees_and_orders(band_limit)[0]
    found = np.zeros((deposit.shape[0], band_limit**2), np.float32)
    touched = np.unique(deposit.indices)
    by_point = deposit.tocsc()
    # few shapes, so that few compilations serve all maps
    rows = min(max(1, 2**24 // band_limit**2), -(-len(touched) // _POINTS) * _POINTS)
    for start in range(0, len(touched), rows):
        block = touched[start : start + rows]
        padded = np.resize(direction[block], (rows, 3))
        values = np.asarray(basis(jnp.asarray(padded), band_limit))[: len(block)]
        found += (by_point[:, block] @ values).astype(np.float32)
    return found * np.exp(-0.5 * smoothing**2 * degree * (degree + 1)).astype(np.float32)
