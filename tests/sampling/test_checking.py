"""What `check_factor` lets pass, and what it names."""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from thrml import Block, InteractionGroup

from sphere_ebm.hamiltonian.base import (
    AbstractLocalInteraction,
    AbstractSphereFactor,
    SphereState,
)
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.hamiltonian.own import AbstractEnergyTerm
from sphere_ebm.sampling.checking import check_factor
from sphere_ebm.sampling.programs import sphere_block

N = 12
BLOCK = sphere_block(N)


def at_random() -> SphereState:
    rng = np.random.default_rng(0)
    u = rng.standard_normal((N, 3))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    return SphereState(jnp.asarray(u, float), jnp.asarray(rng.uniform(1, 2, N), float))


def ring() -> LateralFactor:
    nodes = np.arange(N)
    return LateralFactor(
        BLOCK, nodes, (nodes + 1) % N, np.ones(N), sharpness=1.5, strength=1.0, kernel="cauchy"
    )


@pytest.mark.parametrize(
    "factor",
    [
        GravityFactor(BLOCK, np.linspace(1, 2, N)),
        ring(),
        OsmoticFactor(BLOCK, sharpness=3.0, strength=2.0, evaluator="direct"),
    ],
    ids=lambda factor: type(factor).__name__,
)
def test_the_terms_of_a_map_keep_the_contract_and_have_no_frame(factor) -> None:
    report = check_factor(factor, at_random())
    assert report.rotation_invariant
    assert report.force_error < 1e-4
    assert report.energy == pytest.approx(float(factor.energy(at_random())))


@final
class Field(AbstractEnergyTerm):
    field: Float[Array, "3"]
    name: ClassVar[str] = "field"

    def energy_of(self, state):
        return -state.direction @ self.field


def test_a_field_has_a_frame() -> None:
    report = check_factor(Field(jnp.asarray([0.0, 0.0, 1.0])), at_random())
    assert not report.rotation_invariant
    assert report.rotation_change > 0.01


class Wells(AbstractLocalInteraction):
    """Gravity with what may be wrong in it."""

    stiffness: Float[Array, "nodes *k"]
    sign: float = eqx.field(static=True)
    part: float = eqx.field(static=True)
    name: ClassVar[str] = "wells"
    annealed: ClassVar[bool] = False
    share: ClassVar[float] = 1.0

    def local_energy_and_force(self, here, there, active):
        pull = jnp.where(active, self.stiffness * here.radius[:, None], 0).sum(axis=1)
        force = SphereState(jnp.zeros_like(here.direction), self.sign * pull)
        return self.part * pull * here.radius / 2, force

    def gather(self, whole):
        return []


class Wrong(AbstractSphereFactor):
    node_groups: list[Block]
    stiffness: Float[Array, " rows"]
    sign: float
    part: float

    def __init__(self, rows, sign, part):
        super().__init__([BLOCK])
        self.stiffness = jnp.ones(rows)
        self.sign = sign
        self.part = part

    def to_interaction_groups(self):
        wells = Wells(self.stiffness, self.sign, self.part)
        return [InteractionGroup(wells, self.node_groups[0], [])]

    def energy(self, state):
        return jnp.sum(self.stiffness * state.radius**2) / 2


@pytest.mark.parametrize(
    ("sign", "part", "rows", "says"),
    [
        (1.0, 1.0, N, r"force of Wrong is not minus the gradient.* radius of node \d+"),
        (-1.0, 0.5, N, r"interactions of Wrong have the energy .* must have `share` 1/2"),
        (-1.0, 1.0, 1, "THRML refuses the interactions of Wrong .*one row for each head node"),
    ],
)
def test_what_does_not_agree_is_named(sign, part, rows, says) -> None:
    with pytest.raises(ValueError, match=says):
        check_factor(Wrong(rows, sign, part), at_random())
    assert check_factor(Wrong(N, -1.0, 1.0), at_random()).force_error < 1e-5


def test_a_configuration_of_another_size_is_refused() -> None:
    few = jax.tree.map(lambda x: x[:5], at_random())
    with pytest.raises(ValueError, match=rf"`state` must have shapes \({N}, 3\)"):
        check_factor(ring(), few)


@final
class Broken(AbstractEnergyTerm):
    name: ClassVar[str] = "broken"

    def energy_of(self, state):
        return jnp.log(-state.radius)


def test_an_energy_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="must be one finite number; got nan"):
        check_factor(Broken(), at_random())
