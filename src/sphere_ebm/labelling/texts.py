"""The documents of label files, and which of their patches holds a passage."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Int64, UInt8

from sphere_ebm.errors import LabelError
from sphere_ebm.files.shards.labels import Labels

# what `str.split` splits at, in UTF-8
_SPACES = (
    rb"(?:\s|[\x1c-\x1f]|\xc2[\x85\xa0]|\xe1\x9a\x80"
    rb"|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f|\xe3\x80\x80)+"
)


@final
@dataclass(frozen=True)
class Neighbour:
    """A patch near the passage.

    `angle` is in radians; `cosine` is that of the embeddings, in [-1, 1], and `far` tells that it
    is no nearer there than chance would have it (see `Surroundings`); `start` is its first byte in
    its document (in UTF-8), `patch` its own bytes, `before` and `after` those around it there.
    """

    angle: float
    document: str
    start: int
    patch: bytes
    before: bytes
    after: bytes
    cosine: float = 1.0
    far: bool = False


class Text(NamedTuple):
    """One document: its name, its bytes, and where each of its patches begins.

    The number of bytes comes last.
    """

    name: str
    octets: UInt8[np.ndarray, " bytes"]
    offset: Int64[np.ndarray, " offsets"]

    def neighbour(self, patch: int, angle: float, context: int) -> Neighbour:
        """A patch of it, with so many bytes of what is before and after."""
        begin, end = (int(n) for n in self.offset[patch : patch + 2])
        before = self.octets[max(begin - context, 0) : begin]
        after = self.octets[end : end + context]
        return Neighbour(
            angle,
            self.name,
            begin,
            self.octets[begin:end].tobytes(),
            before.tobytes(),
            after.tobytes(),
        )


def texts_of(labels: Labels) -> Iterator[Text]:
    """The documents of a label file that have patches."""
    if labels.bytes is None or labels.bytes_offset is None:
        raise LabelError(
            f"{labels.path} holds no bytes: make the map from text, or from shards with bytes"
        )
    documents = labels.named_documents
    if labels.own.by_row:
        documents = [(f"{labels.file_name} {name}", 1) for name in _names_of_rows(labels)]
    row = 0
    for name, patches in documents:
        if patches:
            offset = labels.bytes_offset[row : row + patches + 1]
            yield Text(name, labels.bytes[offset[0] : offset[-1]], offset - offset[0])
        row += patches


def _names_of_rows(labels: Labels) -> list[str]:
    """What the rows of a table are called: by their ids, else they are counted from 0."""
    own = labels.own
    ids = own.values[own.id].tolist() if own.id is not None else [""] * len(labels)
    return [name or f"row {row}" for row, name in enumerate(ids)]


def held_by(texts: Sequence[Text], passage: str) -> int | None:
    """Number of the patch that holds the middle of the passage, in the first text that holds it."""
    words = re.compile(_SPACES.join(re.escape(word.encode()) for word in passage.split()))
    first = 0
    for text in texts:
        if match := words.search(text.octets.tobytes()):
            middle = (match.start() + match.end() - 1) // 2
            return first + int(np.searchsorted(text.offset, middle, side="right")) - 1
        first += len(text.offset) - 1
    return None
