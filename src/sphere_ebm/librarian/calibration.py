"""How far off a prediction is to be expected: learned on documents that it was not trained on.

A ridge of what a prediction shows of itself foretells its squared angle to the label; what it
foretells is then mapped to what was found among predictions like it, by monotone means.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Float32, Float64

from sphere_ebm.librarian.students.base import Arrays, checked_array

_KNOTS = 24
_RIDGE = 1e-3
_STRANGE = 2.0  # standard deviations
_LEAST = np.radians(0.5) ** 2  # nothing is surer than that: labels themselves are not


@final
@dataclass(frozen=True, eq=False)
class Calibration:
    """From signs of certainty to the expected angle and the chance of being right.

    Attributes:
        mean, scale: (F,) of the signs, to put them on one scale.
        slope: (F + 1,) of the ridge, the constant last.
        knots: (K,) what the ridge foretells, rising.
        squared, hit: (K,) squared angle and chance there.
    """

    mean: Float32[np.ndarray, " signs"]
    scale: Float32[np.ndarray, " signs"]
    slope: Float32[np.ndarray, " terms"]
    knots: Float32[np.ndarray, " knots"]
    squared: Float32[np.ndarray, " knots"]
    hit: Float32[np.ndarray, " knots"]

    @classmethod
    def fit(
        cls,
        signs: Float[np.ndarray, "patches signs"],
        squared: Float[np.ndarray, " patches"],
        hit: Float[np.ndarray, " patches"],
    ) -> "Calibration":
        """Learn from predictions whose labels are known; at least one.

        Args:
            signs: what each shows of itself.
            squared: squared angle to its label.
            hit: 1 where it counts as right, else 0.
        """
        from scipy.optimize import isotonic_regression  # which no map needs

        mean = signs.mean(axis=0)
        scale = np.maximum(signs.std(axis=0), 1e-6)
        terms = _terms((signs - mean) / scale)
        weight = terms.T @ terms + _RIDGE * len(terms) * np.eye(terms.shape[1])
        # roots tame the few that are on the other side of the sphere
        slope = np.linalg.solve(weight, terms.T @ np.sqrt(np.maximum(squared, _LEAST)))
        order = np.argsort(terms @ slope, kind="stable")
        groups = np.array_split(order, min(_KNOTS, len(order)))
        foretold = [float((terms[group] @ slope).mean()) for group in groups]
        sizes = np.array([len(group) for group in groups], np.float64)
        found = np.array([float(squared[group].mean()) for group in groups])
        right = np.array([float(hit[group].mean()) for group in groups])
        # a bin says little by itself: as if one more label at the mean had been seen in it
        right = (right * sizes + right.mean()) / (sizes + 1)
        rising = isotonic_regression(np.maximum(found, _LEAST), weights=sizes).x
        falling = isotonic_regression(right, weights=sizes, increasing=False).x
        columns = (mean, scale, slope, np.array(foretold), rising, falling)
        return cls(*(np.asarray(column, np.float32) for column in columns))

    def expected(
        self, signs: Float[np.ndarray, "patches signs"]
    ) -> tuple[Float32[np.ndarray, " patches"], Float32[np.ndarray, " patches"]]:
        """Root mean square angle in radians, and the chance of being right, of each prediction."""
        terms = _terms((signs - self.mean) / self.scale)
        foretold = terms @ self.slope
        spread = np.sqrt(np.interp(foretold, self.knots, self.squared))
        hit = np.interp(foretold, self.knots, self.hit)
        return spread.astype(np.float32), hit.astype(np.float32)

    def arrays(self, name: str) -> Arrays:
        """What `from_arrays` reads, under this name."""
        return {f"{name}.{field}": value for field, value in vars(self).items()}

    @classmethod
    def from_arrays(cls, name: str, arrays: Mapping[str, np.ndarray]) -> "Calibration":
        """What `arrays` gave. Raises ValueError for arrays that do not fit."""
        mean = checked_array(arrays, f"{name}.mean", [None], np.float32)
        knots = checked_array(arrays, f"{name}.knots", [None], np.float32)
        count = len(mean)
        terms = 1 + count
        return cls(
            mean,
            checked_array(arrays, f"{name}.scale", [count], np.float32),
            checked_array(arrays, f"{name}.slope", [terms], np.float32),
            knots,
            checked_array(arrays, f"{name}.squared", [len(knots)], np.float32),
            checked_array(arrays, f"{name}.hit", [len(knots)], np.float32),
        )


def _terms(signs: Float[np.ndarray, "patches signs"]) -> Float64[np.ndarray, "patches terms"]:
    """The signs, of which none may be so strange that it alone makes sure, and a constant."""
    tamed = np.clip(signs.astype(np.float64), -_STRANGE, _STRANGE)
    return np.concatenate([tamed, np.ones((len(signs), 1))], axis=1)
