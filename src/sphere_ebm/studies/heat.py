"""Energy, heat capacity two ways, and order parameters of a map as functions of temperature.

Everything is configurational: momenta, where a sampler has them, would add 3/2 per point to each
heat capacity.
"""

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Float

from sphere_ebm.errors import require
from sphere_ebm.studies.samples import OF_THE_DYNAMICS, Samples


@final
@dataclass(frozen=True, eq=False)
class ThermodynamicCurve:
    """Averages at each temperature, in rising order, with one standard error each.

    Errors of different temperatures are taken as independent. Replica exchange correlates them
    somewhat.
    """

    temperature: Float[np.ndarray, " temperatures"]
    """T, in units of energy."""
    energy: Float[np.ndarray, " temperatures"]
    """⟨H⟩ of the whole map."""
    energy_error: Float[np.ndarray, " temperatures"]
    """One standard error of `energy`, from the effective sample size of the chains, as all errors
    here.
    """
    heat_capacity: Float[np.ndarray, " temperatures"]
    """From fluctuations, Var(H) / T², dimensionless (units of k_B), of the whole map."""
    heat_capacity_error: Float[np.ndarray, " temperatures"]
    heat_capacity_from_slope: Float[np.ndarray, " temperatures"]
    """d⟨H⟩/dT by finite differences between the temperatures (second order, so it needs three of
    them; not a number with fewer). Equal to the other by the law; different where chains have not
    reached it.
    """
    slope_error: Float[np.ndarray, " temperatures"]
    """Of `heat_capacity_from_slope`: what the energies leave open, and what finite differences miss
    where C bends between temperatures, as a fourth temperature beside the three shows it. Three
    temperatures alone cannot tell how C bends.
    """
    r_hat: Float[np.ndarray, " temperatures"]
    """R-hat of the energy: chains have not reached the law where it is above 1.05; not a number for
    one chain.
    """
    order: dict[str, Float[np.ndarray, " temperatures"]]
    """Mean of each observable."""
    order_error: dict[str, Float[np.ndarray, " temperatures"]]

    def disagreement(self) -> Float[np.ndarray, " temperatures"]:
        """Difference of the two heat capacities in standard errors."""
        difference = self.heat_capacity - self.heat_capacity_from_slope
        return difference / np.hypot(self.heat_capacity_error, self.slope_error)


def thermodynamics(samples: Samples) -> ThermodynamicCurve:
    """Averages over all draws of each temperature.

    Errors follow from the effective sample size of its chains (ArviZ).

    Needs the extra `studies`. Chains of one temperature count as repetitions: run several, from
    `replica_exchange` with `ladders` or from `sample_chains` with `samplers`.
    """
    temperature = np.unique(samples.temperature)
    groups = [samples.at_temperature(float(t)) for t in temperature]
    energy = np.asarray([_mean_and_error(group.total_energy) for group in groups])
    spread = np.asarray([_spread_and_error(group.total_energy) for group in groups])
    names = [name for name in samples.observables if name not in OF_THE_DYNAMICS]
    order = {
        name: np.asarray([_mean_and_error(group.observables[name]) for group in groups])
        for name in names
    }
    slope, slope_error = _slope(temperature, energy[:, 0], energy[:, 1])
    return ThermodynamicCurve(
        temperature=temperature,
        energy=energy[:, 0],
        energy_error=energy[:, 1],
        heat_capacity=(spread[:, 0] / temperature) ** 2,
        # d(σ²) = 2 σ dσ
        heat_capacity_error=2 * spread[:, 0] * spread[:, 1] / temperature**2,
        heat_capacity_from_slope=slope,
        slope_error=slope_error,
        r_hat=np.asarray([_r_hat(group.total_energy) for group in groups]),
        order={name: values[:, 0] for name, values in order.items()},
        order_error={name: values[:, 1] for name, values in order.items()},
    )


def _mean_and_error(draws: Float[np.ndarray, "chains draws"]) -> tuple[float, float]:
    values = draws.astype(np.float64)
    return float(values.mean()), float(_array_stats().mcse(values, method="mean"))


def _spread_and_error(draws: Float[np.ndarray, "chains draws"]) -> tuple[float, float]:
    return float(draws.std(ddof=1)), float(_array_stats().mcse(draws, method="sd"))


def _r_hat(draws: Float[np.ndarray, "chains draws"]) -> float:
    return float(_array_stats().rhat(draws)) if len(draws) > 1 else float("nan")


def _slope(
    at: Float[np.ndarray, " n"], value: Float[np.ndarray, " n"], error: Float[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Derivative by second-order differences, and its error.

    The weights are those of `numpy.gradient`.
    """
    if len(at) < 3:
        return np.full(len(at), np.nan), np.full(len(at), np.nan)
    weights = np.asarray(np.gradient(np.eye(len(at)), at, axis=0, edge_order=2))
    bend = [_bend(at, value, error, place) for place in range(len(at))]
    return weights @ value, np.sqrt(weights**2 @ error**2 + np.square(bend))


def _bend(
    at: Float[np.ndarray, " n"],
    value: Float[np.ndarray, " n"],
    error: Float[np.ndarray, " n"],
    place: int,
) -> float:
    """What the slope of the parabola through three points misses at one of them.

    By Newton's form it is f[x0, x1, x2, x3] Π (x - xj), the product over the other two. The divided
    difference is estimated from the nearest fourth point, less what errors alone make of it.
    """
    count = len(at)
    if count < 4:
        return 0.0
    first = min(max(place - 1, 0), count - 3)
    three = range(first, first + 3)
    beside = [row for row in (first - 1, first + 3) if 0 <= row < count]
    fourth = min(beside, key=lambda row: abs(at[row] - at[place]))
    rows = np.array([*three, fourth])
    gaps = at[rows][:, None] - at[rows][None, :]
    np.fill_diagonal(gaps, 1)
    weights = 1 / gaps.prod(axis=1)
    excess = (weights @ value[rows]) ** 2 - weights**2 @ error[rows] ** 2
    reach = np.prod([at[place] - at[row] for row in three if row != place])
    return float(abs(reach) * np.sqrt(max(excess, 0)))


def _array_stats() -> Any:
    require("arviz_stats", "studies", "a thermodynamic curve")
    from arviz_stats.base import array_stats

    return array_stats
