"""Where newcomers settle: best start, lowest energy, and the spread of the harmonic approximation."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.hamiltonian import GravityFactor, SphereState
from sphere_ebm.hamiltonian.frozen import FrozenPressureFactor
from sphere_ebm.sampling.clamped import attraction_by_fitted, bound, build_clamped_program, clamped_terms
from sphere_ebm.sampling.joining import Newcomers, energy_of, settle
from sphere_ebm.sampling.nodes import SphereBlock
from sphere_ebm.sampling.underdamped import Underdamped

SHARPNESS = 4.0


def directions(points: int, seed: int = 0) -> jnp.ndarray:
    raw = np.random.default_rng(seed).standard_normal((points, 3))
    return jnp.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), jnp.float32)


def setting(nodes: int, slots: int, fixed: jnp.ndarray, kernel: str = "cauchy", pressure: float = 2.0):
    free, clamped = SphereBlock(nodes), SphereBlock(len(fixed))
    groups = GravityFactor(free, np.ones(nodes, np.float32)).to_interaction_groups()
    blank = np.zeros((nodes, slots), np.int64)
    groups.append(
        attraction_by_fitted(free, clamped, blank, blank.astype(np.float32), sharpness=SHARPNESS, kernel=kernel)
    )
    if pressure:
        groups += FrozenPressureFactor(free, fixed, sharpness=SHARPNESS, strength=pressure).to_interaction_groups()
    sampler = Underdamped(nodes, 0.0, 0.5, 0.7, direction_mobility=1 / SHARPNESS**2)
    return build_clamped_program(free, clamped, groups, sampler), SphereState(fixed, jnp.ones(len(fixed)))


def newcomers(fitted: np.ndarray, weight: float = 1.0, active: np.ndarray | None = None) -> Newcomers:
    held = np.ones(fitted.shape, bool) if active is None else active
    return Newcomers(
        jnp.ones(len(fitted)),
        jnp.asarray(fitted, jnp.int32),
        jnp.full(fitted.shape, weight),
        jnp.asarray(held),
    )


def settled(program, clamped, batch, steps: int = 60, temperature: float = 0.01):
    return settle(
        program, clamped, batch, jnp.asarray(steps, jnp.int32), jnp.asarray(temperature), jnp.asarray(SHARPNESS)
    )


def test_no_place_nearby_and_no_neighbours_place_has_lower_energy() -> None:
    fixed = directions(50)
    fitted = np.random.default_rng(1).integers(50, size=(40, 5))
    program, clamped = setting(40, 5, fixed)
    batch = newcomers(fitted, 0.4)
    direction, _ = settled(program, clamped, batch)
    terms = clamped_terms(bound(program, *batch), clamped)

    def energy(place: jnp.ndarray) -> np.ndarray:
        return np.asarray(energy_of(terms, SphereState(place, batch.ideal_radius)))

    found = energy(direction)
    for slot in range(5):
        assert (found <= energy(fixed[fitted[:, slot]]) + 1e-4).all()
    for seed in range(5):
        nearby = direction + 0.05 * directions(40, seed=seed + 10)
        assert (found <= energy(nearby / jnp.linalg.norm(nearby, axis=1, keepdims=True)) + 1e-4).all()


def test_the_spread_in_a_harmonic_well_is_known() -> None:
    fixed = directions(4)
    program, clamped = setting(4, 1, fixed, kernel="harmonic", pressure=0.0)
    batch = newcomers(np.arange(4)[:, None], 0.5)
    direction, spread = settled(program, clamped, batch, temperature=0.02)
    np.testing.assert_allclose(direction, fixed, atol=1e-6)
    # H = α w s² (1 - cos γ): stiffness α w s² along both axes
    np.testing.assert_allclose(spread, np.sqrt(2 * 0.02 / (0.5 * SHARPNESS**2)), rtol=0.01)
    assert not np.asarray(settled(program, clamped, batch, temperature=0.0)[1]).any()


def test_the_spread_where_nothing_holds_is_one_radian_along_each_axis() -> None:
    fixed = directions(4)
    program, clamped = setting(4, 1, fixed, pressure=0.0)
    batch = newcomers(np.zeros((4, 1), np.int64), 1.0, active=np.zeros((4, 1), bool))
    direction, spread = settled(program, clamped, batch)
    np.testing.assert_allclose(spread, np.sqrt(2), rtol=1e-5)
    np.testing.assert_array_equal(direction, np.tile([0.0, 0.0, 1.0], (4, 1)))  # nothing to start from: the north pole


def test_a_term_without_energies_of_single_nodes_is_refused() -> None:
    from sphere_ebm.hamiltonian import OsmoticFactor

    whole = OsmoticFactor(SphereBlock(4), sharpness=3.0)._interaction()
    state = SphereState(directions(4), jnp.ones(4))
    with pytest.raises(TypeError, match="OsmoticPressure has no energy of single nodes"):
        energy_of([(whole, [], jnp.ones((4, 1), bool))], state)


def test_settling_compiles_once_for_batches_of_one_size() -> None:
    fixed = directions(30)
    program, clamped = setting(8, 2, fixed)
    traced = []
    once = eqx.filter_jit(lambda *args: traced.append(1) or settle(*args))
    for seed in range(3):
        fitted = np.random.default_rng(seed).integers(30, size=(8, 2))
        once(
            program,
            clamped,
            newcomers(fitted),
            jnp.asarray(10 + seed, jnp.int32),
            jnp.asarray(0.1),
            jnp.asarray(SHARPNESS),
        )
    assert len(traced) == 1
