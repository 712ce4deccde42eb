"""Cosine nearest neighbours of points and of new ones.

Exact for small inputs, faiss for large, never N x N.
"""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32, Int64
from numpy.typing import ArrayLike

from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.search import (
    MIN_LISTED,
    DistinctDirections,
    ExactSearch,
    ListedSearch,
    index_library,
)
from sphere_ebm.graph.search import SearchProgress as SearchProgress

EXACT_LIMIT = 16_384
"""`search="auto"` is exact up to this many points and approximate above it."""

_CHUNK = 16_384
_ROUNDING = 1e-3
"""How far beyond 1 a cosine of another library may lie, which computed it in half precision, say.
"""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k' nearest other points of every point.

    - `index`: neighbours in order of falling similarity, -1 where a point has fewer than k'. A
      point is not its own neighbour and no neighbour is listed twice.
    - `similarity`: their cosines, in [-1, 1], -inf where `index` is -1.
    - `note`: what the caller should tell the user about how the search was done, or None.

    Raises `ValueError` when the arrays break these rules.
    """

    index: Int32[np.ndarray, "points neighbours"]
    similarity: Float32[np.ndarray, "points neighbours"]
    note: str | None = None

    def __post_init__(self) -> None:
        n = len(self.index)
        for start in range(0, n, _CHUNK):
            index = self.index[start : start + _CHUNK]
            similarity = self.similarity[start : start + _CHUNK]
            own = np.arange(start, start + len(index))
            ordered = np.sort(index, axis=1)
            broken = (
                ((index < -1) | (index >= n) | (index == own[:, None])).any(axis=1)
                | ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any(axis=1)
                | ((index >= 0) & ~np.isfinite(similarity)).any(axis=1)
            )
            if broken.any():
                row = int(broken.argmax())
                raise ValueError(
                    f"`index` must list distinct other points of 0 .. {n - 1} (or -1) with finite"
                    f" similarities; got {index[row]} in row {start + row}."
                )

    @classmethod
    def from_arrays(
        cls,
        index: ArrayLike,
        similarity: ArrayLike | None = None,
        embeddings: Float32[np.ndarray, "points width"] | None = None,
    ) -> "Neighbours":
        """Neighbours that another library found.

        Row i of (N, k) arrays lists the neighbours of point i, in any order.

        - `index`: of any integer type, -1 where a row is short. The point itself may be listed,
          usually first: it is taken out, and so is the last column when that leaves it empty.
        - `similarity`: cosines, not distances; computed from `embeddings` when missing.
        - `embeddings`: where given, zero vectors lose their neighbours and are nobody's, as in
          `nearest_neighbours`.

        Rows are put in order of falling similarity, equal ones as they were given. Cost: O(N k D)
        with embeddings, in chunks; memory: a copy of them.

        Raises `ValueError`, naming the row and the cure, for shapes that do not match, an index
        outside -1 .. N - 1, a neighbour listed twice, a similarity that is no cosine, and neither
        similarities nor embeddings.
        """
        return cls(*_from_arrays(index, similarity, embeddings))


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
class NeighbourIndex:
    """An index of points, to find their own neighbours and those of new points.

    Any number of new points, batch by batch.

    `NeighbourIndex.build` makes it; `note` is what the user should be told about the search, or
    None. Building it again from the same embeddings with the same seed gives the same index, and
    takes less than the search of its own points, so that a process of its own builds its own.

    Memory: the directions (a copy of the embeddings) and, when approximate, an eighth of a byte a
    component and 8 bytes a point.
    """

    def __init__(
        self,
        search: ExactSearch | ListedSearch | None,
        pointing: Int[np.ndarray, " pointing"],
        groups: DistinctDirections,
        n_points: int,
        note: str | None,
    ) -> None:
        self.n_points = n_points
        self.note = note
        self._search = search
        self._pointing = pointing
        self._groups = groups

    @classmethod
    def build(
        cls,
        embeddings: Float32[np.ndarray, "points width"],
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
        unit, pointing = _directions(embeddings)
        faiss, note = index_library(search, len(pointing), EXACT_LIMIT)
        groups = DistinctDirections(unit)
        unit = unit if len(groups) == len(unit) else unit[groups.first]
        if not len(unit):
            return cls(None, pointing, groups, len(embeddings), note)
        listed = faiss is not None and len(unit) >= MIN_LISTED
        found = ListedSearch(faiss, unit, seed, progress) if listed else ExactSearch(unit)
        return cls(found, pointing, groups, len(embeddings), note)

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

    def query(
        self,
        new: Float32[np.ndarray, "queries width"],
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
        index = np.full((len(new), k), -1, np.int32)
        similarity = np.full(index.shape, -np.inf, np.float32)
        if self._search is not None and new.shape[1] != self._search.unit.shape[1]:
            raise ValueError(
                "`new` must have the width of the indexed embeddings,"
                f" {self._search.unit.shape[1]}; got {new.shape[1]}. Use the same model for both."
            )
        unit, asking = _directions(new, "new")
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
    embeddings: Float32[np.ndarray, "points width"],
    k: int,
    *,
    search: str = "auto",
    seed: int = 0,
    progress: SearchProgress | None = None,
) -> Neighbours:
    """Finds the k' = min(k, N - 1) points of largest cosine similarity to each point.

    `search` is `"exact"`, `"approximate"` (inverted lists of faiss with exact re-ranking, see
    `neighbour_index.ListedSearch`; the extra `ann`) or `"auto"`: exact up to `EXACT_LIMIT` points
    and approximate above, or exact there too, with a `note`, where faiss is missing. Fewer than 1
    024 directions are searched exactly in any case. `seed` enters only the approximate search. A
    zero vector has no direction: its row is -1 and it is nobody's neighbour.

    Equal directions are searched once and then listed for each other: a thousand copies of one
    vector are each other's neighbours evenly, where the first few would otherwise be everybody's.
    Other ties go to the lower index.

    The same input, seed, versions and machine give the same bits; the approximate search also on
    any number of threads.

    Cost: exact O(N² D); approximate about O(N^(3/2) D / 8) for codes and O(N k D) for re-ranking.
    They cost the same at about 18 000 points of 384 dimensions; at 50 000 the approximate search
    takes about a quarter of the time. Recall@15 of the approximate search: .974 on 49 000 real
    embeddings, .99 on a mixture of 100 000 points. Memory: a copy of the input, exact two and
    blocks of at most 128 MiB; approximate an eighth of a byte a component and 8 bytes a point more.

    Raises `ValueError` for a non-finite row, k < 1, an unknown `search`, and `"approximate"`
    without faiss.
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


def _check_k(k: int) -> None:
    if k < 1:
        raise ValueError(f"`k` must satisfy 0 < k; got {k}.")


def _directions(
    embeddings: Float32[np.ndarray, "points width"], name: str = "embeddings"
) -> tuple[Float32[np.ndarray, "pointing width"], Int[np.ndarray, " pointing"]]:
    """Unit vectors of the rows that are not zero, and which rows these are.

    A row's bits depend on nothing else.
    """
    peak = np.maximum(embeddings.max(axis=1, initial=0), -embeddings.min(axis=1, initial=0))
    if not np.isfinite(peak).all():
        row = np.isfinite(peak).argmin()
        raise ValueError(
            f"`{name}` must be finite; got NaN or infinity in row {row}. Repair or drop that point."
        )
    pointing = np.flatnonzero(peak > 0)
    unit = np.empty((len(pointing), embeddings.shape[1]), np.float32)
    for start in range(0, len(pointing), _CHUNK):
        rows = pointing[start : start + _CHUNK]
        # divided by the largest entry first, so that no square overflows or vanishes
        block = unit_rows(np.ascontiguousarray(embeddings[rows] / peak[rows, None]))
        # + 0.0 makes -0.0 positive: duplicates are found by their bytes
        unit[start : start + _CHUNK] = block + 0.0
    return unit, pointing


def _from_arrays(
    index: ArrayLike,
    similarity: ArrayLike | None,
    embeddings: Float32[np.ndarray, "points width"] | None,
) -> tuple[Int32[np.ndarray, "points k"], Float32[np.ndarray, "points k"]]:
    listed = _given_index(np.asarray(index), None if embeddings is None else len(embeddings))
    own = listed == np.arange(len(listed))[:, None]
    if embeddings is None and similarity is None:
        raise ValueError(
            "give `similarity` or `embeddings`: without either, neighbours have no cosines."
        )
    cosine = None if similarity is None else _given_cosines(np.asarray(similarity), listed, own)
    if embeddings is not None:
        unit, pointing = _directions(embeddings)
        place = np.full(len(listed), -1)
        place[pointing] = np.arange(len(pointing))
        listed[(place[listed] < 0) | (place[:, None] < 0)] = -1
        cosine = _cosines(unit, place, listed) if cosine is None else cosine
    assert cosine is not None
    missing = own | (listed < 0)
    listed[missing] = -1
    cosine[missing] = -np.inf
    order = np.argsort(-cosine, axis=1, kind="stable")
    listed = np.take_along_axis(listed, order, axis=1)
    cosine = np.take_along_axis(cosine, order, axis=1)
    columns = listed.shape[1] - bool(own.any() and (listed[:, -1] < 0).all())
    return listed[:, :columns].astype(np.int32), cosine[:, :columns]


def _given_index(index: np.ndarray, n_points: int | None) -> Int64[np.ndarray, "points k"]:
    """A checked copy of another library's lists."""
    if index.ndim != 2 or index.dtype.kind not in "iu":
        raise ValueError(
            f"`index` must be an (N, k) array of integers; got {index.dtype} of shape"
            f" {index.shape}."
        )
    n = len(index)
    if n_points is not None and n_points != n:
        raise ValueError(
            f"`index` must have a row for each of the {n_points} embeddings; got {n} rows."
        )
    outside = ((index >= n) | (index < -1)).any(axis=1)
    if outside.any():
        row = outside.argmax()
        raise ValueError(
            f"`index` must lie in 0 .. N - 1 = {n - 1}, or be -1 where a neighbour is missing; got"
            f" {index[row]} in row {row}. Number points from 0, in the order of the embeddings."
        )
    return index.astype(np.int64)


def _cosines(
    unit: Float32[np.ndarray, "pointing width"],
    place: Int64[np.ndarray, " points"],
    listed: Int64[np.ndarray, "points k"],
) -> Float32[np.ndarray, "points k"]:
    """Cosines of the points with those they list; meaningless where `listed` is -1."""
    cosine = np.zeros(listed.shape, np.float32)
    rows = max(1, _CHUNK // max(listed.shape[1], 1))
    for start in range(0, len(listed) if len(unit) else 0, rows):
        block = slice(start, start + rows)
        cosine[block] = np.einsum("nd,nkd->nk", unit[place[block]], unit[place[listed[block]]])
    return np.clip(cosine, -1, 1)


def _given_cosines(
    similarity: np.ndarray, listed: Int64[np.ndarray, "points k"], own: Bool[np.ndarray, "points k"]
) -> Float32[np.ndarray, "points k"]:
    """Cosines of another library, checked.

    A point's cosine with itself tells them from distances.
    """
    if similarity.shape != listed.shape or similarity.dtype.kind not in "iuf":
        raise ValueError(
            f"`similarity` must be real numbers of the shape {listed.shape} of `index`; got"
            f" {similarity.dtype} of shape {similarity.shape}."
        )
    wrong = ((listed >= 0) & ~own & ~(np.abs(similarity) <= 1 + _ROUNDING)).any(axis=1)
    if wrong.any():
        row = wrong.argmax()
        raise ValueError(
            f"`similarity` must hold cosines in [-1, 1]; got {similarity[row]} in row {row}. Leave"
            " it out and give `embeddings` to have them computed; of cosine distances give 1 -"
            " distance."
        )
    with_itself = similarity[own]
    if with_itself.size and np.median(with_itself) < 0.5:
        row = own.any(axis=1).argmax()
        raise ValueError(
            f"`similarity` must hold cosines, 1 of a point with itself; got {with_itself[0]} in row"
            f" {row}. If these are cosine distances, give 1 - distance."
        )
    return np.clip(similarity.astype(np.float32), -1, 1)
