"""Documents of vectors for tests of next-vector models."""

import numpy as np

from builders import unit
from sphere_ebm.librarian.sequence.documents import Sequences


def documents_of(*lengths: int, width: int = 4, seed: int = 0) -> Sequences:
    """Documents of random vectors, so many in each."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((sum(lengths), width)).astype(np.float32)
    begins = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Sequences(vectors, begins, tuple(f"d{n}" for n in range(len(lengths))))


def turning(documents: int, length: int, *, width: int = 4, seed: int = 0) -> Sequences:
    """Documents in which the next vector is the last one, turned by one rotation for all.

    No weighted mean of two or three spans points there; a linear map of the last vector does.
    """
    rng = np.random.default_rng(seed)
    rotation = np.linalg.qr(np.random.default_rng(99).standard_normal((width, width)))[0]
    rows = []
    for _ in range(documents):
        vector = unit(rng.standard_normal(width))
        for _ in range(length):
            rows.append(vector)
            vector = rotation @ vector
    begins = np.arange(documents + 1) * length
    return Sequences(np.array(rows, np.float32), begins, tuple(f"d{n}" for n in range(documents)))
