"""A ladder of temperatures.

Swaps leave every rung's law unchanged and carry configurations over barriers.
"""

import dataclasses
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from thrml import Block, InteractionGroup

from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian.base import AbstractLocalInteraction, AbstractSphereFactor, SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.leimkuhler_matthews import LeimkuhlerMatthews
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.programs import build_program, energies, sphere_block
from sphere_ebm.sampling.underdamped import Underdamped
from sphere_ebm.studies.chains import sample_chains
from sphere_ebm.studies.exchange import (
    _round_trips,
    _swap_acceptance,
    replica_exchange,
    swap_order,
)
from sphere_ebm.studies.observers import DisplacementObserver

SHARPNESS = 2.0
LADDER = (0.3, 0.6, 1.2)
ONE = jnp.asarray(1, jnp.int32)


def pair_energy(cosine: np.ndarray) -> np.ndarray:
    """Lateral and osmotic energy of two points at a cosine."""
    stretched = np.log1p(2 * SHARPNESS**2 * (1 - cosine))
    return 3.0 * stretched - 2 * stretched


def mean_and_variance(temperature: float) -> tuple[float, float]:
    """Of the angular energy of the pair, by quadrature over the cosine."""
    cosine = np.linspace(-1, 1, 20_001)
    energy = pair_energy(cosine)
    weight = np.exp(-(energy - energy.min()) / temperature)
    total = integrate.simpson(weight, x=cosine)
    mean = integrate.simpson(weight * energy, x=cosine) / total
    return float(mean), float(integrate.simpson(weight * (energy - mean) ** 2, x=cosine) / total)


@pytest.fixture(scope="module")
def pair_program():
    block = sphere_block(2)
    factors = [
        GravityFactor(block, np.asarray([3.0, 4.0], np.float32), 2.0),
        LateralFactor(
            block,
            np.asarray([0]),
            np.asarray([1]),
            np.asarray([3.0], np.float32),
            sharpness=SHARPNESS,
        ),
        OsmoticFactor(block, sharpness=SHARPNESS, evaluator="direct"),
    ]
    return build_program(block, factors, MALA(Coefficients(1.0, 0.15)))


@pytest.fixture(scope="module")
def pair_ladders(pair_program):
    """Many ladders, two draws of each rung."""
    ladders = 1500
    direction = normalise(jax.random.normal(jax.random.key(5), (ladders * len(LADDER), 2, 3)))
    start = SphereState(direction, jnp.full(direction.shape[:2], 3.5))
    return replica_exchange(
        jax.random.key(0),
        pair_program,
        start,
        LADDER,
        ladders=ladders,
        warmup=80,
        draws=2,
        thin=5,
        keep_states=True,
    )


@pytest.mark.parametrize("rung", range(len(LADDER)))
@pytest.mark.parametrize(("scale", "passes"), [(1.0, True), (1.25, False)])
def test_every_rung_keeps_the_law_of_its_temperature(pair_ladders, rung, scale, passes):
    samples = pair_ladders.samples.at_temperature(LADDER[rung])
    angular = (samples.energy["lateral"] + samples.energy["osmotic"])[:, -1].astype(np.float64)
    mean, variance = mean_and_variance(scale * LADDER[rung])
    z = (angular.mean() - mean) / np.sqrt(variance / angular.size)
    assert (2 * stats.norm.sf(abs(z)) > 1e-3) == passes


def test_neighbours_swap_and_energies_belong_to_the_configurations_of_their_rung(
    pair_ladders, pair_program
):
    assert pair_ladders.swap_acceptance.shape == (2,)
    assert np.nanmin(pair_ladders.swap_acceptance) > 0.3
    assert pair_ladders.samples.temperature[:4].tolist() == pytest.approx([*LADDER, LADDER[0]])
    last = jax.tree.map(jnp.asarray, pair_ladders.samples.last)
    again = jax.vmap(lambda state: energies(pair_program, state))(last)
    for name, values in again.items():
        np.testing.assert_allclose(pair_ladders.samples.energy[name][:, -1], values, atol=2e-5)


def test_a_swap_is_accepted_with_the_probability_of_metropolis():
    energy = jnp.asarray([1.0, 1.5])
    temperature = jnp.asarray([0.5, 1.0])
    many = 20_000
    order = swap_order(
        jax.random.key(3), jnp.tile(energy, (many, 1)), jnp.tile(temperature, (many, 1)), 0 * ONE
    )
    swapped = np.asarray(order[:, 0] == 1)
    expected = np.exp((1 / 0.5 - 1 / 1.0) * (1.0 - 1.5))
    z = (swapped.mean() - expected) / np.sqrt(expected * (1 - expected) / many)
    assert abs(z) < 3.3
    assert abs(swapped.mean() - 0.9 * expected) > 5 * np.sqrt(expected / many), "the test has power"


@pytest.mark.parametrize("parity", [0, 1])
def test_only_pairs_of_the_parity_swap_and_a_better_configuration_always_goes_to_the_colder_rung(
    parity,
):
    energy = jnp.asarray([[5.0, 4.0, 3.0, 2.0, 1.0]])
    order = swap_order(
        jax.random.key(0), energy, jnp.asarray([[0.1, 0.2, 0.3, 0.4, 0.5]]), parity * ONE
    )
    assert order.tolist() == ([[1, 0, 3, 2, 4]] if parity == 0 else [[0, 2, 1, 4, 3]])
    stay = swap_order(
        jax.random.key(0),
        1e4 * (6 - energy),
        jnp.asarray([[0.1, 0.2, 0.3, 0.4, 0.5]]),
        parity * ONE,
    )
    assert stay.tolist() == [[0, 1, 2, 3, 4]]


def test_acceptance_and_round_trips_are_counted_from_the_history():
    # rounds try pairs 0-1, 1-2 in turn; the configuration that starts on rung 0 goes up and comes
    # back
    history = np.asarray([[[0, 1, 1, 1, 1, 0], [1, 0, 2, 2, 0, 1], [2, 2, 0, 0, 2, 2]]])
    assert _round_trips(history).tolist() == [1]
    # draws 1 to 5 end rounds 2 to 6: even rounds try pair 0-1 (3 times, 2 swaps), odd ones pair 1-2
    # (2 times, 1 swap)
    acceptance = _swap_acceptance(history[:, :, :3], before=0)
    np.testing.assert_allclose(acceptance, [1.0, 1.0])


BARRIER = 1.5
TILT = 0.1
MIDDLE = 5.0


@final
class DoubleWell(AbstractLocalInteraction):
    """Two wells for the radius, at 4 and 6; the outer one is lower."""

    tilt: jax.Array
    name: ClassVar[str] = "double well"
    annealed: ClassVar[bool] = False
    share: ClassVar[float] = 1.0

    def local_energy_and_force(self, here, there, active):
        stretch = here.radius - MIDDLE
        energy = BARRIER * (stretch**2 - 1) ** 2 - self.tilt[:, 0] * stretch
        force = self.tilt[:, 0] - 4 * BARRIER * stretch * (stretch**2 - 1)
        return energy, SphereState(jnp.zeros_like(here.direction), force)

    def gather(self, whole):
        return []


@final
class DoubleWellFactor(AbstractSphereFactor):
    """What a user would write for a term of their own."""

    node_groups: list[Block]

    def __init__(self, block: Block):
        super().__init__([block])

    def to_interaction_groups(self):
        block = self.node_groups[0]
        return [InteractionGroup(DoubleWell(jnp.full(len(block), TILT)), block, [])]

    def energy(self, state):
        stretch = state.radius - MIDDLE
        return jnp.sum(BARRIER * (stretch**2 - 1) ** 2 - TILT * stretch)


def test_rungs_are_put_between_those_that_swap_too_rarely(pair_ladders):
    assert pair_ladders.suggested_temperatures is None
    rare = dataclasses.replace(pair_ladders, swap_acceptance=np.array([0.05, 0.6]))
    low, middle, high = pair_ladders.temperatures
    better = rare.suggested_temperatures
    assert better is not None
    # erfcinv(.05) / erfcinv(1/3) = 2.02: three steps take the place of one
    np.testing.assert_allclose(better[:4], np.geomspace(low, middle, 4))
    assert better[4:].tolist() == [high]
    never = dataclasses.replace(pair_ladders, swap_acceptance=np.array([0.0, np.nan]))
    assert len(never.suggested_temperatures) > 4


def test_a_ladder_crosses_a_barrier_that_single_chains_do_not():
    cold = 0.1
    ladders = 200
    temperatures = np.geomspace(cold, 1.5, 5)
    block = sphere_block(1)
    program = build_program(block, [DoubleWellFactor(block)], MALA(Coefficients(cold, 0.03)))
    inside = SphereState(jnp.asarray([[0.0, 0.0, 1.0]]), jnp.asarray([MIDDLE - 1]))
    alone = sample_chains(jax.random.key(1), program, inside, chains=ladders, warmup=2000, draws=1)
    assert np.mean(alone.last.radius > MIDDLE) < 0.02, "the barrier is fifteen times T"
    ladder = replica_exchange(
        jax.random.key(2),
        program,
        inside,
        temperatures,
        ladders=ladders,
        warmup=2000,
        draws=1,
        thin=10,
    )
    radius = np.linspace(MIDDLE - 2.5, MIDDLE + 2.5, 20_001)
    stretch = radius - MIDDLE
    weight = np.exp(-(BARRIER * (stretch**2 - 1) ** 2 - TILT * stretch) / cold)
    expected = weight[radius > MIDDLE].sum() / weight.sum()
    outside = np.mean(ladder.samples.at_temperature(cold).last.radius > MIDDLE)
    z = (outside - expected) / np.sqrt(expected * (1 - expected) / ladders)
    assert 2 * stats.norm.sf(abs(z)) > 1e-3


@pytest.mark.parametrize(
    "temperatures", [(1.0,), (1.0, 1.0), (1.0, 2.0, 1.5), (0.0, 1.0), (-1.0, 1.0), (1.0, np.inf)]
)
def test_temperatures_that_make_no_ladder_are_refused(pair_program, temperatures):
    start = SphereState(jnp.eye(3)[:2], jnp.full(2, 3.0))
    with pytest.raises(ValueError, match="two or more positive numbers in rising or falling order"):
        replica_exchange(jax.random.key(0), pair_program, start, temperatures)


@pytest.mark.parametrize(
    "sampler",
    [Underdamped(Coefficients(1.0, 0.1), 2), LeimkuhlerMatthews(Coefficients(1.0, 0.1), 2)],
)
def test_schemes_that_carry_tangent_vectors_are_refused(sampler):
    block = sphere_block(2)
    program = build_program(block, [GravityFactor(block, np.ones(2, np.float32))], sampler)
    start = SphereState(jnp.eye(3)[:2], jnp.full(2, 3.0))
    with pytest.raises(ValueError, match=r"keeps velocities or noise tangent .* Use MALA"):
        replica_exchange(jax.random.key(0), program, start, (1.0, 2.0))


def test_rungs_that_can_hardly_be_told_apart_are_refused(pair_program):
    start = SphereState(jnp.eye(3)[:2], jnp.full(2, 3.0))
    with pytest.raises(ValueError, match=r"differ by 0\.01 %"):
        replica_exchange(jax.random.key(0), pair_program, start, (1.0, 1.00001))


def test_observers_that_follow_a_configuration_are_refused(pair_program):
    start = SphereState(jnp.eye(3)[:2], jnp.full(2, 3.0))
    with pytest.raises(ValueError, match="must not follow a configuration"):
        replica_exchange(
            jax.random.key(0),
            pair_program,
            start,
            (1.0, 2.0),
            observers=[DisplacementObserver(start)],
        )
