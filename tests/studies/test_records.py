"""What chains record: energies, moments, states, and what observers see."""

from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thrml import AbstractObserver

from chain_system import KEY, N
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.programs import (
    build_program,
)
from sphere_ebm.studies.chains import sample_chains
from sphere_ebm.studies.observers import DisplacementObserver, OrderObserver
from sphere_ebm.studies.samples import Samples


@final
class Counter(AbstractObserver):
    """Counts its observations and records nothing at all, or the iteration it is told."""

    silent: bool = eqx.field(static=True)

    def init(self) -> jax.Array:
        return jnp.zeros((), jnp.int32)

    def __call__(
        self, program: Any, free: Any, clamped: Any, carry: Any, iteration: Any
    ) -> tuple[Any, Any]:
        record = {"iteration": iteration.astype(jnp.float32), "looks": carry.astype(jnp.float32)}
        return carry + 1, None if self.silent else record


@pytest.fixture(scope="module")
def kept(draw, start) -> Samples:
    """Every state kept, and several observers."""
    observers = [Counter(True), OrderObserver(), DisplacementObserver(start), Counter(False)]
    return draw(warmup=120, draws=250, keep_states=True, observers=observers)


def test_looking_and_keeping_states_changes_no_draw(draw, kept):
    plain = draw(warmup=120, draws=250)
    for name, values in kept.energy.items():
        np.testing.assert_allclose(values, plain.energy[name], rtol=1e-3, atol=1e-3)
    assert (kept.states.direction.shape, kept.states.radius.shape) == ((2, 250, N, 3), (2, 250, N))
    np.testing.assert_array_equal(kept.states.direction[:, -1], kept.last.direction)
    np.testing.assert_array_equal(kept.states.radius[:, -1], kept.last.radius)


def test_energies_are_those_of_the_states(terms, kept):
    for factor, name in zip(terms[1], ("gravity", "lateral"), strict=True):
        exact = jax.jit(jax.vmap(jax.vmap(factor.energy)))(jax.tree.map(jnp.asarray, kept.states))
        np.testing.assert_allclose(kept.energy[name], exact, rtol=2e-5, atol=1e-5)


def test_moments_are_those_of_the_states_of_each_chain(kept):
    np.testing.assert_array_equal(kept.moments.count, [250, 250])
    for values, mean, deviation in zip(
        kept.states, kept.moments.mean, kept.moments.deviation, strict=True
    ):
        exact = values.astype(np.float64)
        np.testing.assert_allclose(mean, exact.mean(axis=1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(deviation / 250, exact.var(axis=1), rtol=1e-3, atol=1e-6)


def test_without_asking_no_configuration_is_kept(program, draw, start):
    drawn = draw(draws=250)
    assert drawn.states is None
    sizes = [x.size for x in jax.tree.leaves((drawn.energy, drawn.observables))]
    assert max(sizes) == 2 * 250
    assert {x.shape[:2] for x in jax.tree.leaves(tuple(drawn.last))} == {(2, N)}


def test_observers_may_record_nothing_or_numbers_of_their_own(kept):
    assert set(kept.observables) == {
        "polar_order",
        "nematic_order",
        "squared_displacement",
        "iteration",
        "looks",
    }
    # both begin with the first draw: what was seen in the warm-up is forgotten
    for name in ("iteration", "looks"):
        np.testing.assert_array_equal(
            kept.observables[name], np.broadcast_to(np.arange(250), (2, 250))
        )


def test_what_observers_see_are_the_draws(kept):
    mean = kept.states.direction.mean(axis=2)
    np.testing.assert_allclose(
        kept.observables["polar_order"], np.linalg.norm(mean, axis=-1), rtol=1e-4
    )
    away = kept.observables["squared_displacement"]
    assert not np.any(away[:, 0]), "the first draw, not the start of the warm-up"
    assert np.all(away[:, 1:] > 0)


@final
class Silent(AbstractObserver):
    """Counts looks and records them without a name."""

    def init(self):
        return jnp.zeros((), jnp.int32)

    def __call__(self, program, state_free, state_clamped, carry, iteration):
        return carry + 1, state_free[0].radius[:2]


@final
class Impostor(AbstractObserver):
    """Records under the name of a sampler's own statistic."""

    def __call__(self, program, state_free, state_clamped, carry, iteration):
        return None, {"acceptance": jnp.asarray(7.0)}


def test_what_an_observer_records_without_a_name_and_carries_is_kept(terms, start):
    program = build_program(*terms, EulerMaruyama(Coefficients(1.0, 0.02)))
    drawn = sample_chains(
        KEY, program, start, chains=2, warmup=3, draws=5, observers=[Silent()], keep_states=True
    )
    np.testing.assert_array_equal(drawn.records[0], drawn.states.radius[:, :, :2])
    np.testing.assert_array_equal(drawn.memory[0], [5, 5])
    assert drawn.observables == {}


def test_two_observers_of_one_name_are_refused(terms, start):
    program = build_program(*terms, MALA(Coefficients(1.0, 0.02)))
    with pytest.raises(ValueError, match="names of their own; got acceptance twice"):
        sample_chains(KEY, program, start, chains=1, warmup=0, draws=2, observers=[Impostor()])
