"""From what a student says of cells, shells and embeddings to places with an error.

Everything here is NumPy: it runs where predictions are made.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int32

from sphere_ebm.files.compiled import compiled

CLOSE = np.radians(11.5)
"""Within this angle of the label a prediction counts as right: a hundredth of the sphere."""

OTHER_PLACE = np.radians(20)
"""From this angle on a place is another one."""


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Predicted:
    """Where N patches belong on the map, and how surely.

    Attributes:
        direction: (N, 3) unit vectors, the likeliest place.
        radius: (N,) in shell units.
        shell: (N,) number of the shell, 0 innermost.
        spread: (N,) root mean square angle in radians that is to be expected between `direction`
            and the label's, calibrated on the validation documents.
        confidence: (N,) probability that the two are within 11.5° of each other, calibrated there.
        modes: (N, 2, 3) the two likeliest places, `direction` first; the same twice where there is
            one.
        mode_weight: (N, 2) probability of each, 0 for a second one that there is not.
        embedding: (N, D) unit vectors in the space of the map's embeddings; zero rows for patches
            of which the student recognises nothing.
        cells: (N, C) log-probabilities of the equal-area cells, where they were asked for.
    """

    direction: Float32[np.ndarray, "patches 3"]
    radius: Float32[np.ndarray, " patches"]
    shell: Int32[np.ndarray, " patches"]
    spread: Float32[np.ndarray, " patches"]
    confidence: Float32[np.ndarray, " patches"]
    modes: Float32[np.ndarray, "patches 2 3"]
    mode_weight: Float32[np.ndarray, "patches 2"]
    embedding: Float32[np.ndarray, "patches width"]
    cells: Float32[np.ndarray, "patches cells"] | None = None

    def __len__(self) -> int:
        return len(self.radius)


class Places(NamedTuple):
    """Two places for each of N patches, and the probability of each."""

    modes: Float32[np.ndarray, "patches 2 3"]
    weight: Float32[np.ndarray, "patches 2"]


class Decoded(NamedTuple):
    """Places of N patches by their cells: `Places`, and the mean squared angle to the first."""

    places: Places
    squared: Float32[np.ndarray, " patches"]


def decoded(
    cells: Float32[np.ndarray, "patches cells"],
    centres: Float32[np.ndarray, "cells 3"],
    around: Int32[np.ndarray, "cells 8"],
) -> Decoded:
    """Where the probability gathers, and where else.

    A place is the mean of a cell and the eight around it, weighted by their probability: of all
    such nine the likeliest, then the likeliest of those that are `OTHER_PLACE` away from it.

    Args:
        cells: log-probabilities.
        centres: of the cells.
        around: the cells around each.
    """
    count = len(cells)
    modes = np.empty((count, 2, 3), np.float32)
    weight = np.empty((count, 2), np.float32)
    squared = np.empty(count, np.float32)
    chance = np.exp(cells)
    far = float(np.cos(OTHER_PLACE))
    _decode(chance, centres, around, far, _SQUARED, modes, weight, squared)
    return Decoded(Places(modes, weight), squared)


# squared angle by the cosine, at so many steps from -1 to 1
_STEPS = 4096
_SQUARED = (np.arccos(np.linspace(-1, 1, _STEPS + 1)) ** 2).astype(np.float32)


@compiled
def _gathered(
    chance: np.ndarray, centres: np.ndarray, around: np.ndarray, cell: int, place: np.ndarray
) -> float:
    """The mean place of a cell and those around it, weighted by their chance; returns their sum."""
    total = chance[cell]
    for d in range(3):
        place[d] = chance[cell] * centres[cell, d]
    for k in range(around.shape[1]):
        other = around[cell, k]
        total += chance[other]
        for d in range(3):
            place[d] += chance[other] * centres[other, d]
    length = np.sqrt(place[0] ** 2 + place[1] ** 2 + place[2] ** 2)
    for d in range(3):
        place[d] = place[d] / length if length > 0 else centres[cell, d]
    return total


@compiled
def _fullest(chance: np.ndarray, around: np.ndarray) -> int:
    """The cell with the most in it and the eight around it.

    Of cells that hold a ninth of the likeliest, or more: one that has as much beside it is beside
    one of them.
    """
    best = int(np.argmax(chance))
    least = chance[best] / 9
    most = np.float32(0)
    for c in range(len(chance)):
        if chance[c] < least:
            continue
        total = chance[c]
        for k in range(around.shape[1]):
            total += chance[around[c, k]]
        if total > most:
            most = total
            best = c
    return best


@compiled
def _decode(
    chance: np.ndarray,
    centres: np.ndarray,
    around: np.ndarray,
    far: float,
    table: np.ndarray,
    modes: np.ndarray,
    weight: np.ndarray,
    squared: np.ndarray,
) -> None:
    """Fill in two modes, their weights and the mean squared angle to the first, row by row."""
    cells = len(centres)
    steps = (len(table) - 1) / 2
    rest = np.empty(cells, np.float32)
    place = np.empty(3)
    for i in range(len(chance)):
        row = chance[i]
        weight[i, 0] = _gathered(row, centres, around, _fullest(row, around), place)
        modes[i, 0] = place
        modes[i, 1] = place
        weight[i, 1] = 0
        mean = 0.0
        for c in range(cells):
            cosine = centres[c, 0] * place[0] + centres[c, 1] * place[1] + centres[c, 2] * place[2]
            mean += row[c] * table[int((min(max(cosine, -1.0), 1.0) + 1) * steps)]
            # what is left, so that the first place has no part in the second
            rest[c] = row[c] if cosine < far else 0
        squared[i] = mean
        best = _fullest(rest, around)
        if rest[best] > 0:
            weight[i, 1] = _gathered(rest, centres, around, best, place)
            modes[i, 1] = place


def shell_and_radius(
    shells: Float32[np.ndarray, "patches shells"], radii: Sequence[float]
) -> tuple[Int32[np.ndarray, " patches"], Float32[np.ndarray, " patches"]]:
    """The median shell, which is off by least on average, and the radius at the median.

    Between the centres of shells the radius is interpolated. `shells` are log-probabilities.
    """
    below = np.cumsum(np.exp(shells.astype(np.float64)), axis=1)
    below /= below[:, -1:]
    shell = np.argmax(below >= 0.5, axis=1)
    rows = np.arange(len(shells))
    before = np.where(shell > 0, below[rows, np.maximum(shell - 1, 0)], 0)
    within = (0.5 - before) / np.maximum(below[rows, shell] - before, 1e-12)
    known = np.asarray(radii, np.float64)
    radius = np.interp(shell + within - 0.5, np.arange(len(known)), known)
    return shell.astype(np.int32), radius.astype(np.float32)
