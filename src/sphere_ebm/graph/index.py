"""`NeighbourIndex`: cosine nearest neighbours of points and of new ones.

Small inputs are searched exactly, large ones by faiss; nothing is ever N x N.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Int, Int32
from numpy.typing import ArrayLike

from sphere_ebm.errors import require
from sphere_ebm.geometry.arrays import matrix
from sphere_ebm.geometry.concentration import Common, common_direction
from sphere_ebm.graph.directions import DistinctDirections, Groups, pointing_directions
from sphere_ebm.graph.held import Held, lengthened
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.graph.search import (
    MIN_LISTED,
    ExactSearch,
    ListedSearch,
    SearchProgress,
    index_library,
)

EXACT_LIMIT = 16_384
"""`search="auto"` is exact up to this many points and approximate above it."""

_MOVED = 16_384
"""Directions that are moved at once."""


@final
@dataclass(frozen=True, eq=False)
class Nearest:
    """The nearest indexed points of new points.

    - `index`: in order of falling similarity, -1 where there are fewer, and in the whole row of a
      zero vector.
    - `similarity`: their cosines, in [-1, 1], -inf where `index` is -1.
    """

    index: Int32[np.ndarray, "queries k"]
    similarity: Float32[np.ndarray, "queries k"]


@final
@dataclass(frozen=True, eq=False, repr=False)
class NeighbourIndex:
    """An index of points, to find their own neighbours and those of any number of new points.

    `NeighbourIndex.build` makes it. Building it again from the same embeddings with the same seed
    gives the same index, and takes less than the search of its own points, so that a process of its
    own builds its own.

    Memory: the directions (a copy of the embeddings) and, when approximate, an eighth of a byte a
    component and 8 bytes a point.
    """

    _search: ExactSearch | ListedSearch | None
    # rows that point anywhere, and which of them point the same way
    _pointing: Int[np.ndarray, " pointing"]
    _groups: DistinctDirections
    _common: Common | None
    n_points: int
    note: str | None
    """What the user should be told about the search, or None."""

    @classmethod
    def build(
        cls,
        embeddings: ArrayLike,
        *,
        search: str = "auto",
        seed: int = 0,
        progress: SearchProgress | None = None,
    ) -> "NeighbourIndex":
        """Index `embeddings`; `search`, `seed` and the errors are those of `nearest_neighbours`.

        `progress` is called where the search is approximate; building an exact one is immediate.
        """
        if search not in ("auto", "exact", "approximate"):
            raise ValueError(f"`search` must be 'auto', 'exact' or 'approximate'; got {search!r}.")
        given = matrix("embeddings", embeddings)
        common = common_direction(given)
        unit, pointing = pointing_directions(given, common=common)
        if common is None:
            faiss, note = index_library(search, len(pointing), EXACT_LIMIT)
        else:
            faiss = None
            note = _indistinct(common, len(pointing))
        groups = DistinctDirections(unit, seed)
        unit = unit if len(groups) == len(unit) else unit[groups.first]
        found = _search_of(faiss, unit, seed, progress, centred=common is not None)
        return cls(found, pointing, groups, common, len(given), note)

    @classmethod
    def of_directions(
        cls,
        unit: Held,
        pointing: Int[np.ndarray, " pointing"],
        n_points: int,
        *,
        search: str = "auto",
        seed: int = 0,
        progress: SearchProgress | None = None,
    ) -> "NeighbourIndex":
        """The index that `build` makes of points whose directions are known, perhaps on a disk.

        Args:
            unit: of the points that are not zero vectors, as `pointing_directions` makes them, or
                these in 16 bits (`sphere_ebm.graph.held`). An array that is mapped from a file is
                neither copied nor read at once, unless the search is exact. Where directions occur
                twice it is overwritten: the distinct ones come first.
            pointing: which points these are, rising.
            n_points: how many there are with the zero vectors.
            search: as for `build`.
            seed: as for `build`.
            progress: as for `build`.
        """
        faiss, note = index_library(search, len(pointing), EXACT_LIMIT)
        groups = DistinctDirections(unit, seed)
        distinct = len(groups)
        for start in range(0, distinct if distinct < len(unit) else 0, _MOVED):
            rows = groups.first[start : start + _MOVED]
            # the first of a group never lies before its own new place
            unit[start : start + len(rows)] = unit[rows]
        found = _search_of(faiss, unit[:distinct], seed, progress, centred=False)
        return cls(found, pointing, groups, None, n_points, note)

    @property
    def pointing(self) -> Int[np.ndarray, " pointing"]:
        """Positions of the points that may be neighbours: all but zero vectors."""
        return self._pointing

    @property
    def arrays(self) -> dict[str, np.ndarray] | None:
        """All that `of_arrays` makes this index of; None where the search is exact.

        `unit` are the directions, `lists` what takes long to train. Groups are left out where no
        two directions are the same.
        """
        if not isinstance(self._search, ListedSearch):
            return None
        groups = self._groups.groups if len(self._groups) < len(self._pointing) else ()
        return {
            "unit": self._search.unit,
            "lists": self._search.trained,
            "pointing": self._pointing,
            "points": np.asarray([self.n_points], np.int64),
        } | {f"groups.{name}": held for name, held in zip(Groups._fields, groups, strict=False)}

    @classmethod
    def of_arrays(cls, arrays: dict[str, np.ndarray], seed: int) -> "NeighbourIndex":
        """The index that had these `arrays` and this seed.

        They may be mapped from a file: then processes that read it share the directions.

        Raises:
            KeyError: one of the arrays is missing.
            MissingPackageError: faiss is not installed.
        """
        faiss = require("faiss", "ann", "approximate neighbour search")
        pointing = np.asarray(arrays["pointing"])
        known = Groups.alone(len(pointing))
        if f"groups.{known._fields[0]}" in arrays:
            known = Groups(*(np.asarray(arrays[f"groups.{name}"]) for name in known._fields))
        unit = arrays["unit"]
        search = ListedSearch(faiss, unit, seed, None, np.asarray(arrays["lists"]))
        groups = DistinctDirections(unit, seed, known)
        return cls(search, pointing, groups, None, int(arrays["points"][0]), None)

    @property
    def approximate(self) -> bool:
        """Whether the search may miss neighbours."""
        return isinstance(self._search, ListedSearch)

    def self_neighbours(self, k: int, *, progress: SearchProgress | None = None) -> Neighbours:
        """The k' = min(k, N - 1) nearest other points of every indexed point.

        Raises `ValueError` for k < 1.
        """
        _check_k(k)
        n = self.n_points
        pointing = self._pointing
        groups = self._groups
        index = np.full((n, min(k, max(n - 1, 0))), -1, np.int32)
        similarity = np.full(index.shape, -np.inf, np.float32)
        columns = min(k, len(pointing) - 1)
        if columns > 0 and self._search is not None:
            unit = self._search.unit
            near = min(k, len(groups) - 1)
            local = np.empty((len(unit), 0), np.int32)
            cosine = np.empty((len(unit), 0), np.float32)
            if near > 0:
                local, cosine = self._search.nearest(
                    unit, np.arange(len(unit), dtype=np.int32), near, progress
                )
            if len(groups) < len(pointing):
                local, cosine = groups.with_duplicates(local, cosine, columns)
            index[pointing, :columns] = pointing[local]
            similarity[pointing, :columns] = np.clip(cosine, -1, 1)
        return Neighbours(index, similarity, self.note)

    def neighbours_of(self, rows: Int[np.ndarray, " rows"], k: int) -> Nearest:
        """What `self_neighbours` lists of some points, bit for bit, without those of all others.

        `rows` rise. Raises `ValueError` for k < 1.
        """
        _check_k(k)
        index = np.full((len(rows), min(k, max(self.n_points - 1, 0))), -1, np.int32)
        similarity = np.full(index.shape, -np.inf, np.float32)
        columns = min(k, len(self._pointing) - 1)
        place = np.minimum(np.searchsorted(self._pointing, rows), len(self._pointing) - 1)
        if columns < 1 or self._search is None:
            return Nearest(index, similarity)
        asking = np.flatnonzero(self._pointing[place] == rows)
        place = place[asking]
        groups = self._groups
        # copies of one direction are searched once
        group, same = np.unique(groups.group[place], return_inverse=True)
        near = min(k, len(groups) - 1)
        local = np.empty((len(group), 0), np.int32)
        cosine = np.empty((len(group), 0), np.float32)
        if near > 0:
            local, cosine = self._search.nearest(
                self._search.unit[group], group.astype(np.int32), near
            )
        local, cosine = groups.rows_with_duplicates(place, local[same], cosine[same], columns)
        index[asking, :columns] = self._pointing[local]
        similarity[asking, :columns] = np.clip(cosine, -1, 1)
        return Nearest(index, similarity)

    def query(
        self,
        new: ArrayLike,
        k: int,
        *,
        progress: SearchProgress | None = None,
    ) -> Nearest:
        """The k nearest indexed points of points that need not be among them.

        There are k columns also where N < k.

        The answer to a row is the same, bit for bit, in every batch and in every order.

        Raises `ValueError` for k < 1, rows of another width than the indexed ones, and non-finite
        ones.
        """
        _check_k(k)
        new = matrix("new", new)
        index = np.full((len(new), k), -1, np.int32)
        similarity = np.full(index.shape, -np.inf, np.float32)
        if self._search is not None and new.shape[1] != self._search.unit.shape[1]:
            raise ValueError(
                "`new` must have the width of the indexed embeddings,"
                f" {self._search.unit.shape[1]}; got {new.shape[1]}. Use the same model for both."
            )
        unit, asking = pointing_directions(new, "new", self._common)
        columns = min(k, len(self._pointing))
        if columns > 0 and len(unit) and self._search is not None:
            nobody = np.full(len(unit), -1, np.int32)
            local, cosine = self._search.nearest(unit, nobody, min(k, len(self._groups)), progress)
            if len(self._groups) < len(self._pointing):
                local, cosine = self._groups.members_of(local, cosine, columns)
            index[asking, :columns] = self._pointing[local]
            similarity[asking, :columns] = np.clip(cosine, -1, 1)
        return Nearest(index, similarity)


def nearest_neighbours(
    embeddings: ArrayLike,
    k: int,
    *,
    search: str = "auto",
    seed: int = 0,
    progress: SearchProgress | None = None,
) -> Neighbours:
    """Finds the k' = min(k, N - 1) points of largest cosine similarity to each point.

    `embeddings`: (N, D) real numbers, as an array, nested lists or a DataFrame.

    `search` is `"exact"`, `"approximate"` (inverted lists of faiss with exact re-ranking, see
    `sphere_ebm.graph.search.ListedSearch`; the extra `ann`) or `"auto"`: exact up to `EXACT_LIMIT`
    points and approximate above, or exact there too, with a `note`, where faiss is missing. Fewer
    than 1 024 directions are searched exactly in any case. `seed` enters only the approximate
    search, and ties. A zero vector has no direction: its row is -1 and it is nobody's neighbour.

    Equal directions are searched once and then listed for each other: a thousand copies of one
    vector are each other's neighbours evenly, where the first few would otherwise be everybody's.
    Which of them, and which of other points of equal cosine, `seed` and the vectors decide, never
    the order of the rows; the approximate search chooses among its candidates.

    Directions that all but coincide (1 - |mean|² < 1e-3) are searched exactly, by what is left
    after their mean is taken away in float64, since float32 cannot tell their cosines apart. A
    `note` says so where they spread by less than 1e-5.

    The same input, seed, versions and machine give the same bits; the approximate search also on
    any number of threads.

    Cost: exact O(N² D); approximate about O(N^(3/2) D / 8) for codes and O(N k D) for re-ranking.
    They cost the same at about 18 000 points of 384 dimensions; at 50 000 the approximate search
    takes about a quarter of the time. Recall@15 of the approximate search: .974 on 49 000 real
    embeddings, .99 on a mixture of 100 000 points. Memory: a copy of the input, exact two and
    blocks of at most 128 MiB; approximate an eighth of a byte a component and 8 bytes a point more.

    Raises `ValueError` for a non-finite row, k < 1 and an unknown `search`, `MissingPackageError`
    for `"approximate"` without faiss.
    """
    _check_k(k)
    before = 0

    def built(done: int, total: int) -> None:
        nonlocal before
        before = total
        if progress is not None:
            progress(done, 2 * total)

    def searched(done: int, total: int) -> None:
        if progress is not None:
            progress(before + done, before + total)

    index = NeighbourIndex.build(embeddings, search=search, seed=seed, progress=built)
    return index.self_neighbours(k, progress=searched)


def _search_of(
    faiss: Any,
    unit: Held,
    seed: int,
    progress: SearchProgress | None,
    *,
    centred: bool,
) -> ExactSearch | ListedSearch | None:
    """A search among distinct directions: by `faiss`, where it is given, or exact."""
    if not len(unit):
        return None
    if faiss is not None and len(unit) >= MIN_LISTED:
        return ListedSearch(faiss, unit, seed, progress)
    return ExactSearch(lengthened(unit), seed, centred=centred)


def _indistinct(common: Common, count: int) -> str | None:
    if not common.indistinct:
        return None
    return (
        f"the cosines of {count} points cannot be told apart in float32, their centred differences"
        " were compared; subtract the mean or scale the columns"
    )


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"`k` must satisfy 0 < k; got {k}.")
