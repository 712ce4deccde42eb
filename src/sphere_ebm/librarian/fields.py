"""What the map at hand needs and only JAX can make: the osmotic grid; and the lists to search."""

import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Int32

from sphere_ebm.hamiltonian.frozen import FrozenPressureFactor
from sphere_ebm.librarian.known_map import KERNELS, MIN_LISTED, Law, arrays_of
from sphere_ebm.librarian.students.base import Arrays
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.sampling.programs import SphereBlock

_ROUNDS = 8
_BLOCK = 8192
_SAMPLE = 64  # points for each centre of the k-means


def known_map_arrays(
    config: str,
    embeddings: Float32[np.ndarray, "points width"],
    direction: Float32[np.ndarray, "points 3"],
) -> tuple[Law, Arrays] | None:
    """The law of newcomers on a map, and the arrays by which `KnownMap` follows it.

    None for a map whose law is not known here: labels that do not say how they were made, fewer
    than two points, edges that are weighed by perplexity, or a field that no grid resolves.

    Cost: one evaluation of the field, and a k-means of the embeddings in sqrt(N) lists.
    """
    if not config or len(direction) < 2:
        return None
    made = PlacementConfig.from_json(config)
    if made.affinity != "uniform":
        return None
    sharpness = made.sharpness(len(direction))
    grid = np.zeros((0, 4), np.float32)
    emptiest = np.array([0, 0, 1], np.float32)
    pressure = 0.0
    rows = 0
    if made.osmotic_strength > 0:
        try:
            factor = FrozenPressureFactor(
                SphereBlock(1),
                jnp.asarray(direction, jnp.float32),
                sharpness=sharpness,
                strength=made.osmotic_strength,
            )
        except ValueError:
            return None
        grid = np.asarray(factor.grid, np.float32)
        emptiest = np.asarray(factor.emptiest, np.float32)
        pressure = float(factor.strength)
        rows = factor.rows
    law = Law(
        min(made.neighbours, len(direction)),
        KERNELS.index(made.kernel),
        sharpness,
        made.lateral_strength,
        pressure,
        max(made.lateral_strength, made.osmotic_strength / 2),
        rows,
    )
    listed, centroid = _lists(embeddings, made.seed)
    return law, arrays_of(listed, centroid, grid, emptiest.tolist())


def _lists(
    embeddings: Float32[np.ndarray, "points width"], seed: int
) -> tuple[Int32[np.ndarray, " points"], Float32[np.ndarray, "lists width"]]:
    """Spherical k-means: the list of every point, and the centres of the lists.

    Few points are one list, which is searched whole.
    """
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit = embeddings / np.where(length > 0, length, 1)
    if len(unit) < MIN_LISTED:
        return np.zeros(len(unit), np.int32), np.zeros((1, unit.shape[1]), np.float32)
    count = math.isqrt(len(unit))
    drawn = np.random.default_rng([seed, len(unit)]).permutation(len(unit))
    sample = unit[np.sort(drawn[: _SAMPLE * count])]
    centroid = unit[np.sort(drawn[:count])]
    for _ in range(_ROUNDS):
        nearest = _nearest(sample, centroid)
        # points of one list brought together, so that each sum is one of neighbouring rows
        order = np.argsort(nearest, kind="stable")
        found, first = np.unique(nearest[order], return_index=True)
        total = np.add.reduceat(sample[order], first, axis=0, dtype=np.float64)
        size = np.linalg.norm(total, axis=1, keepdims=True)
        moved = np.where(size > 0, total / np.maximum(size, 1e-12), centroid[found])
        centroid[found] = moved.astype(np.float32)
    return _nearest(unit, centroid), centroid


def _nearest(
    unit: Float32[np.ndarray, "points width"], centroid: Float32[np.ndarray, "lists width"]
) -> Int32[np.ndarray, " points"]:
    """The list of each point."""
    parts = [
        np.argmax(unit[start : start + _BLOCK] @ centroid.T, axis=1)
        for start in range(0, len(unit), _BLOCK)
    ]
    return np.concatenate(parts).astype(np.int32)
