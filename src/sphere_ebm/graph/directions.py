"""Directions of embeddings: which rows point anywhere, and which of them point the same way."""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float, Float32, Int, Int32, UInt64

from sphere_ebm.geometry.concentration import Common, centred
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.held import Held, lengthened

Hits = tuple[Int32[np.ndarray, "queries k"], Float32[np.ndarray, "queries k"]]
"""Nearest points and their cosines, in order of falling cosine."""

_CHUNK = 16_384
"""Rows that are worked on at once."""


def pointing_directions(
    embeddings: Float[np.ndarray, "points width"],
    name: str = "embeddings",
    common: Common | None = None,
) -> tuple[Float32[np.ndarray, "pointing width"], Int[np.ndarray, " pointing"]]:
    """Unit vectors of the rows that are not zero, and which rows these are.

    Where directions share a `common` one, it is taken away from them, see `concentration`. A row's
    bits depend on nothing else.
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
        if common is None:
            # divided by the largest entry first, so that no square overflows or vanishes
            block = unit_rows(np.ascontiguousarray(embeddings[rows] / peak[rows, None]))
        else:
            block = centred(embeddings[rows], common)
        # + 0.0 makes -0.0 positive: duplicates are found by their bytes
        unit[start : start + _CHUNK] = block + 0.0
    return unit, pointing


class Groups(NamedTuple):
    """Groups of equal rows: the members of group g are `members[start[g] : start[g] + size[g]]`.

    `first` and `group` as in `DistinctDirections`; `place`: the position of a row in the circle of
    its own group.
    """

    first: Int[np.ndarray, " groups"]
    group: Int[np.ndarray, " rows"]
    size: Int[np.ndarray, " groups"]
    start: Int[np.ndarray, " groups"]
    members: Int[np.ndarray, " rows"]
    place: Int[np.ndarray, " rows"]

    @classmethod
    def alone(cls, rows: int) -> "Groups":
        """Of so many rows that are all different."""
        each = np.arange(rows)
        ones = np.ones(rows, np.int64)
        return cls(each, each, ones, each, each, np.zeros(rows, np.int64))


@final
class DistinctDirections:
    """Groups of bitwise equal rows, numbered by their first member.

    `first` is the first member of each group, `group` the number of each row's group.

    Members of a group are in an order that `seed` draws, so that nothing depends on how equal rows
    were ordered.

    Cost: O(N D) and a sort of N hashes; only rows whose hash occurs twice are compared; nothing
    where the groups are `known`.
    """

    def __init__(
        self,
        unit: Held,
        seed: int = 0,
        known: Groups | None = None,
    ) -> None:
        self.groups = _groups_of(unit, seed) if known is None else known
        self.first, self.group, self._count, self._start, self._members, self._place = self.groups

    def __len__(self) -> int:
        return len(self.first)

    def with_duplicates(
        self,
        local: Int32[np.ndarray, "groups near"],
        cosine: Float32[np.ndarray, "groups near"],
        k: int,
    ) -> Hits:
        """Neighbours of rows from those of groups.

        A row's own copies come first, then the members of the nearest groups.

        Own copies are taken around the circle of the group in the order +1, -1, +2, -2, ..., so
        that the choice is mutual and no copy is preferred; copies in another group from the row's
        place in its own.
        """
        n = len(self.group)
        index = np.empty((n, k), np.int32)
        similarity = np.empty((n, k), np.float32)
        for begin in range(0, n, _CHUNK):
            row = np.arange(begin, min(begin + _CHUNK, n))
            group = self.group[row]
            index[row], similarity[row] = self.rows_with_duplicates(
                row, local[group], cosine[group], k
            )
        return index, similarity

    def rows_with_duplicates(
        self,
        row: Int[np.ndarray, " rows"],
        local: Int32[np.ndarray, "rows near"],
        cosine: Float32[np.ndarray, "rows near"],
        k: int,
    ) -> Hits:
        """As `with_duplicates`, of some rows; `local` and `cosine` are those of their groups."""
        # a group's nearest group is itself, at cosine 1; a row is not its own neighbour
        groups = np.concatenate([self.group[row][:, None], local], axis=1)
        level = np.concatenate([np.ones((len(row), 1), np.float32), cosine], axis=1)
        available = self._count[groups]
        available[:, 0] -= 1
        which, chosen, step = _taken(groups, available, k)
        # 0, 1, 2, 3, ... becomes +1, -1, +2, -2, ...
        place = self._place[row, None]
        circle = place + np.where(step % 2, -1, 1) * (step // 2 + 1)
        member = np.where(which == 0, circle, place + step) % self._count[chosen]
        index = self._members[self._start[chosen] + member].astype(np.int32)
        return index, np.take_along_axis(level, which, axis=1)

    def members_of(
        self,
        local: Int32[np.ndarray, "queries near"],
        cosine: Float32[np.ndarray, "queries near"],
        k: int,
    ) -> Hits:
        """The k nearest rows from the nearest groups, the members of a group in their order."""
        index = np.empty((len(local), k), np.int32)
        similarity = np.empty((len(local), k), np.float32)
        for begin in range(0, len(local), _CHUNK):
            rows = slice(begin, begin + _CHUNK)
            which, chosen, step = _taken(local[rows], self._count[local[rows]], k)
            index[rows] = self._members[self._start[chosen] + step]
            similarity[rows] = np.take_along_axis(cosine[rows], which, axis=1)
        return index, similarity


def _groups_of(unit: Held, seed: int) -> Groups:
    """Groups of bitwise equal rows, their members in an order that `seed` draws."""
    # Rows are compared byte by byte only where their hashes meet, which is cheap where copies
    # are rare. `equal` holds for each row the first one that equals it.
    n = len(unit)
    equal = np.arange(n)
    _, hashed, times = np.unique(hashes(unit), return_inverse=True, return_counts=True)
    suspect = np.flatnonzero(times[hashed] > 1)
    if suspect.size:
        rows = unit[suspect].view(np.dtype((np.void, unit.itemsize * unit.shape[1])))[:, 0]
        _, first, same = np.unique(rows, return_index=True, return_inverse=True)
        equal[suspect] = suspect[first[same]]
    first = np.flatnonzero(equal == np.arange(n))
    group = np.searchsorted(first, equal)
    # the members of group g are `_members[_start[g] : _start[g] + _count[g]]`, shuffled
    count = np.bincount(group, minlength=len(first))
    start = np.cumsum(count) - count
    shuffle = np.random.default_rng(seed).permutation(n)
    members = shuffle[np.argsort(group[shuffle], kind="stable")]
    # `_place`: the position of a row in the circle of its own group
    place = np.empty(n, np.int64)
    place[members] = np.arange(n) - np.repeat(start, count)
    return Groups(first, group, count, start, members, place)


def _taken(
    groups: Int[np.ndarray, "rows near"], available: Int[np.ndarray, "rows near"], k: int
) -> tuple[Int[np.ndarray, "rows k"], Int[np.ndarray, "rows k"], Int[np.ndarray, "rows k"]]:
    """Which group each of k slots takes from, when they are filled from the first group on.

    Returns for each slot which of the row's groups it is, that group's number, and how many of it
    came before.
    """
    # Groups are used up in turn: `end` is the slot at which each of them is. A slot belongs to the
    # first group that is not used up before it, hence the number of groups that are.
    slot = np.arange(k)
    end = np.cumsum(available, axis=1)
    which = np.sum(slot[None, :, None] >= end[:, None, :], axis=2)
    step = slot - np.take_along_axis(end - available, which, axis=1)
    return which, np.take_along_axis(groups, which, axis=1), step


def hashes(unit: Held) -> UInt64[np.ndarray, " points"]:
    """Equal for equal bytes, and hardly ever otherwise."""
    # A sum over the columns modulo 2^64, each with an odd factor of its own. The shift keeps it
    # from being linear in the entries, where changes of two of them could cancel.
    factor = np.random.default_rng(0).integers(
        2**64, size=unit.shape[1], dtype=np.uint64
    ) | np.uint64(1)
    hashed = np.empty(len(unit), np.uint64)
    for start in range(0, len(unit), _CHUNK):
        rows = np.ascontiguousarray(lengthened(unit[start : start + _CHUNK]))
        bits = rows.view(np.uint32).astype(np.uint64)
        bits *= factor
        hashed[start : start + _CHUNK] = (bits ^ (bits >> np.uint64(29))).sum(
            axis=1, dtype=np.uint64
        )
    return hashed
