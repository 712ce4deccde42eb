"""Terms of a block beside points that stay: forces, and what the pressure's own image takes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import unit
from sphere_ebm.geometry.sphere import project_tangent
from sphere_ebm.hamiltonian.base import AbstractLocalInteraction, SphereState
from sphere_ebm.hamiltonian.beside import AttractionBeside, OwnImage
from sphere_ebm.hamiltonian.lateral import LateralAttraction, degree_classes

POINTS = 12
OTHERS = 20
SHARPNESS = 2.5
RNG = np.random.default_rng(0)
PLACES = unit(RNG.standard_normal((OTHERS, 3))).astype(np.float32)
HERE = SphereState(
    jnp.asarray(unit(RNG.standard_normal((POINTS, 3))).astype(np.float32)), jnp.ones(POINTS)
)
HEADS = np.repeat(np.arange(POINTS), 3)
TAILS = np.concatenate([RNG.choice(OTHERS, 3, replace=False) for _ in range(POINTS)])
WEIGHT = RNG.random(3 * POINTS).astype(np.float32)
SLOTS = jnp.ones((POINTS, 1), bool)


def attraction(kernel: str) -> AttractionBeside:
    classes = degree_classes(HEADS, TAILS, WEIGHT, POINTS)
    numbers = (jnp.asarray(1.7, jnp.float32), jnp.asarray(SHARPNESS, jnp.float32))
    return AttractionBeside(classes, jnp.asarray(PLACES), *numbers, kernel)


def image() -> OwnImage:
    numbers = (jnp.asarray(0.8, jnp.float32), jnp.asarray(SHARPNESS, jnp.float32))
    return OwnImage(jnp.asarray(PLACES[:POINTS]), *numbers)


@pytest.mark.parametrize("kernel", ["cauchy", "gaussian", "harmonic", None])
def test_the_force_is_minus_the_gradient(kernel: str | None) -> None:
    term: AbstractLocalInteraction = image() if kernel is None else attraction(kernel)

    def energy(direction: jax.Array) -> jax.Array:
        rows = direction / jnp.linalg.norm(direction, axis=1, keepdims=True)
        return jnp.sum(term.local_energy_and_force(HERE._replace(direction=rows), [], SLOTS)[0])

    slope = jax.grad(energy)(HERE.direction)
    force = term.local_energy_and_force(HERE, [], SLOTS)[1]
    np.testing.assert_allclose(
        project_tangent(HERE.direction, force.direction), -slope, rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(force.radius, np.zeros(POINTS))


def test_attraction_is_that_of_fitted_points_on_newcomers() -> None:
    slots = TAILS.reshape(POINTS, 3)
    there = SphereState(jnp.asarray(PLACES[slots]), jnp.ones((POINTS, 3)))
    numbers = (jnp.asarray(1.7, jnp.float32), jnp.asarray(SHARPNESS, jnp.float32))
    padded = LateralAttraction(
        OTHERS, jnp.asarray(WEIGHT.reshape(POINTS, 3)), jnp.asarray(slots), *numbers, "cauchy"
    )
    energy, force = padded.local_energy_and_force(HERE, [there], jnp.ones((POINTS, 3), bool))
    found, pull = attraction("cauchy").local_energy_and_force(HERE, [], SLOTS)
    np.testing.assert_allclose(found, energy, rtol=1e-5)
    np.testing.assert_allclose(pull.direction, force.direction, rtol=1e-4, atol=1e-5)


def test_at_its_own_place_an_image_takes_one_repulsion_and_no_force() -> None:
    here = HERE._replace(direction=jnp.asarray(PLACES[:POINTS]))
    energy, force = image().local_energy_and_force(here, [], SLOTS)
    np.testing.assert_allclose(energy, np.full(POINTS, -0.8), rtol=1e-6)
    tangent = project_tangent(here.direction, force.direction)
    np.testing.assert_allclose(tangent, np.zeros((POINTS, 3)), atol=1e-5)
