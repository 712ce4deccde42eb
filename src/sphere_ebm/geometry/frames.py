"""Frames: the rotation or reflection by which two maps of the same points agree best.

The energy of a map does not change when all of it is turned or reflected, so that two runs are
compared, and one is laid onto another, in their best common frame.
"""

import numpy as np
from jaxtyping import Float, Float32, Float64

from sphere_ebm.geometry.sphere import unit_rows

_ROUNDS = 20
_SAME = 1e-12


def best_frame(
    reference: Float[np.ndarray, "points 3"],
    moved: Float[np.ndarray, "others 3"],
    weights: Float[np.ndarray, " weights"] | None = None,
) -> Float[np.ndarray, "3 3"]:
    """The orthogonal matrix Q, rotation or reflection, that brings `moved @ Q` to `reference`.

    Q minimises Σ_i w_i |reference_i - moved_i Q|² over O(3), in float64.

    Args:
        reference: (N, 3) unit vectors.
        moved: (N, 3) unit vectors of the same points on another map.
        weights: (N,) w_i >= 0; equal ones by default.

    Raises:
        ValueError: shapes differ, or a weight is negative or not finite.

    Source: the orthogonal Procrustes problem, Schönemann 1966. Cost: O(N).
    """
    if reference.shape != moved.shape:
        raise ValueError(
            "`reference` and `moved` must hold the same points; got shapes"
            f" {reference.shape} and {moved.shape}."
        )
    rows = moved.astype(np.float64)
    if weights is not None:
        if weights.shape != moved.shape[:1]:
            raise ValueError(f"`weights` must have shape {moved.shape[:1]}; got {weights.shape}.")
        if not (np.isfinite(weights).all() and (weights >= 0).all()):
            raise ValueError("`weights` must be finite and >= 0.")
        rows = rows * weights.astype(np.float64)[:, None]
    # Σ w |b - a Q|² is least where tr(Qᵀ Σ w a bᵀ) is largest: at U Vᵀ of the sum's singular
    # vectors. Without a sign for the determinant reflections take part.
    left, _, right = np.linalg.svd(rows.T @ reference.astype(np.float64))
    return left @ right


def robust_frame(
    reference: Float[np.ndarray, "points 3"], moved: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "3 3"]:
    """As `best_frame`, with the weights 1 / (d² + median d²), d_i the chord that is left.

    Points that changed their place on the other map then do not turn all others. The weights are
    taken from the frame before, beginning with equal ones, until the frame stands still (20 rounds
    at most).

    Raises ValueError where shapes differ.
    """
    frame = best_frame(reference, moved)
    for _ in range(_ROUNDS if len(moved) else 0):
        squared = np.sum((reference - moved @ frame) ** 2, axis=1)
        middle = float(np.median(squared))
        if not middle > _SAME:
            return frame
        before = frame
        frame = best_frame(reference, moved, 1 / (squared + middle))
        if np.abs(frame - before).max() < _SAME:
            break
    return frame


def turned(
    direction: Float32[np.ndarray, "*points 3"], frame: Float64[np.ndarray, "3 3"]
) -> Float32[np.ndarray, "*points 3"]:
    """Unit vectors in another frame, with the precision and the length that they should have."""
    rows = direction.reshape(-1, 3).astype(np.float64) @ frame
    return unit_rows(rows).astype(np.float32).reshape(direction.shape)


def angles_between(
    a: Float[np.ndarray, "points 3"], b: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, " points"]:
    """The angle between each two directions, in radians, exact for small ones; in float64."""
    first = unit_rows(a.astype(np.float64))
    second = unit_rows(b.astype(np.float64))
    half = np.linalg.norm(first - second, axis=1) / 2
    return 2 * np.arcsin(np.minimum(half, 1))
