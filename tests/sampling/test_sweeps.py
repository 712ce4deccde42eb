"""A block that moves beside points that stay samples its law given them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from sphere_ebm.hamiltonian.fields.grid import POLE_ROWS, columns_of
from sphere_ebm.hamiltonian.lateral import degree_classes
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.sweeps import (
    Strengths,
    Surroundings,
    block_program,
    host,
    measure_block,
    sweep_block,
)
from sphere_ebm.sampling.underdamped import Underdamped

POINTS = 20_000
SHARPNESS = 3.0
ROWS = 24
CELLS = (ROWS + 2 * POLE_ROWS) * columns_of(ROWS)
POLE = np.asarray([[0, 0, 1]], np.float32)


def around(places: np.ndarray) -> Surroundings:
    """Points that all have one neighbour: the last of the others, which stays at the pole."""
    classes = degree_classes(
        np.arange(POINTS), np.full(POINTS, POINTS), np.ones(POINTS, np.float32), POINTS
    )
    return Surroundings(
        classes,
        jnp.asarray(places),
        jnp.asarray(np.concatenate([places, POLE])),
        jnp.zeros((CELLS, 4)),
        jnp.zeros(()),
    )


@pytest.mark.parametrize(("temperature", "passes"), [(3.0, True), (3.15, False)])
def test_points_held_by_one_neighbour_follow_von_mises_and_fisher(
    temperature: float, passes: bool
) -> None:
    start = np.repeat(POLE, POINTS, axis=0)
    coefficients = Coefficients(
        temperature=temperature, step_size=0.2, direction_mobility=1 / SHARPNESS**2
    )
    sampler = Underdamped(coefficients, POINTS, friction=1.0)
    program = block_program(around(start), Strengths(1.0, "harmonic", SHARPNESS, ROWS), sampler)
    places = start
    carried = host(sampler.init())
    for sweep in range(80):
        key = jax.random.fold_in(jax.random.key(4), sweep)
        moved, carried = sweep_block(key, program, around(places), carried)
        places = np.asarray(moved)
    # E = s² (1 - u·a) at T = 3
    concentration = SHARPNESS**2 / 3.0
    mean = 1 / np.tanh(concentration) - 1 / concentration
    variance = 1 / concentration**2 - 1 / np.sinh(concentration) ** 2
    score = (places[:, 2].mean() - mean) / np.sqrt(variance / POINTS)
    assert (2 * stats.norm.sf(abs(score)) > 1e-3) == passes
    scales = (jnp.asarray(0.01, jnp.float32), jnp.asarray(SHARPNESS, jnp.float32))
    measured = measure_block(program, around(start), *scales)
    np.testing.assert_allclose(measured.energy, np.zeros(POINTS), atol=1e-5)
    # the well's curvature is s² in both directions
    np.testing.assert_allclose(measured.spread, np.sqrt(2 * 0.01) / SHARPNESS, rtol=0.01)
