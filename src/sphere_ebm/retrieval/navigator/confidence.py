"""From a raw score to a probability that was counted: isotonic regression with a weak prior."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Bool, Float, Float64
from scipy.optimize import isotonic_regression


@final
@dataclass(frozen=True, eq=False)
class ConfidenceCurve:
    """A rising curve from a raw score to the probability of success.

    It is linear between knots and level beyond them.

    Attributes:
        score: (knots,) increasing raw scores.
        probability: (knots,) not falling, within (0, 1).
    """

    score: Float64[np.ndarray, " knots"]
    probability: Float64[np.ndarray, " knots"]

    @classmethod
    def fit(
        cls, score: Float[np.ndarray, " trials"], success: Bool[np.ndarray, " trials"]
    ) -> "ConfidenceCurve":
        """The best rising step function, by pooling adjacent violators.

        Each of its levels is (s + 1) / (n + 2) for s of n.

        The prior keeps a level of few trials from claiming certainty (Laplace's rule); what it
        brings out of order is pooled again. Steps become knots at the mean score of their level.

        Raises:
            ValueError: there is no trial.
        """
        if not len(score):
            raise ValueError(
                "`score` must hold at least one trial; got none. Raise the number of"
                " pseudo-queries."
            )
        order = np.argsort(score, kind="stable")
        ranked = score[order].astype(np.float64)
        outcome = success[order].astype(np.float64)
        blocks = isotonic_regression(outcome).blocks
        size = np.diff(blocks)
        level = (np.add.reduceat(outcome, blocks[:-1]) + 1) / (size + 2)
        level = isotonic_regression(level, weights=size).x
        return cls(np.add.reduceat(ranked, blocks[:-1]) / size, level)

    def __call__(self, score: Float[np.ndarray, " asked"]) -> Float64[np.ndarray, " asked"]:
        """Probability of success at raw scores."""
        return np.interp(score, self.score, self.probability)
