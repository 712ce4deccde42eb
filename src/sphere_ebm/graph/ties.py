"""Who comes first among points of equal cosine: the seed and the vectors decide, no row number."""

from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Float32, Int32, UInt64

from sphere_ebm.graph.directions import hashes
from sphere_ebm.graph.held import Held

_LAST = np.uint64(2**64 - 1)
_ROWS = 2**22
"""Keys that are drawn at once: 32 MiB."""


@final
class Ties:
    """An order of the points `unit` for every query, as if drawn at random.

    It is a function of the seed and of the two vectors alone, so that a query is answered alike in
    every batch, and points alike in every order. Equal points are not told apart.
    """

    def __init__(self, unit: Held, seed: int) -> None:
        self._unit = unit
        self._seed = np.random.default_rng(seed).integers(2**64, dtype=np.uint64)

    @cached_property
    def _hashes(self) -> UInt64[np.ndarray, " points"]:
        return hashes(self._unit)

    def _keys(
        self, query: UInt64[np.ndarray, "rows 1"], point: UInt64[np.ndarray, "#rows points"]
    ) -> UInt64[np.ndarray, "rows points"]:
        # the last steps of SplitMix64 (Steele, Lea & Flood 2014), which mix all bits with all
        key = (query * np.uint64(0x9E3779B97F4A7C15)) ^ (point + self._seed)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            key = (key ^ (key >> np.uint64(shift))) * np.uint64(factor)
        return key ^ (key >> np.uint64(31))

    def ordered(
        self,
        index: Int32[np.ndarray, "queries k"],
        score: Float32[np.ndarray, "queries k"],
        asked: Float32[np.ndarray, "queries width"],
    ) -> Int32[np.ndarray, "queries k"]:
        """`index` with points of equal `score` in their order; scores fall along a row."""
        equal = (score[:, 1:] == score[:, :-1]) & np.isfinite(score[:, 1:])
        rows = np.flatnonzero(equal.any(axis=1))
        if not rows.size:
            return index
        here = index[rows]
        key = self._keys(hashes(asked[rows])[:, None], self._hashes[here])
        index = index.copy()
        index[rows] = np.take_along_axis(here, np.lexsort((key, -score[rows]), axis=1), axis=1)
        return index

    def last_places(
        self,
        index: Int32[np.ndarray, "queries k"],
        score: Float32[np.ndarray, "queries k"],
        every: Float32[np.ndarray, "queries points"],
        asked: Float32[np.ndarray, "queries width"],
    ) -> Int32[np.ndarray, "queries k"]:
        """`index`, but that those who share the last place are the first of all who do.

        `every`: the scores of all points.
        """
        found = index.copy()
        k = index.shape[1]
        query = hashes(asked)[:, None]
        for start in range(0, len(index), step := max(1, _ROWS // every.shape[1])):
            rows = slice(start, start + step)
            last = score[rows, -1:]
            key = np.where(every[rows] == last, self._keys(query[rows], self._hashes[None]), _LAST)
            first = np.argpartition(key, k - 1, axis=1)[:, :k]
            first = np.take_along_axis(
                first, np.argsort(np.take_along_axis(key, first, axis=1), axis=1), axis=1
            )
            # the points above the last score are as many as there are before them
            above = (score[rows] > last).sum(axis=1, keepdims=True)
            place = np.arange(k)
            drawn = np.take_along_axis(first, np.maximum(place - above, 0), axis=1)
            found[rows] = np.where(place < above, index[rows], drawn)
        return found
