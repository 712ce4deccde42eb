"""Texts cut into patches as `sphere-ebm map` cuts them, for a student to read."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from sphere_ebm.files.shards.table import whole_names
from sphere_ebm.librarian.windows import Passages, document_passages
from sphere_ebm.text.base import AbstractEntropyModel
from sphere_ebm.text.byte_model import ByteModel
from sphere_ebm.text.documents import read_texts
from sphere_ebm.text.finding import find_texts
from sphere_ebm.text.patching import Patching, find_threshold, patch_lengths

MEAN_LENGTH = 32.0
"""Bytes that a patch has on average, as those of a map by default."""


class ReadText(NamedTuple):
    """A document, and its patches in it."""

    name: str
    passages: Passages


def cut_files(
    inputs: Sequence[Path | str], entropy: AbstractEntropyModel | None = None
) -> list[ReadText]:
    """All documents of files, folders and globs, cut into patches.

    Raises:
        ShardError: an input that cannot be read.
        MissingPackageError: without the package `numba`.
    """
    found = []
    model = entropy or ByteModel()
    for item in find_texts(inputs):
        text = read_texts(item)
        parts = np.split(text.octets, np.cumsum(text.lengths)[:-1])
        names = whole_names(text.documents, text.name)
        for name, octets in zip(names, parts, strict=True):
            found.append(ReadText(name, cut(octets, model)))
    return found


def cut(
    octets: UInt8[np.ndarray, " bytes"], entropy: AbstractEntropyModel | None = None
) -> Passages:
    """The patches of one document: they begin where the next byte is uncertain."""
    if not len(octets):
        return document_passages(octets, np.zeros(1, np.int64))
    read = (entropy or ByteModel()).read(octets).entropies
    patching = Patching("monotonic", None, None, 384, utf8_safe=True, forced_starts=False)
    threshold = find_threshold([(octets, read)], MEAN_LENGTH, patching)
    lengths = patch_lengths(octets, read, replace(patching, threshold=threshold))
    return document_passages(octets, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
