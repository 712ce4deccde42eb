"""Where newcomers settle.

Best start, lowest energy, and the spread of the harmonic approximation.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.frozen import FrozenPressureFactor
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.sampling.clamped import (
    attraction_by_fitted,
    bound,
    build_clamped_program,
    clamped_terms,
)
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.joining import Newcomers, energy_of, settle
from sphere_ebm.sampling.programs import SphereBlock
from sphere_ebm.sampling.underdamped import Underdamped

SHARPNESS = 4.0


def directions(points: int, seed: int = 0) -> jnp.ndarray:
    raw = np.random.default_rng(seed).standard_normal((points, 3))
    return jnp.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), jnp.float32)


def setting(
    nodes: int, slots: int, fixed: jnp.ndarray, kernel: str = "cauchy", pressure: float = 2.0
):
    free = SphereBlock(nodes)
    clamped = SphereBlock(len(fixed))
    groups = GravityFactor(free, np.ones(nodes, np.float32)).to_interaction_groups()
    blank = np.zeros((nodes, slots), np.int64)
    groups.append(
        attraction_by_fitted(
            free, clamped, blank, blank.astype(np.float32), sharpness=SHARPNESS, kernel=kernel
        )
    )
    if pressure:
        groups += FrozenPressureFactor(
            free, fixed, sharpness=SHARPNESS, strength=pressure
        ).to_interaction_groups()
    sampler = Underdamped(
        Coefficients(0.0, 0.5, direction_mobility=1 / SHARPNESS**2), nodes, friction=0.7
    )
    return build_clamped_program(free, clamped, groups, sampler), SphereState(
        fixed, jnp.ones(len(fixed))
    )


def newcomers(
    fitted: np.ndarray, weight: float = 1.0, active: np.ndarray | None = None
) -> Newcomers:
    held = np.ones(fitted.shape, bool) if active is None else active
    return Newcomers(
        jnp.ones(len(fitted)),
        jnp.asarray(fitted, jnp.int32),
        jnp.full(fitted.shape, weight),
        jnp.asarray(held),
    )


def settled(program, clamped, batch, steps: int = 60, temperature: float = 0.01):
    return settle(
        program,
        clamped,
        batch,
        jnp.asarray(steps, jnp.int32),
        jnp.asarray(temperature),
        jnp.asarray(SHARPNESS),
    )


def test_no_place_nearby_and_no_neighbours_place_has_lower_energy() -> None:
    fixed = directions(50)
    fitted = np.random.default_rng(1).integers(50, size=(40, 5))
    program, clamped = setting(40, 5, fixed)
    batch = newcomers(fitted, 0.4)
    direction, _, rested = settled(program, clamped, batch)
    terms = clamped_terms(bound(program, *batch), clamped)

    def energy(place: jnp.ndarray) -> np.ndarray:
        return np.asarray(energy_of(terms, SphereState(place, batch.ideal_radius)))

    found = energy(direction)
    np.testing.assert_allclose(rested, found, rtol=1e-5)
    for slot in range(5):
        assert (found <= energy(fixed[fitted[:, slot]]) + 1e-4).all()
    for seed in range(5):
        nearby = direction + 0.05 * directions(40, seed=seed + 10)
        assert (
            found <= energy(nearby / jnp.linalg.norm(nearby, axis=1, keepdims=True)) + 1e-4
        ).all()


def test_the_spread_in_a_harmonic_well_is_known() -> None:
    fixed = directions(4)
    program, clamped = setting(4, 1, fixed, kernel="harmonic", pressure=0.0)
    batch = newcomers(np.arange(4)[:, None], 0.5)
    direction, spread, _ = settled(program, clamped, batch, temperature=0.02)
    np.testing.assert_allclose(direction, fixed, atol=1e-6)
    # H = α w s² (1 - cos γ): stiffness α w s² along both axes
    np.testing.assert_allclose(spread, np.sqrt(2 * 0.02 / (0.5 * SHARPNESS**2)), rtol=0.01)
    assert not np.asarray(settled(program, clamped, batch, temperature=0.0)[1]).any()


def test_the_spread_of_an_anisotropic_well_does_not_depend_on_how_it_is_turned() -> None:
    # two fitted points pull along one great circle: soft across the line between them, stiff along
    # it
    turns = np.linalg.qr(np.random.default_rng(3).standard_normal((12, 3, 3)))[0]
    pair = np.asarray([[np.sin(0.3), 0, np.cos(0.3)], [-np.sin(0.3), 0, np.cos(0.3)]])
    spreads = []
    for turn in turns:
        program, clamped = setting(
            1, 2, jnp.asarray(pair @ turn.T, jnp.float32), kernel="cauchy", pressure=0.0
        )
        batch = newcomers(np.asarray([[0, 1]]))
        direction, spread, _ = settled(program, clamped, batch, steps=200, temperature=0.001)
        terms = clamped_terms(bound(program, *batch), clamped)
        exact = spread_by_energies(terms, np.asarray(direction, np.float64), 0.001)
        np.testing.assert_allclose(spread, exact, rtol=0.05)
        spreads.append(float(spread[0]))
    np.testing.assert_allclose(spreads, spreads[0], rtol=0.02)


def spread_by_energies(terms, direction: np.ndarray, temperature: float) -> np.ndarray:
    """sqrt(T tr(A⁻¹)) from second differences of the energy, in a frame of its own."""
    (u,) = direction
    first = np.cross(u, [0.3, -0.5, 0.8])
    first /= np.linalg.norm(first)
    frame = np.stack([first, np.cross(u, first)])
    step = 0.08

    def energy(a: float, b: float) -> float:
        tangent = (a * frame[0] + b * frame[1]) * step
        angle = np.linalg.norm(tangent)
        place = np.cos(angle) * u + (np.sinc(angle / np.pi) * tangent)
        return float(
            energy_of(terms, SphereState(jnp.asarray(place[None], jnp.float32), jnp.ones(1)))[0]
        )

    aa = energy(1, 0) - 2 * energy(0, 0) + energy(-1, 0)
    bb = energy(0, 1) - 2 * energy(0, 0) + energy(0, -1)
    ab = (energy(1, 1) - energy(1, -1) - energy(-1, 1) + energy(-1, -1)) / 4
    hessian = np.asarray([[aa, ab], [ab, bb]]) / step**2
    return np.sqrt(temperature * np.trace(np.linalg.inv(hessian)))


def test_an_empty_slot_is_no_place_to_start_from() -> None:
    # the first slot is empty and names the north pole, where nothing would hold the newcomer back
    fixed = jnp.asarray([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    program, clamped = setting(1, 2, fixed, pressure=0.0)
    batch = newcomers(np.asarray([[0, 1]]), active=np.asarray([[False, True]]))
    direction = settled(program, clamped, batch, steps=0).direction
    np.testing.assert_allclose(direction, fixed[1:], atol=1e-6)
    at_pole = newcomers(np.asarray([[1, 1]]), weight=0.0, active=np.asarray([[False, True]]))
    np.testing.assert_allclose(settled(program, clamped, at_pole, steps=0)[0], fixed[1:], atol=1e-6)


def test_the_spread_where_nothing_holds_is_one_radian_along_each_axis() -> None:
    fixed = directions(4)
    program, clamped = setting(4, 1, fixed, pressure=0.0)
    batch = newcomers(np.zeros((4, 1), np.int64), 1.0, active=np.zeros((4, 1), bool))
    direction, spread, _ = settled(program, clamped, batch)
    np.testing.assert_allclose(spread, np.sqrt(2), rtol=1e-5)
    np.testing.assert_array_equal(
        direction, np.tile([0.0, 0.0, 1.0], (4, 1))
    )  # nothing to start from: the north pole


def test_a_term_without_energies_of_single_nodes_is_refused() -> None:
    from sphere_ebm.hamiltonian.osmotic import OsmoticFactor

    whole = OsmoticFactor(SphereBlock(4), sharpness=3.0).interaction()
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
