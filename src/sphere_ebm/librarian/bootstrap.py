"""Intervals by resampling whole documents: patches of one document are not independent.

Two students are compared on the same draws of documents, so that what is hard about a document
falls out of their difference.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int

DRAWS = 1000
CONFIDENCE = 0.95

Statistic = Callable[
    [Float[np.ndarray, " patches"], Int[np.ndarray, " patches"], Float64[np.ndarray, "draws docs"]],
    Float64[np.ndarray, " draws"],
]
"""Of values, their documents, and how often each document was drawn."""


class Interval(NamedTuple):
    """A figure with the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def above_zero(self) -> bool:
        """Whether zero lies below the interval."""
        return self.low > 0


def document_draws(
    documents: int, seed: int = 0, draws: int = DRAWS
) -> Float64[np.ndarray, "draws docs"]:
    """How often each of so many documents is drawn, with replacement, in each draw."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(documents, np.full(documents, 1 / documents), draws).astype(np.float64)


def means(
    values: Float[np.ndarray, " patches"],
    document: Int[np.ndarray, " patches"],
    drawn: Float64[np.ndarray, "draws docs"],
) -> Float64[np.ndarray, " draws"]:
    """The mean of the patches of each draw; nan for a draw without patches."""
    documents = drawn.shape[1]
    sums = np.bincount(document, values.astype(np.float64), documents)
    counts = np.bincount(document, minlength=documents)
    with np.errstate(invalid="ignore"):
        return (drawn @ sums) / (drawn @ counts)


def medians(
    values: Float[np.ndarray, " patches"],
    document: Int[np.ndarray, " patches"],
    drawn: Float64[np.ndarray, "draws docs"],
) -> Float64[np.ndarray, " draws"]:
    """The lower median of the patches of each draw; nan for a draw without patches."""
    order = np.argsort(values, kind="stable")
    ranked = values[order].astype(np.float64)
    owner = document[order]
    found = np.full(len(drawn), np.nan)
    for number, times in enumerate(drawn):
        reached = np.cumsum(times[owner])
        if len(reached) and reached[-1] > 0:
            found[number] = ranked[np.searchsorted(reached, reached[-1] / 2)]
    return found


def interval(
    values: Float[np.ndarray, " patches"],
    document: Int[np.ndarray, " patches"],
    statistic: Statistic = means,
    *,
    against: Float[np.ndarray, " others"] | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> Interval:
    """A statistic of the patches, with its interval over documents.

    Args:
        values: one for each patch.
        document: numbers of the patches' documents, from 0 on.
        statistic: `means` or `medians`.
        against: values of another student for the same patches: then the figure is by how much the
            statistic of `values` exceeds that of these, on the same draws.
        seed: of the draws.
        draws: how many.

    Raises:
        ValueError: no patches, or arrays of different lengths.
    """
    lengths = {len(values), len(document), len(values if against is None else against)}
    if lengths == {0} or len(lengths) != 1:
        raise ValueError(
            f"`values`, `document` and `against` must be about the same patches, at least one; got"
            f" {sorted(lengths)} of them."
        )
    _, numbered = np.unique(document, return_inverse=True)
    documents = int(numbered.max()) + 1
    # the first draw takes every document once: the figure itself
    drawn = np.concatenate([np.ones((1, documents)), document_draws(documents, seed, draws)])
    found = statistic(values, numbered, drawn)
    if against is not None:
        found = found - statistic(against, numbered, drawn)
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found[1:], (outside, 1 - outside))
    return Interval(float(found[0]), float(low), float(high))
