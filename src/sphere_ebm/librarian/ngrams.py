"""A bag of vectors for the n-grams of bytes: what it says of windows, and how it learns."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import final

import numpy as np
from jaxtyping import Float32, UInt32

from sphere_ebm.librarian.ngram_kernel import BUCKETS, KINDS, counted
from sphere_ebm.librarian.window_kernel import adagrad, gradients, sums
from sphere_ebm.librarian.windows import Passages


@final
class Bag:
    """A vector for each of the n-grams that were frequent in a corpus; others have none.

    Attributes:
        keys: their buckets, rising.
        vectors: (rows, width).
    """

    def __init__(
        self, keys: UInt32[np.ndarray, " rows"], vectors: Float32[np.ndarray, "rows width"]
    ) -> None:
        self.keys = keys
        self.vectors = vectors
        self._table = np.full(BUCKETS, -1, np.int32)
        self._table[keys] = np.arange(len(keys), dtype=np.int32)

    @classmethod
    def counted(
        cls, corpus: Iterable[Passages], rows: int, width: int, reach: int, seed: int
    ) -> "Bag":
        """A bag of the `rows` fullest buckets of a corpus, with small random vectors.

        Patches that see nothing around them (`reach` 0) are cut into n-grams by themselves.
        """
        counts = np.zeros(BUCKETS, np.int64)
        for one in corpus:
            if not len(one):
                continue
            if reach:
                counted(one.octets, KINDS, int(one.low.min()), int(one.high.max()), counts)
                continue
            for first, last in zip(one.first.tolist(), one.last.tolist(), strict=True):
                counted(one.octets, KINDS, first, last, counts)
        order = np.argsort(-counts, kind="stable")[:rows]
        keys = np.sort(order[counts[order] > 0]).astype(np.uint32)
        random = np.random.default_rng([seed, rows])
        vectors = 1e-3 * random.standard_normal((len(keys), width), np.float32)
        return cls(keys, vectors.astype(np.float32))

    def sums(
        self, passages: Passages, reaches: Sequence[int]
    ) -> Float32[np.ndarray, "patches reaches width"]:
        """Sums of vectors in the windows that reach so many bytes beyond each patch, rising."""
        out = np.zeros((len(passages), len(reaches), self.vectors.shape[1]), np.float32)
        if len(passages) and len(self.keys):
            sums(*self._reading(passages, reaches, self.vectors), out)
        return out

    def _reading(
        self, passages: Passages, reaches: Sequence[int], *vectors: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """What every kernel is told of the patches."""
        seen = passages if reaches[-1] else passages.within(0)
        bounds = (seen.low, seen.first, seen.last, seen.high, np.asarray(reaches, np.int64))
        return (seen.octets, KINDS, self._table, *vectors, *bounds)


@final
class BagLearner:
    """Row-wise Adagrad for the vectors of a bag (Duchi et al. 2011, one rate for each row).

    Gradients are added up until `step`. While it learns, a share `drop` of the n-grams is left out
    of each batch, drawn anew: a word that is known must not stop its parts from being learned,
    which are all that there is of a word that no one has met.
    """

    def __init__(self, bag: Bag, drop: float, seed: int) -> None:
        rows = len(bag.keys)
        self.bag = bag
        self.squares = np.zeros(rows, np.float32)
        self._drop = drop
        self._seed = seed
        self._slot = np.full(rows, -1, np.int64)
        self._touched = np.empty(rows, np.int64)
        self._met = 0
        self._gradient = np.empty(bag.vectors.shape, np.float32)

    @contextmanager
    def dropping(self, step: int) -> Iterator[None]:
        """Leave a share of the n-grams out, in sums and gradients alike."""
        random = np.random.default_rng([self._seed, step])
        out = self.bag.keys[random.random(len(self.bag.keys)) < self._drop]
        table = self.bag._table
        kept = table[out]
        table[out] = -1
        try:
            yield
        finally:
            table[out] = kept

    def add(
        self,
        passages: Passages,
        reaches: Sequence[int],
        gradient: Float32[np.ndarray, "patches reaches width"],
    ) -> None:
        """Add the gradients that those of the sums are for the vectors."""
        if not len(self.bag.keys):
            return
        self._met = gradients(
            *self.bag._reading(passages, reaches),
            gradient,
            self._slot,
            self._touched,
            self._met,
            self._gradient,
        )

    def step(self, rate: float) -> None:
        """Take a step against the gradients that were added since the last one."""
        own = (self._slot, self._touched, self._met, self._gradient)
        adagrad(self.bag.vectors, self.squares, *own, rate)
        self._met = 0
