"""What a schedule promises: its values at the start, midway, at the end and after it.

Refusals of impossible ends.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.sampling.schedules import (
    AbstractSchedule,
    Constant,
    Exponential,
    Linear,
    Switch,
)


def value(schedule: AbstractSchedule, step: int) -> float:
    return float(schedule(jnp.asarray(step, jnp.int32)))


@pytest.mark.parametrize(
    ("schedule", "at_start", "at_quarter", "midway", "at_end"),
    [
        (Constant(2.0), 2.0, 2.0, 2.0, 2.0),
        (Linear(4.0, 1.0, 100), 4.0, 3.25, 2.5, 1.0),
        (Exponential(4.0, 0.25, 100), 4.0, 2.0, 1.0, 0.25),
        (Switch(12.0, 1.0, 50), 12.0, 12.0, 1.0, 1.0),
    ],
)
def test_values_at_the_start_midway_at_the_end_and_after_it(
    schedule, at_start, at_quarter, midway, at_end
):
    seen = [value(schedule, step) for step in (0, 25, 50, 100, 101, 10**6)]
    np.testing.assert_allclose(
        seen, [at_start, at_quarter, midway, at_end, at_end, at_end], rtol=1e-6
    )


def test_a_switch_holds_its_first_value_for_exactly_its_steps():
    assert [value(Switch(12.0, 1.0, 3), step) for step in range(5)] == [12.0, 12.0, 12.0, 1.0, 1.0]


@pytest.mark.parametrize("ramp", [Linear, Exponential])
def test_a_ramp_of_no_steps_is_over_at_once(ramp):
    assert value(ramp(4.0, 1.0, 0), 0) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("start", "end"), [(1.0, 0.0), (0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0)]
)
def test_an_exponential_refuses_ends_that_it_cannot_reach(start, end):
    with pytest.raises(ValueError, match="`start` and `end` must be positive"):
        Exponential(start, end, 10)


@pytest.mark.parametrize("ramp", [Constant(1.0), Linear(4, 1, 10), Switch(2.0, 1.0, 5)])
def test_schedules_are_scalar_arrays_in_the_default_precision(ramp):
    assert all(leaf.shape == () and leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(ramp))
    with jax.enable_x64(True):
        assert Linear(4.0, 1.0, 10)(jnp.asarray(3, jnp.int32)).dtype == jnp.float64
