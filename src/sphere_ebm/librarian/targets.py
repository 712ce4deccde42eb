"""What is learned of labels: places with their weights, ranks of prominence, radii of shells."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int32

from sphere_ebm.files.shards.labels import Labels


def places_of(
    labels: Sequence[Labels],
) -> tuple[Float32[np.ndarray, "patches 2 3"], Float32[np.ndarray, "patches 2"]]:
    """Places and weights that sum to 1; of labels without modes the direction alone."""
    places = []
    weights = []
    for one in labels:
        twice = np.stack([one.direction, one.direction], axis=1)
        single = np.tile(np.array([1, 0], np.float32), (len(one), 1))
        places.append(twice if one.modes is None else one.modes)
        weight = single if one.mode_weight is None else one.mode_weight
        total = weight.sum(axis=1, keepdims=True)
        weights.append(np.where(total > 0, weight / np.where(total > 0, total, 1), single))
    return np.concatenate(places), np.concatenate(weights).astype(np.float32)


def ranks_among(
    prominence: Float32[np.ndarray, " patches"], among: Float32[np.ndarray, " known"]
) -> Float32[np.ndarray, " patches"]:
    """The share of the known ones that are less, equals counted half."""
    known = np.sort(among)
    below = np.searchsorted(known, prominence, side="left")
    upto = np.searchsorted(known, prominence, side="right")
    return ((below + upto) / (2 * max(len(known), 1))).astype(np.float32)


def radii_of_shells(
    config: str, radius: Float32[np.ndarray, " patches"], shell: Int32[np.ndarray, " patches"]
) -> tuple[float, ...]:
    """Radii of the map's shells; where the labels do not say, from the patches that they hold."""
    if config:
        from sphere_ebm.maps.config import PlacementConfig, shells_of

        return tuple(shells_of(PlacementConfig.from_json(config)).radius.astype(float).tolist())
    count = int(shell.max()) + 1
    totals = np.bincount(shell, radius.astype(np.float64), count)
    held = np.bincount(shell, minlength=count)
    known = np.flatnonzero(held)
    means = totals[known] / held[known]
    return tuple(np.interp(np.arange(count), known, means).tolist())
