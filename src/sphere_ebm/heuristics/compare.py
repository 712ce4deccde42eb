"""`compare`: the same points placed by every method, and measured alike.

One Hamiltonian and one report of quality measure them all.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import ArrayLike
from thrml import FactorSamplingProgram

from sphere_ebm.filling.presets import PRESETS, Preset
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.heuristics.water_filling import capacity_sort, water_filling
from sphere_ebm.maps.checks import checked_config, checked_embeddings, checked_prominence
from sphere_ebm.maps.config import PlacementConfig, shells_of
from sphere_ebm.maps.place import hamiltonian_factors, make_sampler, place
from sphere_ebm.maps.placement import Placement
from sphere_ebm.maps.problem import pose
from sphere_ebm.maps.starts import random_directions
from sphere_ebm.progress import StageProgress
from sphere_ebm.quality.report import QualityReport
from sphere_ebm.sampling.programs import build_program, energies, sphere_block


@final
@dataclass(frozen=True, eq=False)
class Compared:
    """One method on the data.

    Attributes:
        method: a name of `METHODS`.
        placement: what it made.
        energy: of each term of the Hamiltonian per point, at the placement's directions and radii.
        quality: of the placement.
        seconds: wall time of the method alone, with what it had to compile.
    """

    method: str
    placement: Placement
    energy: dict[str, float]
    quality: QualityReport
    seconds: float

    @property
    def total_energy(self) -> float:
        """H per point."""
        return sum(self.energy.values())

    def row(self) -> dict[str, Any]:
        """The measures as flat numbers, for a table; what is undefined is left out."""
        deviation = self.quality.shell_deviation
        spearman = self.quality.prominence_spearman
        values: dict[str, Any] = {f"energy {name}": value for name, value in self.energy.items()}
        values["energy"] = self.total_energy
        values |= {f"recall@{k}": value for k, value in self.quality.recall.items()}
        values |= {
            f"trustworthiness@{k}": v for k, v in list(self.quality.trustworthiness.items())[:1]
        }
        values["shell deviation"] = None if deviation is None else deviation.mean_relative
        values["prominence rho"] = spearman
        values["seconds"] = self.seconds
        return {
            name: value
            for name, value in values.items()
            if value is not None and not np.isnan(value)
        }


def _random(
    embeddings: Float32[np.ndarray, "n width"], order: Float64[np.ndarray, " n"], c: PlacementConfig
) -> Placement:
    """Independent uniform directions, and radii that follow the capacities in random order."""
    drawn = np.random.default_rng([c.seed, 2]).random(len(order))
    found = capacity_sort(embeddings, drawn, c, start=random_directions(len(order), c.seed))
    return dataclasses.replace(found, prominence=order.astype(np.float32), method="random")


def _pca(
    embeddings: Float32[np.ndarray, "n width"], order: Float64[np.ndarray, " n"], c: PlacementConfig
) -> Placement:
    """The start of water-filling: principal components, and radii linear in the prominence."""
    found = water_filling(embeddings, order, c, preset=Preset(start="norm", passes=0))
    return dataclasses.replace(found, method="PCA", info={})


def _preset(name: str) -> Callable[..., Placement]:
    return lambda embeddings, order, c: water_filling(embeddings, order, c, preset=name)


def _langevin(start: Any) -> Callable[..., Placement]:
    return lambda embeddings, order, c: place(
        embeddings, order, dataclasses.replace(c, start=start)
    )


METHODS: dict[str, Callable[..., Placement]] = {
    "random": _random,
    "pca": _pca,
    **{name: _preset(name) for name in PRESETS},
    "capacity-sort": lambda embeddings, order, c: capacity_sort(embeddings, order, c),
    "langevin-random": _langevin("random"),
    "langevin-pca": _langevin("pca"),
    "langevin-water": _langevin("water-filling"),
}
"""The methods by name, each a function of embeddings, prominence and configuration.

`random`: random directions and radii. `pca`: where water-filling starts. Then its presets, the
exact sort, and Langevin placements from random directions, from principal components and from the
water-filling preset `lateral_jit`.
"""


def compare(
    embeddings: ArrayLike,
    prominence: ArrayLike | None = None,
    config: PlacementConfig | None = None,
    *,
    methods: Sequence[str] | None = None,
    progress: StageProgress | None = None,
) -> list[Compared]:
    """Place the same points by every method, on the same shells, and measure all of them alike.

    The energy is that of the one Hamiltonian that `config` describes, at the directions and radii
    of each placement; its neighbour graph is searched once, and each Langevin run searches its own,
    which its seconds contain. A method that compiles does so within its seconds, once per shape and
    process.

    Args:
        embeddings: (N, D) real numbers, N >= 2.
        prominence: (N,) real numbers; by default the norms.
        config: of the Hamiltonian, the shells and the Langevin runs; `start` is set by the method,
            and None for `replicas` means none.
        methods: names of `METHODS`; None: all of them.
        progress: called as progress("placing", methods done, methods).

    Raises:
        ValueError: an unknown method, fewer than 2 points, or input that `place` refuses.
        MissingPackageError: faiss is not installed and `neighbour_search` is `"approximate"`.
    """
    config = dataclasses.replace(checked_config(config), start="pca")
    if config.replicas is None:
        # no measure asks how sure a map is, and seconds are to be those of one run
        config = dataclasses.replace(config, replicas=0)
    names = list(METHODS) if methods is None else list(methods)
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ValueError(
            f"`methods` must be of {', '.join(METHODS)}; got {', '.join(map(repr, unknown))}."
        )
    rows = checked_embeddings(embeddings)
    if len(rows) < 2:
        raise ValueError(
            f"`embeddings` must hold at least 2 points to compare maps of them; got {len(rows)}."
        )
    order, _ = checked_prominence(prominence, rows)
    if config.inner_radius is None:
        # the default of the presets depends on N: all methods get the shells of the Langevin
        # placement
        config = dataclasses.replace(config, inner_radius=float(shells_of(config).radius[0]))
    program = _program(rows, order, config)
    found = []
    for done, name in enumerate(names):
        if progress is not None:
            progress("placing", done, len(names))
        begun = time.perf_counter()
        placement = METHODS[name](rows, order, config)
        seconds = time.perf_counter() - begun
        energy = _energy(program, placement)
        found.append(Compared(name, placement, energy, placement.quality(), seconds))
    if progress is not None:
        progress("placing", len(names), len(names))
    return found


def _program(
    embeddings: Float32[np.ndarray, "n width"],
    prominence: Float64[np.ndarray, " n"],
    config: PlacementConfig,
) -> FactorSamplingProgram:
    """The Hamiltonian as a program; its sampler is never run."""
    problem = pose(embeddings, prominence, config)
    block = sphere_block(len(embeddings))
    factors = hamiltonian_factors(block, problem.ideal_radius, problem.graph, config)
    return build_program(
        block, factors, make_sampler(len(embeddings), config), jnp.result_type(float)
    )


def _energy(program: FactorSamplingProgram, placement: Placement) -> dict[str, float]:
    """Energy of each term per point."""
    dtype = jnp.result_type(float)
    state = SphereState(
        jnp.asarray(placement.direction, dtype), jnp.asarray(placement.radius, dtype)
    )
    return {
        name: float(value) / len(placement) for name, value in _energies(program, state).items()
    }


_energies = eqx.filter_jit(energies)
"""One compiled function for all methods: term by term it would be compiled anew for each."""
