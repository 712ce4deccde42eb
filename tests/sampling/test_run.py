"""What a run promises: chunks, interruptions and repetition change no bit.

It stops when it should, and says why.
"""

import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.errors import NonFiniteEnergyError
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.programs import build_program
from sphere_ebm.sampling.run import WINDOW, Carry, RunPlan, RunResult, Trace, run_program
from sphere_ebm.sampling.schedules import Linear
from sphere_ebm.sampling.underdamped import Underdamped

KEY = jax.random.key(11)
PLAN = RunPlan(steps=20, average=15, chunk=6)


def annealed_sampler(n: int, temperature: float = 0.5, step_size: float = 0.05) -> Underdamped:
    cooling = Linear(2 * temperature, temperature, 15)
    return Underdamped(Coefficients(cooling, step_size, direction_mobility=0.2), n)


@pytest.fixture(scope="module")
def program(small_block, small_factors) -> Any:
    return build_program(small_block, small_factors, annealed_sampler(len(small_block)))


@pytest.fixture(scope="module")
def start(program, small_start) -> Carry:
    return Carry(small_start, [program.samplers[0].init()], empty_moments(small_start))


def with_sampler(program, sampler) -> Any:
    return eqx.tree_at(lambda p: p.samplers, program, [sampler])


def assert_same_bits(a: Carry, b: Carry) -> None:
    for left, right in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(left, right)


def collected(program, start: Carry, plan: RunPlan) -> tuple[RunResult, list[Carry]]:
    carries: list[Carry] = []
    result = run_program(
        KEY, program, start, plan, checkpoint=lambda carry, _: carries.append(carry)
    )
    return result, carries


@pytest.mark.parametrize("chunk", [1, 7, 20, 1000])
def test_the_size_of_the_chunks_changes_no_bit(program, start, chunk):
    reference = run_program(KEY, program, start, PLAN)
    other = run_program(KEY, program, start, RunPlan(PLAN.steps, PLAN.average, chunk=chunk))
    assert_same_bits(reference.carry, other.carry)
    assert reference.trace.energy["osmotic"][-1] == other.trace.energy["osmotic"][-1]


def test_continuing_after_any_checkpoint_gives_the_same_bits(program, start):
    reference = run_program(KEY, program, start, PLAN)
    saved: list[tuple[Carry, Trace]] = []

    def checkpoint(carry: Carry, trace: Trace) -> None:
        saved.append(
            (carry, Trace(list(trace.steps), {k: list(v) for k, v in trace.energy.items()}))
        )

    run_program(KEY, program, start, PLAN, checkpoint=checkpoint)
    for carry, trace in saved:
        continued = run_program(KEY, program, carry, PLAN, trace=trace)
        assert_same_bits(reference.carry, continued.carry)
        assert continued.trace == reference.trace


def test_moments_are_the_mean_and_variance_of_the_averaged_states(program, start):
    result, carries = collected(program, start, RunPlan(PLAN.steps, PLAN.average, chunk=1))
    moments = result.carry.moments
    states = [carry.state for carry in carries[PLAN.steps :]]
    assert float(moments.count) == len(states) == PLAN.average
    for part in ("direction", "radius"):
        samples = np.stack([np.asarray(getattr(state, part), np.float64) for state in states])
        np.testing.assert_allclose(
            getattr(moments.mean, part), samples.mean(axis=0), rtol=1e-5, atol=1e-6
        )
        spread = np.asarray(getattr(moments.deviation, part)) / PLAN.average
        np.testing.assert_allclose(spread, samples.var(axis=0), rtol=1e-4, atol=1e-7)


def test_nothing_is_averaged_while_annealing(program, start):
    moments = run_program(KEY, program, start, RunPlan(steps=20)).carry.moments
    assert float(moments.count) == 0.0
    assert not bool(jnp.any(moments.mean.radius))


def test_trace_and_progress_tell_the_steps_and_energies_of_every_chunk(
    program, start, small_factors
):
    calls: list[tuple[int, int, dict[str, float]]] = []
    result = run_program(KEY, program, start, PLAN, progress=lambda *call: calls.append(call))
    assert [call[0] for call in calls] == [6, 12, 18, 20, 26, 32, 35]
    assert result.trace.steps == [0, 6, 12, 18, 20, 26, 32, 35]
    assert {call[1] for call in calls} == {35}
    before = [float(factor.energy(start.state)) for factor in small_factors]
    np.testing.assert_allclose(
        [values[0] for values in result.trace.energy.values()], before, rtol=1e-5
    )
    exact = [float(factor.energy(result.carry.state)) for factor in small_factors]
    np.testing.assert_allclose(list(calls[-1][2].values()), exact, rtol=1e-5)
    np.testing.assert_allclose(result.trace.total()[-1], sum(exact), rtol=1e-5)
    assert int(result.carry.step) == 35


def test_a_converged_energy_ends_the_annealing_early_and_always_at_the_same_step(program, start):
    n = start.state.radius.size
    cold = with_sampler(program, annealed_sampler(n, temperature=0.0, step_size=0.1))
    plan = RunPlan(steps=3000, average=10, tolerance=1e-3, chunk=20)
    first = run_program(KEY, cold, start, plan)
    again = run_program(KEY, cold, start, plan)
    assert first.converged
    assert first.trace.steps[-1] < 1000
    assert float(first.carry.moments.count) == 10
    assert first.trace == again.trace
    assert_same_bits(first.carry, again.carry)
    before, after = first.trace.total()[:-1][-2 * WINDOW :].reshape(2, WINDOW).mean(axis=1) / n
    assert abs(after - before) < plan.tolerance
    before, after = first.trace.total()[:-2][-2 * WINDOW :].reshape(2, WINDOW).mean(axis=1) / n
    assert abs(after - before) >= plan.tolerance, "and not a chunk earlier"


def test_a_run_interrupted_after_convergence_still_knows_it(program, start):
    cold = with_sampler(
        program, annealed_sampler(start.state.radius.size, temperature=0.0, step_size=0.1)
    )
    plan = RunPlan(steps=3000, average=50, tolerance=1e-3, chunk=20)
    whole, carries = collected(cold, start, plan)
    trace = Trace(whole.trace.steps[:-1], {k: v[:-1] for k, v in whole.trace.energy.items()})
    continued = run_program(KEY, cold, carries[-2], plan, trace=trace)
    assert continued.converged
    assert_same_bits(whole.carry, continued.carry)


def test_annealing_does_not_end_before_the_schedules_have_settled(program, start):
    cold = with_sampler(
        program, annealed_sampler(start.state.radius.size, temperature=0.0, step_size=0.1)
    )
    result = run_program(
        KEY, cold, start, RunPlan(steps=3000, settled=1500, tolerance=1e-3, chunk=20)
    )
    assert result.converged
    assert result.trace.steps[-1] == 1500 + 20 * (2 * WINDOW - 1)


def test_a_run_that_does_not_converge_spends_its_steps(program, start):
    result = run_program(KEY, program, start, RunPlan(steps=40, tolerance=1e-9, chunk=5))
    assert not result.converged
    assert result.trace.steps[-1] == 40


def test_a_non_finite_energy_stops_the_run_with_its_step_terms_and_causes(program, start):
    absurd = with_sampler(program, annealed_sampler(start.state.radius.size, step_size=1e6))
    checkpoints: list[int] = []
    with pytest.raises(NonFiniteEnergyError) as caught:
        run_program(KEY, absurd, start, PLAN, checkpoint=lambda carry, _: checkpoints.append(1))
    message = str(caught.value)
    assert re.search(
        r"not finite after \d+ steps \(gravity = .*, lateral = .*, osmotic = ", message
    )
    assert "step_size" in message
    assert len(checkpoints) < 4


def test_a_start_that_is_not_finite_is_refused_before_the_first_step(program, start):
    broken = start._replace(
        state=start.state._replace(radius=start.state.radius.at[3].set(jnp.nan))
    )
    with pytest.raises(NonFiniteEnergyError, match="after 0 steps"):
        run_program(KEY, program, broken, PLAN)


def test_an_empty_trace_has_no_energy():
    assert Trace().total().shape == (0,)


def test_a_run_that_is_already_done_takes_no_step(program, start):
    done = run_program(KEY, program, start, PLAN)
    again = run_program(KEY, program, done.carry, PLAN, trace=done.trace)
    assert_same_bits(done.carry, again.carry)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 10, "chunk": 0}, "`chunk` must be at least 1 step; got 0"),
        ({"steps": -1}, "must be >= 0; got -1"),
        ({"steps": 1, "tolerance": float("nan")}, "must be >= 0"),
    ],
)
def test_an_impossible_plan_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RunPlan(**options)
