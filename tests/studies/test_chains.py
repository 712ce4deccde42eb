"""What sampling with several chains promises.

Independent of their number and length, bounded memory, refusals.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sphere_ebm.studies.chains as chains_module
from chain_system import DRAWS, KEY, N, assert_same_draws
from sphere_ebm.errors import NonFiniteEnergyError
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.metropolis_within_gibbs import MetropolisWithinGibbs
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.programs import (
    advance,
    build_coloured_program,
    build_program,
    initial_sampler_states,
)
from sphere_ebm.sampling.run import Carry, run_chunk
from sphere_ebm.sampling.schedules import Linear, Switch
from sphere_ebm.studies.chains import advance_chains, sample_chains
from sphere_ebm.studies.observers import AcceptanceObserver
from sphere_ebm.studies.samples import Samples


def test_no_chain_depends_on_how_many_there_are_but_for_rounding(draw):
    two = draw()
    five = draw(chains=5)
    for name, values in two.energy.items():
        np.testing.assert_allclose(values, five.energy[name][:2], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(two.last.direction, five.last.direction[:2], atol=1e-3)
    assert np.unique(five.energy["lateral"][:, -1]).size == 5


def test_no_draw_depends_on_how_many_follow(draw):
    assert_same_draws(draw(), draw(draws=250), draws=slice(DRAWS))


def test_a_thinned_chain_is_every_third_draw_of_the_whole(draw):
    assert_same_draws(draw(thin=3), draw(draws=3 * DRAWS), draws=slice(2, None, 3))


@pytest.mark.parametrize(("warmup", "thin"), [(7, 1), (130, 1), (250, 2)])
def test_the_warmup_is_the_part_of_the_chain_that_is_thrown_away(draw, warmup, thin):
    whole = draw(draws=warmup + thin * DRAWS)
    drawn = draw(warmup=warmup, thin=thin)
    assert_same_draws(drawn, whole, draws=slice(warmup + thin - 1, None, thin))
    assert (drawn.warmup, drawn.thin) == (warmup, thin)
    np.testing.assert_array_equal(drawn.last.radius, whole.last.radius)


def test_each_chain_is_the_run_with_the_key_folded_by_its_number(program, draw, start):
    drawn = draw()
    steps = jnp.asarray(DRAWS, jnp.int32)
    averaging = jnp.asarray(0, jnp.int32)
    for chain in range(2):
        carry = Carry(start, initial_sampler_states(program), empty_moments(start))
        after, energy, _ = run_chunk(
            jax.random.fold_in(KEY, chain), program, carry, steps, averaging
        )
        np.testing.assert_allclose(drawn.last.direction[chain], after.state.direction, atol=1e-4)
        np.testing.assert_allclose(drawn.last.radius[chain], after.state.radius, atol=1e-4)
        found = [values[chain, -1] for values in drawn.energy.values()]
        np.testing.assert_allclose(found, list(energy.values()), rtol=1e-3)


def test_another_key_gives_other_draws(program, draw, start):
    other = sample_chains(jax.random.key(8), program, start, chains=2, warmup=0, draws=DRAWS)
    assert not np.any(draw().energy["gravity"] == other.energy["gravity"])


def test_each_chain_may_start_elsewhere(draw, start):
    starts = SphereState(
        jnp.stack([start.direction, -start.direction]), jnp.stack([start.radius, start.radius + 1])
    )
    still = draw(EulerMaruyama(Coefficients(0.5, 0.0)), start=starts)
    np.testing.assert_allclose(still.last.direction, starts.direction, atol=1e-6)
    np.testing.assert_array_equal(still.last.radius, starts.radius)
    # and one start for all is the same start for each
    repeated = SphereState(jnp.stack([start.direction] * 2), jnp.stack([start.radius] * 2))
    assert_same_draws(draw(), draw(start=repeated))


def test_each_chain_may_have_its_own_temperature(draw):
    ladder = draw(
        samplers=[EulerMaruyama(Coefficients(0.1, 0.02)), EulerMaruyama(Coefficients(2.0, 0.02))]
    )
    np.testing.assert_allclose(ladder.temperature, [0.1, 2.0], rtol=1e-6)
    for chain, temperature in enumerate((0.1, 2.0)):
        both = draw(EulerMaruyama(Coefficients(temperature, 0.02)))
        np.testing.assert_allclose(both.temperature, temperature, rtol=1e-6)
        for name, values in ladder.energy.items():
            np.testing.assert_array_equal(values[chain], both.energy[name][chain])


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        (None, {"chains": 0}, "`chains` must be at least 1, an integer; got 0"),
        (None, {"draws": 0}, "`draws` must be at least 1, an integer; got 0"),
        (None, {"thin": 0}, "`thin` must be at least 1, an integer; got 0"),
        (None, {"warmup": -1}, "`warmup` must be at least 0, an integer; got -1"),
        (
            None,
            {"chains": 3, "samplers": [EulerMaruyama(Coefficients(1.0, 0.1))] * 2},
            "one for each of chains=3; got 2",
        ),
        (
            EulerMaruyama(Coefficients(Linear(1.0, 0.1, 10), 0.1)),
            {"warmup": 9},
            r"`temperature` must be constant after .* of 9",
        ),
        (
            EulerMaruyama(Coefficients(1.0, Switch(0.1, 0.2, 150))),
            {"warmup": 100},
            "`step_size` must be constant after",
        ),
        (
            EulerMaruyama(Coefficients(1.0, 0.1, Linear(2.0, 1.0, 20))),
            {"warmup": 5},
            "`coupling` must be constant and 1 after",
        ),
        (EulerMaruyama(Coefficients(1.0, 0.1, 2.0)), {}, "`coupling` must be constant and 1 after"),
        (
            EulerMaruyama(Coefficients(1.0, float("nan"))),
            {},
            "`step_size` must be a number that makes a law; got nan",
        ),
        (
            MALA(Coefficients(Linear(1.0, 0.0, 5), 0.1)),
            {"warmup": 10},
            "`temperature` must be a number that makes a law; got 0",
        ),
        (
            MALA(Coefficients(1.0, 0.1), adapt_steps=11),
            {"warmup": 10},
            "`adapt_steps` must be at most warmup=10; got 11",
        ),
        (
            None,
            {"samplers": [MALA(Coefficients(1.0, 0.1))] * 2},
            "of the program's own scheme; got EulerMaruyama, MALA",
        ),
        (
            None,
            {
                "samplers": [
                    EulerMaruyama(Coefficients(1.0, 0.1)),
                    EulerMaruyama(Coefficients(1.0, 0.1, 2.0)),
                ]
            },
            "`coupling` must be constant and 1 after",
        ),
    ],
)
def test_what_makes_no_sample_of_one_law_is_refused(draw, sampler, options, message):
    with pytest.raises(ValueError, match=message):
        draw(sampler, **options)


def test_as_many_starts_as_chains_are_needed(draw, start):
    three = SphereState(jnp.stack([start.direction] * 3), jnp.stack([start.radius] * 3))
    with pytest.raises(ValueError, match="`start` must hold one configuration, or chains=2; got 3"):
        draw(start=three)


@pytest.mark.parametrize("warmup", [0, 10])
def test_an_energy_that_is_not_finite_names_its_chain(draw, start, warmup):
    radius = jnp.stack([start.radius, start.radius.at[3].set(jnp.nan)])
    starts = SphereState(jnp.stack([start.direction] * 2), radius)
    with pytest.raises(
        NonFiniteEnergyError, match=r"^chain 1: the energy is not finite after \d+ steps \(gravity"
    ):
        draw(start=starts, warmup=warmup)


def test_one_bad_draw_among_many_is_found(draw):
    absurd = EulerMaruyama(Coefficients(0.5, 1e4))
    with pytest.raises(NonFiniteEnergyError, match=r"chain 0.*after 128 steps"):
        draw(absurd, draws=250)


@pytest.mark.parametrize(("warmup", "draws", "thin"), [(0, 100, 1), (150, 250, 1), (450, 120, 3)])
def test_progress_rises_to_the_total(draw, warmup, draws, thin):
    calls: list[tuple[int, int]] = []
    draw(warmup=warmup, draws=draws, thin=thin, progress=lambda *call: calls.append(call))
    total = warmup + draws * thin
    assert calls[-1] == (total, total)
    assert {call[1] for call in calls} == {total}
    steps = [call[0] for call in calls]
    assert steps == sorted(set(steps))
    assert np.max(np.diff([0, *steps])) <= 128 * thin


def test_one_compilation_serves_warmup_and_draws_and_all_values(draw, start, monkeypatch):
    counted = eqx.filter_jit(eqx.debug.assert_max_traces(advance_chains.__wrapped__, max_traces=1))
    monkeypatch.setattr(chains_module, "advance_chains", counted)
    starts = SphereState(jnp.stack([start.direction] * 2), jnp.stack([start.radius] * 2))
    weak = jnp.full(N, 2.0)
    assert weak.weak_type, "what JAX compiles anew for"
    seen = [
        draw(warmup=150, draws=250),
        draw(warmup=10, draws=120, thin=3),
        draw(EulerMaruyama(Coefficients(0.7, 0.01, direction_mobility=0.3))),
        draw(
            samplers=[
                EulerMaruyama(Coefficients(0.1, 0.02)),
                EulerMaruyama(Coefficients(2.0, 0.02)),
            ]
        ),
        draw(start=starts, warmup=1),
        draw(start=start._replace(radius=weak)),
    ]
    assert len({float(each.last.radius.sum()) for each in seen}) == len(seen)


@pytest.fixture(scope="module")
def cooled(terms, start) -> Samples:
    program = build_program(*terms, MALA(Coefficients(Linear(3.0, 0.5, 100), 0.1)))
    return sample_chains(
        KEY, program, start, chains=2, warmup=100, draws=1000, observers=[AcceptanceObserver(start)]
    )


def test_schedules_of_the_warmup_are_allowed_and_the_temperature_told_is_the_last(cooled):
    np.testing.assert_allclose(cooled.temperature, [0.5, 0.5], rtol=1e-6)


def test_the_share_of_moves_is_the_mean_acceptance(cooled):
    moved = cooled.observables["moved"]
    acceptance = cooled.observables["acceptance"]
    assert np.all(np.isnan(moved[:, 0]))
    # all points at once: decisions with the probabilities recorded
    assert set(np.unique(moved[:, 1:])) == {0.0, 1.0}
    spread = np.sqrt(np.sum(acceptance * (1 - acceptance)))
    assert 0.2 < acceptance.mean() < 0.9
    assert abs(np.sum(moved[:, 1:]) - np.sum(acceptance[:, 1:])) < 4 * spread


def test_statistics_of_colours_are_averaged_over_the_points(terms, start):
    """The hub is one point in eight, not one block in two."""
    sampler = MetropolisWithinGibbs(Coefficients(0.5, 0.5))
    program = build_coloured_program(*terms, sampler, np.asarray([1] + [0] * (N - 1)))
    drawn = sample_chains(KEY, program, start, chains=1, warmup=0, draws=1)
    key = jax.random.fold_in(jax.random.fold_in(KEY, 0), 0)
    _, states = eqx.filter_jit(advance)(key, program, start, initial_sampler_states(program))
    leaves, hub = (float(state.acceptance) for state in states)
    assert abs(leaves - hub) > 0.01
    assert drawn.observables["acceptance"][0, 0] == pytest.approx((7 * leaves + hub) / 8, rel=1e-4)
    assert drawn.observables["step_size"][0, 0] == pytest.approx(0.5)
    assert drawn.acceptance == pytest.approx(drawn.observables["acceptance"][:, 0])


@pytest.mark.usefixtures("unchecked")
def test_a_number_of_draws_that_is_no_integer_is_refused(draw):
    with pytest.raises(ValueError, match=r"`draws` must be at least 1, an integer; got 2.0"):
        draw(draws=2.0)


@pytest.mark.parametrize("points", [N - 1, N + 1])
def test_a_start_of_another_number_of_points_is_refused(draw, points):
    other = SphereState(jnp.ones((points, 3)) / jnp.sqrt(3.0), jnp.ones(points))
    with pytest.raises(ValueError, match=rf"must have shapes \({N}, 3\) and \({N},\)"):
        draw(start=other)
