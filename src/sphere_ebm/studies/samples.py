"""`Samples`: what several chains drew, and what ArviZ says of it."""

import warnings
from dataclasses import dataclass
from typing import Any, final

import jax
import numpy as np
from jaxtyping import Float, Shaped

from sphere_ebm.errors import ConvergenceWarning, require
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.moments import Moments

R_HAT_LIMIT = 1.05
"""Above it, `Samples.summary` warns: chains that agree stay below 1.01 when they are long (Vehtari
et al. 2021).
"""


@final
@dataclass(frozen=True, eq=False)
class Samples:
    """Draws from a Gibbs law. Energies in the units of T, radii in shell units.

    Attributes:
        temperature: T of each chain, shape (chains,).
        energy: of each term, name -> shape (chains, draws).
        observables: what observers and samplers recorded, name -> shape (chains, draws).
            Metropolis-adjusted schemes record `acceptance` (a probability) and `step_size`,
            `Underdamped` its `kinetic_energy` per point.
        moments: of every point over the draws of each chain: leaves of shape (chains,), (chains, n,
            3), (chains, n).
        last: the configuration at the end of each chain, shapes (chains, n, 3) and (chains, n).
        thin: steps between two draws. warmup: steps before the first.
        states: every configuration drawn, shapes (chains, draws, n, 3) and (chains, draws, n), if
            they were kept.
        records, memory: what each observer that was given recorded, shape (chains, draws, ...), and
            carried at the end.
        notes: what a reader should know about the input.
    """

    temperature: Float[np.ndarray, " chains"]
    energy: dict[str, Float[np.ndarray, "chains draws"]]
    observables: dict[str, Shaped[np.ndarray, "chains draws"]]
    moments: Moments
    last: SphereState
    thin: int
    warmup: int
    states: SphereState | None = None
    records: tuple[Any, ...] = ()
    memory: tuple[Any, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def total_energy(self) -> Float[np.ndarray, "chains draws"]:
        """H, the sum over terms, in double precision."""
        return np.sum([values.astype(np.float64) for values in self.energy.values()], axis=0)

    @property
    def acceptance(self) -> Float[np.ndarray, " chains"]:
        """Mean probability of acceptance of each chain; 1 for schemes that accept everything."""
        seen = self.observables.get("acceptance")
        return (
            np.ones(len(self.temperature)) if seen is None else seen.mean(axis=1, dtype=np.float64)
        )

    def to_arviz(self) -> Any:
        """An `xarray.DataTree` in ArviZ's form. Needs the extra `studies`.

        Group `posterior`: `energy` (the total), `energy_<term>` and the observables that the law
        determines, all invariant under rotations of the map, dimensions (chain, draw). Group
        `sample_stats`: `lp`, the logarithm of the unnormalised density -H / T, and what tells of
        the dynamics, `OF_THE_DYNAMICS`. Raises ValueError at T = 0.
        """
        base = require("arviz_base", "studies", "the conversion to ArviZ")
        energy = {"energy": self.total_energy} | {
            f"energy_{name}": values for name, values in self.energy.items()
        }
        own = {name: values for name, values in self.observables.items() if name in OF_THE_DYNAMICS}
        seen = {name: values for name, values in self.observables.items() if name not in own}
        if not np.all(self.temperature > 0):
            raise ValueError(
                f"a law needs a positive temperature; got T = {self.temperature.min()}."
            )
        lp = -self.total_energy / self.temperature[:, None]
        return base.from_dict({"posterior": energy | seen, "sample_stats": {"lp": lp} | own})

    def summary(self) -> Any:
        """ArviZ's table, with a row for each variable of the group `posterior`.

        Its columns are mean, spread, R-hat, bulk and tail effective sample size and Monte-Carlo
        standard error. All chains must have one temperature. Warns (ConvergenceWarning) of
        variables that vary and whose R-hat is above 1.05, and of a single chain. Needs the extra
        `studies`.
        """
        stats = require("arviz_stats", "studies", "the summary")
        if np.ptp(self.temperature) > 0:
            raise ValueError(
                "`summary` compares chains of one temperature; pick one: samples.at_temperature(T)."
            )
        # what never changes, as a term of strength 0, has no R-hat
        with np.errstate(invalid="ignore", divide="ignore"):
            table = stats.summary(self.to_arviz(), round_to="none")
        if len(self.temperature) == 1:
            warnings.warn(
                "one chain has nobody to disagree with: run two or more.",
                ConvergenceWarning,
                stacklevel=2,
            )
            return table
        rated = table["r_hat"][table["sd"] > 0].items()
        bad = [f"{name} ({value:.3f})" for name, value in rated if not value <= R_HAT_LIMIT]
        if bad:
            warnings.warn(
                f"chains disagree: R-hat is above {R_HAT_LIMIT} for {', '.join(bad)}. Draw more,"
                " thin more, or warm up for longer; a map with several basins may need a ladder of"
                " temperatures (replica_exchange).",
                ConvergenceWarning,
                stacklevel=2,
            )
        return table

    def at_temperature(self, temperature: float) -> "Samples":
        """The chains of one temperature. Raises ValueError when there are none."""
        chosen = np.isclose(self.temperature, temperature, rtol=1e-5)
        if not chosen.any():
            raise ValueError(
                f"no chain has T = {temperature}; there are {np.unique(self.temperature)}."
            )

        def pick(state: Any) -> Any:
            return type(state)(
                *(x[chosen] if isinstance(x, np.ndarray) else pick(x) for x in state)
            )

        return Samples(
            temperature=self.temperature[chosen],
            energy={name: values[chosen] for name, values in self.energy.items()},
            observables={name: values[chosen] for name, values in self.observables.items()},
            moments=pick(self.moments),
            last=pick(self.last),
            thin=self.thin,
            warmup=self.warmup,
            states=None if self.states is None else pick(self.states),
            records=tuple(jax.tree.map(lambda x: x[chosen], each) for each in self.records),
            memory=tuple(jax.tree.map(lambda x: x[chosen], each) for each in self.memory),
            notes=self.notes,
        )


OF_THE_DYNAMICS = (
    "acceptance",
    "step_size",
    "kinetic_energy",
    "squared_displacement",
    "moved",
    "replica",
)
"""Observables that tell of the way, not of the law: chains at equilibrium need not agree about
them.
"""
