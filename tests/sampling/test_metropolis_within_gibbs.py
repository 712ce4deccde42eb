"""Metropolis-within-Gibbs against its definition.

Each node on its own, given the nodes of the other colours.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import exact_steps as exact
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.metropolis_within_gibbs import MetropolisWithinGibbs
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.programs import (
    advance,
    build_coloured_program,
    build_program,
    initial_sampler_states,
)
from sphere_ebm.sampling.run import Carry, run_chunk

NEIGHBOURS: dict[int, dict[int, float]] = {0: {1: 0.8}, 1: {0: 0.8, 2: 1.4}, 2: {1: 1.4}}
one_sweep = eqx.filter_jit(advance)


def own_energy(u: np.ndarray, r: np.ndarray, i: int) -> float:
    """All of H that depends on node i."""
    pairs = NEIGHBOURS[i].items()
    return exact.well(r[i], exact.IDEAL[i]) + sum(exact.bond(u[i], u[j], w) for j, w in pairs)


def own_force(u: np.ndarray, r: np.ndarray, i: int) -> tuple[np.ndarray, float]:
    eps = 1e-6
    ambient = np.zeros(3)
    for k in range(3):
        ends = []
        for sign in (1, -1):
            moved = u.copy()
            moved[i, k] += sign * eps
            ends.append(own_energy(moved, r, i))
        ambient[k] = -(ends[0] - ends[1]) / (2 * eps)
    return ambient - u[i] * (u[i] @ ambient), exact.pull(r[i], exact.IDEAL[i])


def expected_sweep(
    u: np.ndarray, r: np.ndarray, key: Any, h: float
) -> tuple[np.ndarray, np.ndarray, list[Any]]:
    """One node after the other, by colour.

    The last list holds (probability, accepted, reflected, change of H).
    """
    u = u.copy()
    r = r.copy()
    record = []
    key_move, key_accept = jax.random.split(key)
    key_direction, key_radius = jax.random.split(key_move)
    for nodes in ([0, 2], [1]):
        m = len(nodes)
        noises = (
            np.asarray(jax.random.normal(key_direction, (m, 3))),
            np.asarray(jax.random.normal(key_radius, (m,))),
        )
        thresholds = np.log(np.asarray(jax.random.uniform(key_accept, (m,))))
        for i, xi_u, xi_r, threshold in zip(nodes, *noises, thresholds, strict=True):
            before = exact.two_term_energy(u, r)
            here = own_force(u, r, i)
            noise = (xi_u - u[i] * (u[i] @ xi_u), xi_r)
            du, dr = exact.move(here, noise, h)
            length = np.linalg.norm(du)
            below = r[i] + dr < exact.WALL
            there_u = u.copy()
            there_r = r.copy()
            there_u[i] = u[i] * np.cos(length) + du / length * np.sin(length)
            there_r[i] = 2 * exact.WALL - r[i] - dr if below else r[i] + dr
            back = (u[i] * length * np.sin(length) - du * np.cos(length), dr if below else -dr)
            ways = exact.log_gaussian(back, own_force(there_u, there_r, i), h)
            ways -= exact.log_gaussian((du, dr), here, h)
            change = exact.two_term_energy(there_u, there_r) - before
            ratio = -change / exact.TEMPERATURE + ways
            accepted = threshold < ratio
            if accepted:
                u = there_u
                r = there_r
            record.append(
                (np.exp(min(ratio, 0)), bool(accepted), bool(below), change if accepted else 0.0)
            )
    return u, r, record


def test_a_sweep_is_that_of_the_definition_node_by_node():
    rng = np.random.default_rng(2)
    outcomes = set()
    with jax.enable_x64(True):
        block, terms = exact.two_terms()
        program = None
        for trial in range(16):
            h = (0.1, 0.4)[trial % 2]
            key = jax.random.key(trial)
            sampler = exact.FixedKey(MetropolisWithinGibbs(exact.law(h)), key)
            if program is None:
                program = build_coloured_program(
                    block, terms, sampler, np.asarray([0, 1, 0]), jnp.float64
                )
            program = eqx.tree_at(lambda p: p.samplers, program, [sampler, sampler])
            u, r = exact.drawn(rng)
            start = SphereState(jnp.asarray(u), jnp.asarray(r))
            end, states = one_sweep(key, program, start, initial_sampler_states(program))
            expected_u, expected_r, record = expected_sweep(u, r, key, h)
            np.testing.assert_allclose(end.direction, expected_u, atol=1e-8)
            np.testing.assert_allclose(end.radius, expected_r, atol=1e-8)
            shares = [float(state.acceptance) for state in states]
            assert shares == pytest.approx(
                [(record[0][0] + record[1][0]) / 2, record[2][0]], rel=1e-6
            )
            change = exact.two_term_energy(
                np.asarray(end.direction), np.asarray(end.radius)
            ) - exact.two_term_energy(u, r)
            assert change == pytest.approx(sum(each[3] for each in record), abs=1e-7)
            outcomes |= {(accepted, reflected) for _, accepted, reflected, _ in record}
    assert outcomes == {(True, True), (True, False), (False, True), (False, False)}


@pytest.fixture(scope="module")
def ring(small_block, small_factors) -> Any:
    """Gravity and attraction on a ring of 30, even nodes before odd ones."""
    return build_coloured_program(
        small_block,
        small_factors[:2],
        MetropolisWithinGibbs(Coefficients(1.0, 0.1)),
        np.arange(30) % 2,
    )


def swept(
    ring: Any, start: SphereState, step_size: float, seed: int = 0
) -> tuple[SphereState, list[Any]]:
    using = eqx.tree_at(
        lambda p: p.samplers, ring, [MetropolisWithinGibbs(Coefficients(1.0, step_size))] * 2
    )
    return one_sweep(jax.random.key(seed), using, start, initial_sampler_states(using))


def test_some_nodes_are_accepted_and_some_not_in_one_sweep(ring, small_start):
    end, states = swept(ring, small_start, 0.5)
    moved = np.asarray(end.radius != small_start.radius)
    np.testing.assert_array_equal(
        moved, np.any(np.asarray(end.direction != small_start.direction), axis=1)
    )
    for colour, state in enumerate(states):
        assert 0 < moved[colour::2].sum() < 15
        assert abs(moved[colour::2].mean() - float(state.acceptance)) < 0.35


def test_a_node_is_felt_by_its_neighbours_and_by_nobody_of_its_own_colour(ring, small_start):
    elsewhere = small_start._replace(
        direction=small_start.direction.at[0].set(-small_start.direction[0]),
        radius=small_start.radius.at[0].add(0.5),
    )
    one, other = (swept(ring, start, 0.1)[0] for start in (small_start, elsewhere))
    differ = np.any(np.asarray(one.direction != other.direction), axis=1)
    # node 0 itself and, in the second half of the sweep, the odd nodes next to it
    np.testing.assert_array_equal(np.flatnonzero(differ), [0, 1, 29])


@pytest.mark.parametrize("step_size", [1e5, 1e38])
def test_what_is_too_bold_is_rejected_and_changes_no_bit(ring, small_start, step_size):
    end, states = swept(ring, small_start, step_size)
    np.testing.assert_array_equal(end.direction, small_start.direction)
    np.testing.assert_array_equal(end.radius, small_start.radius)
    assert [float(state.acceptance) for state in states] == [0, 0]


def test_a_node_that_is_not_finite_is_left_alone_and_its_colour_goes_on(ring, small_start):
    broken = small_start._replace(radius=small_start.radius.at[4].set(jnp.nan))
    end, states = swept(ring, broken, 1e-4)
    assert bool(jnp.isnan(end.radius[4]))
    assert np.asarray(end.radius != broken.radius)[np.arange(30) != 4].mean() > 0.9
    # one of fifteen counts as rejected
    assert float(states[0].acceptance) == pytest.approx(14 / 15, abs=0.02)


@pytest.mark.parametrize("target", [0.574, 0.8])
def test_the_step_size_of_each_colour_adapts_to_the_target_and_then_stays(
    ring, small_start, target
):
    sampler = MetropolisWithinGibbs(
        Coefficients(1.0, 5.0), adapt_steps=300, target_acceptance=target
    )
    using = eqx.tree_at(lambda p: p.samplers, ring, [sampler] * 2)
    carry = Carry(small_start, initial_sampler_states(using), empty_moments(small_start))
    key = jax.random.key(0)
    averaging = jnp.asarray(0, jnp.int32)
    carry = run_chunk(key, using, carry, jnp.asarray(301, jnp.int32), averaging).carry
    adapted = [float(state.step_size) for state in carry.sampler_states]
    assert adapted[0] != adapted[1]
    seen = []
    for _ in range(100):
        carry = run_chunk(key, using, carry, jnp.asarray(1, jnp.int32), averaging).carry
        assert [float(state.step_size) for state in carry.sampler_states] == adapted
        seen.append([float(state.acceptance) for state in carry.sampler_states])
    np.testing.assert_allclose(np.mean(seen, axis=0), target, atol=0.05)


@pytest.mark.parametrize("coloured", [True, False])
def test_the_osmotic_term_is_refused(small_block, small_factors, small_start, coloured):
    sampler = MetropolisWithinGibbs(Coefficients(1.0, 0.1))
    if coloured:
        program = build_coloured_program(small_block, small_factors, sampler, np.arange(30) % 2)
    else:
        program = build_program(small_block, [small_factors[2]], sampler)
    with pytest.raises(
        ValueError, match=r"the osmotic term couples all nodes at once.*sample with MALA"
    ):
        one_sweep(jax.random.key(0), program, small_start, initial_sampler_states(program))


def test_a_colouring_with_a_clash_is_refused_and_names_its_nodes(small_block, small_factors):
    colour = np.arange(30) % 2
    colour[7] = 0
    with pytest.raises(
        ValueError,
        match=r"`colour` must differ at both ends of every edge; nodes (6 and 7|7 and 8)",
    ):
        build_coloured_program(
            small_block, small_factors[:2], MetropolisWithinGibbs(Coefficients(1.0, 0.1)), colour
        )
