"""Windows: the bytes of a patch with those around it, and runs of vectors inside documents."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Int64, UInt8

SHORT = 5
LONG = 100
OVERLAP = 50
"""Vectors in a short and in a long window, and those that two long ones share."""


@final
@dataclass(frozen=True, eq=False)
class Passages:
    """N patches in their texts: all that any student sees.

    Patch i is `octets[first[i]:last[i]]`, and its text `octets[low[i]:high[i]]` holds it. Nothing
    outside of the text may be looked at; texts of several patches may be the same, and then patches
    come in rising order.
    """

    octets: UInt8[np.ndarray, " bytes"]
    low: Int64[np.ndarray, " patches"]
    first: Int64[np.ndarray, " patches"]
    last: Int64[np.ndarray, " patches"]
    high: Int64[np.ndarray, " patches"]

    def __len__(self) -> int:
        return len(self.first)

    def rows(self, begin: int, end: int) -> "Passages":
        """The patches from `begin` to `end`, with the same bytes."""
        part = slice(begin, end)
        return Passages(
            self.octets, self.low[part], self.first[part], self.last[part], self.high[part]
        )

    def within(self, reach: int) -> "Passages":
        """The same patches, each in a text of its own: at most `reach` bytes on either side."""
        low = np.maximum(self.low, self.first - reach)
        high = np.minimum(self.high, self.last + reach)
        return Passages(self.octets, low, self.first, self.last, high)


def passages_of(
    texts: Sequence[bytes | str],
    before: Sequence[bytes | str] | None = None,
    after: Sequence[bytes | str] | None = None,
) -> Passages:
    """Patches with what stands before and after each; texts are taken in UTF-8.

    Raises:
        ValueError: `before` or `after` of another length than `texts`, or a lone surrogate.
    """
    nothing = [b""] * len(texts)
    parts = {"texts": texts, "before": before or nothing, "after": after or nothing}
    for name, given in parts.items():
        if len(given) != len(texts):
            raise ValueError(f"`{name}` must have {len(texts)} entries; got {len(given)}.")
    held = {name: [_octets(name, one) for one in given] for name, given in parts.items()}
    joined = [
        part
        for three in zip(held["before"], held["texts"], held["after"], strict=True)
        for part in three
    ]
    ends = np.cumsum([0, *map(len, joined)], dtype=np.int64)
    return Passages(
        np.frombuffer(b"".join(joined), np.uint8),
        ends[0:-1:3],
        ends[1::3],
        ends[2::3],
        ends[3::3],
    )


def _octets(name: str, text: bytes | str) -> bytes:
    try:
        return text.encode() if isinstance(text, str) else bytes(text)
    except UnicodeEncodeError as error:
        raise ValueError(
            f"`{name}` must be text that UTF-8 can hold; it has a lone surrogate."
        ) from error


def document_passages(
    octets: UInt8[np.ndarray, " bytes"], offset: Int64[np.ndarray, " offsets"]
) -> Passages:
    """All patches of one document, `offset` their starts in it and its length last."""
    first = offset[:-1].astype(np.int64)
    low = np.full(len(first), offset[0], np.int64)
    high = np.full(len(first), offset[-1], np.int64)
    return Passages(octets, low, first, offset[1:].astype(np.int64), high)


def stacked(parts: Sequence[Passages]) -> Passages:
    """Patches of several arrays of bytes, one after another, in one array."""
    shift = np.cumsum([0, *(len(part.octets) for part in parts)], dtype=np.int64)
    columns: list[np.ndarray] = []
    for name in ("low", "first", "last", "high"):
        moved = [vars(part)[name] + by for part, by in zip(parts, shift[:-1], strict=True)]
        columns.append(np.concatenate([np.zeros(0, np.int64), *moved]))
    octets = [part.octets for part in parts]
    return Passages(np.concatenate([np.zeros(0, np.uint8), *octets]), *columns)


def sequence_windows(patches: int, length: int, overlap: int) -> Iterator[slice]:
    """Windows of `length` rows that begin every `length - overlap` rows of one document.

    The last one ends with the document; a document that is shorter has one window, all of it.

    Raises:
        ValueError: a length below 1, or an overlap that is not in [0, length).
    """
    if length < 1 or not 0 <= overlap < length:
        raise ValueError(
            f"`length` must be at least 1 and `overlap` in [0, length); got {length} and {overlap}."
        )
    start = 0
    while start < patches:
        end = min(start + length, patches)
        yield slice(max(end - length, 0), end)
        if end == patches:
            return
        start += length - overlap
