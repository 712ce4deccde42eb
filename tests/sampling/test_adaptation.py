"""Dual averaging.

The published recursion, a target that is met, and a factor that stays once it is over.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.sampling.adaptation import DualAveraging

TARGET = jnp.asarray(0.574, jnp.float32)


def published(acceptance: np.ndarray, target: float) -> tuple[np.ndarray, np.ndarray]:
    """Hoffman & Gelman 2014, algorithm 5, equation by equation.

    Log x and log x̄ in units of the first step size.
    """
    gamma = 0.05
    t0 = 10
    kappa = 0.75
    mu = np.log(10)
    error = 0.0
    average = 0.0
    trials = []
    averages = []
    for m, alpha in enumerate(acceptance, start=1):
        error = (1 - 1 / (m + t0)) * error + (target - alpha) / (m + t0)
        trial = mu - np.sqrt(m) / gamma * error
        average = m**-kappa * trial + (1 - m**-kappa) * average
        trials.append(trial)
        averages.append(average)
    return np.asarray(trials), np.asarray(averages)


@jax.jit
def fed(acceptance: jax.Array, adapt_steps: jax.Array) -> tuple[DualAveraging, jax.Array]:
    """The states after each of these acceptances, and the factor in use at each step."""

    def body(state: DualAveraging, step_and_acceptance: tuple[jax.Array, jax.Array]):
        step, alpha = step_and_acceptance
        after = state.after(alpha, TARGET, step, adapt_steps)
        return after, (after, state.factor(step, adapt_steps))

    steps = jnp.arange(acceptance.size, dtype=jnp.int32)
    return jax.lax.scan(body, DualAveraging.start(acceptance.dtype), (steps, acceptance))[1]


ACCEPTANCE = np.random.default_rng(0).uniform(size=60).astype(np.float32)


def test_the_recursion_is_the_published_one():
    states, _ = fed(jnp.asarray(ACCEPTANCE), jnp.asarray(60, jnp.int32))
    trial, average = published(ACCEPTANCE, float(TARGET))
    np.testing.assert_allclose(states.log_trial, trial, rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(states.log_average, average, rtol=2e-4, atol=2e-4)


def test_the_factor_is_on_trial_while_adapting_and_the_average_afterwards():
    states, factors = fed(jnp.asarray(ACCEPTANCE), jnp.asarray(20, jnp.int32))
    trial, average = published(ACCEPTANCE[:20], float(TARGET))
    np.testing.assert_allclose(factors[:20], np.exp(np.concatenate([[0.0], trial[:-1]])), rtol=2e-3)
    np.testing.assert_allclose(factors[20:], np.exp(average[-1]), rtol=2e-3)
    for values in states:
        assert np.unique(values[19:]).size == 1, "frozen after the last adapting step"
        assert np.unique(values[:20]).size == 20


def test_without_adaptation_the_factor_is_one():
    states, factors = fed(jnp.asarray(ACCEPTANCE), jnp.asarray(0, jnp.int32))
    assert np.all(np.asarray(factors) == 1)
    assert not any(np.any(values) for values in states)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_target_is_met_whatever_the_first_step_size(scale):
    """Acceptance falls with the step size as exp(-scale h); noisy, as one decision is."""
    noise = jax.random.uniform(jax.random.key(1), (2000,), minval=-0.2, maxval=0.2)
    adapt_steps = jnp.asarray(2000, jnp.int32)

    def body(state: DualAveraging, step_and_noise: tuple[jax.Array, jax.Array]):
        step, jitter = step_and_noise
        alpha = jnp.clip(jnp.exp(-scale * state.factor(step, adapt_steps)) + jitter, 0, 1)
        return state.after(alpha, TARGET, step, adapt_steps), None

    steps = jnp.arange(2000, dtype=jnp.int32)
    end, _ = jax.jit(lambda: jax.lax.scan(body, DualAveraging.start(jnp.float32), (steps, noise)))()
    assert np.exp(-scale * np.exp(float(end.log_average))) == pytest.approx(float(TARGET), abs=0.05)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_precision_of_the_acceptance_is_kept(dtype):
    with jax.enable_x64(True):
        state = DualAveraging.start(jnp.dtype(dtype))
        count = jnp.asarray(3, jnp.int32)
        after = jax.eval_shape(
            DualAveraging.after, state, state.error, jnp.asarray(0.5, jnp.float64), count, count
        )
        assert {x.dtype for x in after} == {jnp.dtype(dtype)}
