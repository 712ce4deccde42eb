"""How far the points of a map have moved that was updated, told by document and by point."""

import heapq
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64

from sphere_ebm.labelling.sources import Source, offsets
from sphere_ebm.maps.growth import Drift

FARTHEST = 10
"""Points that are named because they moved most."""


class Moved(NamedTuple):
    """A point of the older map: its document, its number there, and how far it moved."""

    document: str
    patch: int
    degrees: float


def moved_by_document(
    sources: Sequence[Source],
    held: Bool[np.ndarray, " points"],
    degrees: Float64[np.ndarray, " points"],
) -> dict[str, Drift]:
    """How far the held points of each document moved; those of one name are counted together."""
    found: dict[str, list[np.ndarray]] = {}
    for name, _, moved in _documents(sources, held, degrees):
        if len(moved):
            found.setdefault(name, []).append(moved)
    return {name: Drift.of(np.concatenate(parts)) for name, parts in found.items()}


def moved_farthest(
    sources: Sequence[Source],
    held: Bool[np.ndarray, " points"],
    degrees: Float64[np.ndarray, " points"],
) -> tuple[Moved, ...]:
    """The `FARTHEST` held points that moved most."""
    moved = [
        Moved(name, int(patch), float(angle))
        for name, patches, angles in _documents(sources, held, degrees)
        for patch, angle in zip(patches, angles, strict=True)
    ]
    return tuple(heapq.nlargest(FARTHEST, moved, key=lambda one: one.degrees))


def _documents(
    sources: Sequence[Source],
    held: Bool[np.ndarray, " points"],
    degrees: Float64[np.ndarray, " points"],
) -> Iterator[tuple[str, Int64[np.ndarray, " rows"], Float64[np.ndarray, " rows"]]]:
    """Every document's name, and of its held points the numbers and how far they moved."""
    for source, begin in zip(sources, offsets(sources), strict=False):
        table = source.table
        for number, name in enumerate(table.named_documents):
            rows = np.flatnonzero(table.document == number)
            here = held[begin + rows]
            patches = np.arange(len(rows))
            yield name, patches[here], degrees[begin + rows[here]]
