"""Arrays that are mapped from files, on their way to another process: the file is named instead."""

import mmap
from typing import Literal, NamedTuple

import numpy as np


class Mapped(NamedTuple):
    """A file that an array is mapped from: its shape, and where in the file it begins."""

    path: str
    dtype: str
    shape: tuple[int, ...]
    offset: int


def portable(array: np.ndarray) -> "np.ndarray | Mapped":
    """What of an array is sent to another process: not what it can map from a file itself."""
    owner = array
    while isinstance(owner.base, np.memmap):
        owner = owner.base
    begins = isinstance(owner.base, mmap.mmap) and array.ctypes.data == owner.ctypes.data
    if not isinstance(owner, np.memmap) or not begins or not array.flags.c_contiguous:
        return array
    return Mapped(str(owner.filename), array.dtype.str, array.shape, owner.offset)


def unmapped(sent: "np.ndarray | Mapped", mode: Literal["r", "r+"] = "r") -> np.ndarray:
    """The array again; one that is mapped from a file can be read only, unless `mode` is "r+"."""
    if isinstance(sent, np.ndarray):
        return sent
    dtype = np.dtype(sent.dtype)
    if 0 in sent.shape:  # nothing of a file can be mapped
        return np.zeros(sent.shape, dtype)
    return np.memmap(sent.path, dtype, mode, sent.offset, sent.shape)
