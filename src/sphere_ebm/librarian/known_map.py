"""The map at hand, without JAX: newcomers join it as `FrozenMap` lets them, to rounding.

What JAX is needed for is done once, where the student is trained, and kept beside it: the grid of
the osmotic field (`fields.py`), and with it the lists of the nearest-neighbour search.
The points themselves come from the label files.

Source: the search is that of inverted lists (Jégou, Douze & Schmid 2011), all cosines within the
lists that a query probes; the dynamics are those of `sampling.underdamped` at T = 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float32, Int32

from sphere_ebm.librarian.heads import OTHER_PLACE
from sphere_ebm.librarian.joining_kernel import join_points, keep_nearest
from sphere_ebm.librarian.students.base import Arrays, checked_array

KERNELS = ("cauchy", "gaussian", "harmonic")
MIN_LISTED = 8_192
"""Fewer points than this are all compared."""
PROBES = 48
_BLOCK = 4096


class Law(NamedTuple):
    """The conditional law of a newcomer: numbers of the map's configuration.

    `pressure` is 2 Π N / S, 0 without an osmotic term; `stiffness` is max(α, Π / 2).
    """

    neighbours: int
    kernel: int
    sharpness: float
    attraction: float
    pressure: float
    stiffness: float
    rows: int


class Joined(NamedTuple):
    """Where N newcomers lie, and what shows how surely.

    - `direction` (N, 3).
    - `nearest` (N, k): points of the map, -1 for none; `similarity` (N, k): their cosines.
    - `modes` (N, 2, 3), `weight` (N, 2): where the nearest gather, the newcomer's place first.
    - `dispersion` (N,): mean squared angle between the newcomer and its nearest.
    """

    direction: Float32[np.ndarray, "new 3"]
    nearest: Int32[np.ndarray, "new k"]
    similarity: Float32[np.ndarray, "new k"]
    modes: Float32[np.ndarray, "new 2 3"]
    weight: Float32[np.ndarray, "new 2"]
    dispersion: Float32[np.ndarray, " new"]


@final
@dataclass(frozen=True, eq=False)
class KnownMap:
    """N fitted points, in the order of their lists.

    Attributes:
        law: of newcomers.
        unit: (N, D) directions of the embeddings.
        direction: (N, 3) on the map.
        row: (N,) which point of the label files each is.
        centroid: (L, D) of the lists.
        begin: (L + 1,) where each list begins.
        grid: (cells, 4) the osmotic potential and its gradient, on the bordered grid.
        emptiest: (3,) where a newcomer goes that nothing pulls.
    """

    law: Law
    unit: Float32[np.ndarray, "points width"]
    direction: Float32[np.ndarray, "points 3"]
    row: Int32[np.ndarray, " points"]
    centroid: Float32[np.ndarray, "lists width"]
    begin: Int32[np.ndarray, " begins"]
    grid: Float32[np.ndarray, "cells 4"]
    emptiest: Float32[np.ndarray, " 3"]

    @classmethod
    def of(
        cls,
        law: Law,
        embeddings: Float32[np.ndarray, "points width"],
        direction: Float32[np.ndarray, "points 3"],
        arrays: Mapping[str, np.ndarray],
        keep: Bool[np.ndarray, " points"] | None = None,
    ) -> "KnownMap":
        """The map of these points, or of those to `keep`.

        Raises:
            ValueError: arrays that do not fit, or are of a map with another number of points.
        """
        width = embeddings.shape[1]
        listed = checked_array(arrays, "map.list", [len(embeddings)], np.int32)
        centroid = checked_array(arrays, "map.centroid", [None, width], np.float32)
        columns = 2 * law.rows + 3
        cells = (law.rows + 4) * columns if law.pressure > 0 else 0
        grid = checked_array(arrays, "map.grid", [cells, 4], np.float32)
        emptiest = checked_array(arrays, "map.emptiest", [3], np.float32)
        length = np.linalg.norm(embeddings, axis=1)
        usable = (length > 0) if keep is None else (length > 0) & keep
        rows = np.flatnonzero(usable)
        rows = rows[np.argsort(listed[rows], kind="stable")]
        begin = np.searchsorted(listed[rows], np.arange(len(centroid) + 1))
        unit = embeddings[rows] / length[rows, None]
        return cls(
            law,
            unit,
            direction[rows],
            rows.astype(np.int32),
            centroid,
            begin.astype(np.int32),
            grid,
            emptiest,
        )

    def join(self, embedding: Float32[np.ndarray, "new width"]) -> Joined:
        """Where newcomers of these unit embeddings come to lie; zero rows where it is emptiest."""
        nearest, similarity = self.nearest(embedding)
        count = len(embedding)
        place = np.empty((count, 3), np.float32)
        modes = np.empty((count, 2, 3), np.float32)
        weight = np.empty((count, 2), np.float32)
        dispersion = np.empty(count, np.float32)
        law = self.law
        numbers = np.array(
            [law.sharpness, law.attraction, law.pressure, law.stiffness, math.cos(OTHER_PLACE)]
        )
        join_points(
            nearest,
            self.direction.astype(np.float64),
            self.grid,
            law.rows,
            law.kernel,
            numbers,
            self.emptiest.astype(np.float64),
            place,
            modes,
            weight,
            dispersion,
        )
        known = nearest >= 0
        told = np.where(known, self.row[np.maximum(nearest, 0)], -1).astype(np.int32)
        return Joined(place, told, similarity, modes, weight, dispersion)

    def nearest(
        self, embedding: Float32[np.ndarray, "new width"]
    ) -> tuple[Int32[np.ndarray, "new k"], Float32[np.ndarray, "new k"]]:
        """The nearest points by cosine, best first, numbered as they lie here; -1 for none."""
        slots = self.law.neighbours
        index = np.full((len(embedding), slots), -1, np.int32)
        cosine = np.full((len(embedding), slots), -np.inf, np.float32)
        for start in range(0, len(embedding), _BLOCK):
            part = slice(start, start + _BLOCK)
            self._search(embedding[part], index[part], cosine[part])
        nothing = ~embedding.any(axis=1)
        index[nothing] = -1
        cosine[nothing] = -np.inf
        return index, cosine

    def _search(
        self,
        query: Float32[np.ndarray, "new width"],
        index: Int32[np.ndarray, "new k"],
        cosine: Float32[np.ndarray, "new k"],
    ) -> None:
        """Look through the lists one after another, each with all queries that probe it."""
        lists = len(self.centroid)
        probes = min(PROBES, lists)
        asked = np.ones((len(query), lists), np.bool_)
        if probes < lists:
            best = np.argpartition(-(query @ self.centroid.T), probes - 1, axis=1)[:, :probes]
            asked[:] = False
            np.put_along_axis(asked, best, True, axis=1)
        for number in range(lists):
            first = int(self.begin[number])
            last = int(self.begin[number + 1])
            rows = np.flatnonzero(asked[:, number])
            if last > first and rows.size:
                found = query[rows] @ self.unit[first:last].T
                keep_nearest(found, rows, first, index, cosine)


def arrays_of(
    listed: Int32[np.ndarray, " points"],
    centroid: Float32[np.ndarray, "lists width"],
    grid: Float32[np.ndarray, "cells 4"],
    emptiest: Sequence[float],
) -> Arrays:
    """What `KnownMap.of` wants, under its names."""
    return {
        "map.list": listed,
        "map.centroid": centroid,
        "map.grid": grid,
        "map.emptiest": np.asarray(emptiest, np.float32),
    }
