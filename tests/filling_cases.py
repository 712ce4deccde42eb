"""Crowds of points in shells, which several tests of water-filling begin with."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from sphere_ebm import Placement, PlacementConfig
from sphere_ebm.filling.engine import (
    Law,
    Points,
    _chance,
)
from sphere_ebm.filling.pour import _points
from sphere_ebm.filling.presets import Preset, law_of
from sphere_ebm.geometry.shells import Shells, make_shells

N = 2000
SHELLS = 8

chance = eqx.filter_jit(_chance)


def law(**rules: float | str) -> Law:
    return law_of(Preset(**({"start": "norm"} | rules)), 0)  # type: ignore[arg-type]


def draw(seed: int, pass_: int = 0) -> jnp.ndarray:
    return chance(N, jnp.uint32(seed), jnp.int32(pass_))


def layout(exponent: float = 1.5) -> tuple[Shells, jnp.ndarray]:
    shells = make_shells(SHELLS, inner_radius=4.0, capacity_exponent=exponent)
    return shells, jnp.asarray(N * shells.capacity, jnp.float32)


def crowd(seed: int, weight: np.ndarray | None = None) -> tuple[Points, np.ndarray]:
    """Normal prominences, and shells drawn with the probabilities `weight`.

    Without it, random ones.
    """
    rng = np.random.default_rng(seed)
    weight = rng.dirichlet(np.full(SHELLS, 0.7)) if weight is None else weight
    shell = rng.choice(SHELLS, N, p=weight).astype(np.int32)
    return _points(rng.standard_normal(N), None), shell


def counts(shell: np.ndarray) -> np.ndarray:
    return np.bincount(shell, minlength=SHELLS)


def deviation(shell: np.ndarray, capacity: jnp.ndarray) -> float:
    wanted = np.asarray(capacity, np.float64)
    return float(np.mean(np.abs(counts(shell) - wanted) / wanted))


def eight_shells(**changes: Any) -> PlacementConfig:
    return PlacementConfig(**({"shells": 8} | changes))


def prominences() -> dict[str, np.ndarray]:
    """A thousand prominences of each kind: skewed, even, equal, with outliers, with ties."""
    rng = np.random.default_rng(0)
    heavy = rng.standard_t(2, 1000)
    heavy[:3] = [1e6, -1e5, 1e9]
    return {
        "gamma": rng.gamma(2, 1, 1000),
        "normal": rng.standard_normal(1000),
        "constant": np.full(1000, 0.1),
        "heavy": heavy,
        "ties": rng.integers(0, 5, 1000).astype(np.float64),
    }


def held_by_shell(placed: Placement) -> np.ndarray:
    """Points between the edges of every shell, from the radii alone."""
    return np.diff([(placed.radius <= edge).sum() for edge in placed.shells.edges])


def overload_of(held: np.ndarray, placed: Placement) -> np.ndarray:
    return held / (len(placed) * placed.shells.capacity) - 1


def same_bits(one: Placement, other: Placement) -> bool:
    return all(
        getattr(one, name).tobytes() == getattr(other, name).tobytes()
        for name in ("direction", "radius")
    )
