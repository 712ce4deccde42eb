"""What chains tell of one number that was recorded along them, by ArviZ."""

import math
from dataclasses import dataclass

import arviz_stats
import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Diagnosis:
    """`mean` and its Monte-Carlo standard error `mcse`, `r_hat` (rank-normalised), bulk effective
    sample size `ess`.
    """

    mean: float
    mcse: float
    r_hat: float
    ess: float


def diagnose(values: Float[np.ndarray, "chains draws"]) -> Diagnosis:
    """Of one number, in double precision."""
    values = np.ascontiguousarray(values, np.float64)
    return Diagnosis(
        mean=float(values.mean()),
        mcse=float(arviz_stats.mcse(values)),
        r_hat=float(arviz_stats.rhat(values)),
        ess=float(arviz_stats.ess(values)),
    )


def least_ess(values: Float[np.ndarray, "chains draws"]) -> float:
    """The smallest effective sample size of the mean and of three quantiles.

    A test of the whole law feels them all.
    """
    values = np.ascontiguousarray(values, np.float64)
    quantiles = [
        float(arviz_stats.ess(values, method="quantile", prob=level)) for level in (0.1, 0.5, 0.9)
    ]
    return min(float(arviz_stats.ess(values)), *quantiles)


def standard_score(one: Diagnosis, other: Diagnosis) -> float:
    """Difference of two means over its standard error."""
    return (one.mean - other.mean) / math.hypot(one.mcse, other.mcse)
