"""How good a prediction of the next vector is: cosine, rank among all, intervals over documents."""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

_BLOCK = 1024
_LEAST_NORM = 1e-12


def unit_rows(vectors: Float32[np.ndarray, "rows dim"]) -> Float32[np.ndarray, "rows dim"]:
    """Rows of unit length; zero rows stay zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(norms, _LEAST_NORM), np.float32)


def cosines(
    predicted: Float32[np.ndarray, "targets dim"], truth: Float32[np.ndarray, "targets dim"]
) -> Float32[np.ndarray, " targets"]:
    """Cosine of each prediction to the truth; 0 where one of them is zero."""
    return np.einsum("td,td->t", unit_rows(predicted), unit_rows(truth))


def ranks(
    predicted: Float32[np.ndarray, "targets dim"],
    candidates: Float32[np.ndarray, "rows dim"],
    targets: Int64[np.ndarray, " targets"],
    seen: int,
    directed: Bool[np.ndarray, " rows"],
) -> Float[np.ndarray, " targets"]:
    """Rank of the true next vector among all candidates by cosine to the prediction; 1 is best.

    The `seen` vectors in front of a target are no candidates of its own: they are known, and
    whoever repeats one of them would find it first. Candidates that are as near as the true one
    count half, so that a prediction without a direction has the middle rank.

    Args:
        predicted: for each target.
        candidates: all vectors of the test documents, unit length.
        targets: rows of the candidates.
        seen: how many rows before a target are left out.
        directed: rows that have a direction; others are no candidates.
    """
    found = np.empty(len(targets))
    for start in range(0, len(targets), _BLOCK):
        rows = targets[start : start + _BLOCK]
        scores = unit_rows(predicted[start : start + _BLOCK]) @ candidates.T
        here = np.arange(len(rows))
        true = scores[here, rows][:, None]
        scores[:, ~directed] = -np.inf
        for back in range(1, seen + 1):
            scores[here, rows - back] = -np.inf
        above = (scores > true).sum(axis=1)
        # the true one is as near as itself
        level = (scores == true).sum(axis=1) - 1
        found[start : start + _BLOCK] = 1 + above + level / 2
    return found


@final
class Interval(NamedTuple):
    """A mean over all targets, and the 95 % of its resampled values in the middle."""

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """The three numbers by name."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


def bootstrap(
    values: Float[np.ndarray, " targets"],
    document: Int64[np.ndarray, " targets"],
    resamples: int,
    seed: int,
) -> Interval:
    """The mean of values, with an interval from documents drawn with replacement.

    Vectors of one document are not independent, so that whole documents are drawn. For paired
    values give their differences. With one document the interval has no width and means nothing.
    """
    _, number = np.unique(document, return_inverse=True)
    sums = np.bincount(number, values)
    counts = np.bincount(number).astype(np.float64)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), resamples)
    means = (drawn @ sums) / (drawn @ counts)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
