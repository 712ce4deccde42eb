"""Windows of vectors inside documents, running means over them, and the targets of a comparison."""

from collections.abc import Sequence
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float32, Int64

from sphere_ebm.errors import LabelError
from sphere_ebm.librarian.sequence.documents import Sequences
from sphere_ebm.librarian.windows import sequence_windows

SPANS: tuple[int, ...] = (1, 2, 5, 20, 100)
"""Lengths of the running means of a context of a hundred vectors."""

_LEAST_NORM = 1e-12


def spans_of(context: int) -> tuple[int, ...]:
    """Lengths of the running means that a context has: those of `SPANS` below it, and all of it."""
    return (*(span for span in SPANS if span < context), context)


@final
class Frame(NamedTuple):
    """How vectors are seen: around the mean of the training documents, and how long they were.

    - `mean` (D,): of the unit vectors of the training documents.
    - `norm_mean`, `norm_std`: of the logarithm of their norms.
    """

    mean: Float32[np.ndarray, " dim"]
    norm_mean: float
    norm_std: float

    def centred(self, vectors: Float32[np.ndarray, "rows dim"]) -> Float32[np.ndarray, "rows dim"]:
        """Unit vectors around the mean, of unit length again; zero rows stay zero.

        What all vectors have in common is in no cosine of these.
        """
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        around = vectors / np.maximum(norms, _LEAST_NORM) - self.mean
        around *= norms > 0
        lengths = np.linalg.norm(around, axis=1, keepdims=True)
        return np.asarray(around / np.maximum(lengths, _LEAST_NORM), np.float32)

    def inputs(
        self, vectors: Float32[np.ndarray, "rows dim"]
    ) -> Float32[np.ndarray, "rows features"]:
        """Centred vectors, and in a last column the logarithm of their norms, standardised."""
        logarithms = _log_norms(vectors)
        column = (logarithms - self.norm_mean) / self.norm_std
        return np.concatenate([self.centred(vectors), column[:, None]], axis=1, dtype=np.float32)


def fit_frame(sequences: Sequences) -> Frame:
    """The frame of the training documents."""
    rows = sequences.vectors[sequences.directed()]
    if not len(rows):
        raise LabelError("all vectors of the training documents are zero; give embeddings")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    logarithms = _log_norms(rows)
    spread = float(logarithms.std())
    mean = (rows / norms).mean(axis=0, dtype=np.float64)
    # unit vectors have one norm but for rounding, of which nothing can be learned
    return Frame(mean.astype(np.float32), float(logarithms.mean()), max(spread, 1e-3))


def _log_norms(vectors: Float32[np.ndarray, "rows dim"]) -> Float32[np.ndarray, " rows"]:
    return np.log(np.linalg.norm(vectors, axis=1) + np.float32(_LEAST_NORM))


@final
class Windows(NamedTuple):
    """Windows to train on. Every vector but the first of its document is a target once.

    - `begin` (W,): the first row that is seen.
    - `counted` (W, context): whether the vector after this step is a target of this window. Steps
      behind the end of a document are none.
    """

    begin: Int64[np.ndarray, " windows"]
    counted: Bool[np.ndarray, "windows context"]


def make_windows(sequences: Sequences, context: int) -> Windows:
    """Windows of `context` vectors that overlap by half, inside documents.

    A target in the overlap belongs to the window that sees more in front of it.
    """
    begins: list[int] = []
    counted: list[np.ndarray] = []
    steps = np.arange(context)
    for begin, end in zip(sequences.begins, sequences.begins[1:], strict=False):
        done = 0
        for window in sequence_windows(int(end - begin), context + 1, context // 2 + 1):
            targets = window.start + steps + 1
            mine = (targets > done) & (targets < end - begin)
            if mine.any():
                begins.append(int(begin) + window.start)
                counted.append(mine)
                done = int(targets[mine].max())
    shape = (len(counted), context)
    marks = np.array(counted, bool).reshape(shape)
    directed = sequences.directed()
    rows = np.minimum(np.array(begins, np.int64)[:, None] + steps + 1, len(directed) - 1)
    return Windows(np.array(begins, np.int64), marks & directed[rows])


def find_targets(sequences: Sequences, least: int) -> Int64[np.ndarray, " targets"]:
    """Rows to predict: those with at least `least` vectors of their document before them.

    Zero rows, which have no direction, are none.
    """
    return np.flatnonzero((sequences.before() >= least) & sequences.directed())


def running_means(
    inputs: Float32[np.ndarray, "rows dim"],
    sequences: Sequences,
    targets: Int64[np.ndarray, " targets"],
    spans: Sequence[int],
) -> Float32[np.ndarray, "targets spans dim"]:
    """Means of the last vectors before each target, of its document alone.

    Where a document has fewer before the target than a span, the mean is of those.
    """
    begins = sequences.begins[sequences.document()[targets]]
    sums = np.zeros((len(inputs) + 1, inputs.shape[1]))
    np.cumsum(inputs, axis=0, dtype=np.float64, out=sums[1:])
    out = np.empty((len(targets), len(spans), inputs.shape[1]), np.float32)
    for number, span in enumerate(spans):
        first = np.maximum(begins, targets - span)
        count = np.maximum(targets - first, 1)
        out[:, number] = (sums[targets] - sums[first]) / count[:, None]
    return out
