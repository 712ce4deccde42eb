"""Heat capacity from fluctuations and from the slope of the energy.

Equal by the law, different when it is broken.
"""

import dataclasses

import numpy as np
import pytest

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.moments import Moments
from sphere_ebm.studies.heat import thermodynamics
from sphere_ebm.studies.samples import Samples

DEGREES = 30.0
"""E / T of a system of 60 quadratic degrees of freedom is Gamma distributed with this shape: C = 30
at any T.
"""
TEMPERATURES = np.asarray([0.5, 0.7, 1.0, 1.4])


def gas(
    temperatures: np.ndarray = TEMPERATURES, *, chains: int = 4, draws: int = 2000, seed: int = 0
) -> Samples:
    """Independent draws of the energy of harmonic oscillators, and an order parameter that falls
    with T.
    """
    rng = np.random.default_rng(seed)
    temperature = np.tile(temperatures, chains)
    energy = temperature[:, None] * rng.gamma(DEGREES, size=(len(temperature), draws))
    order = 1 / temperature[:, None] + 0.1 * rng.standard_normal(energy.shape)
    nothing = SphereState(np.zeros((len(temperature), 1, 3)), np.zeros((len(temperature), 1)))
    return Samples(
        temperature=temperature,
        energy={"gravity": 0.25 * energy, "lateral": 0.75 * energy},
        observables={"polar_order": order, "acceptance": np.ones_like(order)},
        moments=Moments(np.ones(len(temperature)), nothing, nothing),
        last=nothing,
        thin=1,
        warmup=0,
    )


def test_the_heat_capacity_of_a_quadratic_system_is_half_its_degrees_of_freedom_both_ways() -> None:
    curve = thermodynamics(gas())
    np.testing.assert_array_equal(curve.temperature, TEMPERATURES)
    assert np.all(np.abs(curve.energy - DEGREES * TEMPERATURES) < 4 * curve.energy_error)
    assert np.all(np.abs(curve.heat_capacity - DEGREES) < 4 * curve.heat_capacity_error)
    assert np.all(np.abs(curve.heat_capacity_from_slope - DEGREES) < 4 * curve.slope_error)
    assert np.all(np.abs(curve.disagreement()) < 4)
    assert curve.heat_capacity_error.max() < 0.05 * DEGREES, "the test has power"
    assert curve.slope_error.max() < 0.05 * DEGREES


def test_errors_are_those_of_repeated_experiments() -> None:
    curves = [thermodynamics(gas(draws=200, seed=seed)) for seed in range(60)]
    for value, error in (
        ("energy", "energy_error"),
        ("heat_capacity", "heat_capacity_error"),
        ("heat_capacity_from_slope", "slope_error"),
    ):
        spread = np.std([getattr(curve, value) for curve in curves], axis=0)
        claimed = np.mean([getattr(curve, error) for curve in curves], axis=0)
        np.testing.assert_allclose(claimed, spread, rtol=0.35)


def test_a_temperature_that_has_not_equilibrated_shows_as_a_disagreement() -> None:
    samples = gas()
    frozen = samples.temperature == TEMPERATURES[1]
    for values in samples.energy.values():
        values[frozen] = values[frozen].mean() + 0.3 * (values[frozen] - values[frozen].mean())
    curve = thermodynamics(samples)
    assert abs(curve.disagreement()[1]) > 10


def test_the_error_of_the_slope_contains_what_a_bend_makes_of_it() -> None:
    """The energy is T³ to its last digit: finite differences alone are to blame."""
    temperatures = np.array([0.5, 0.6, 0.8, 1.0, 1.1, 1.5])
    samples = gas(temperatures)
    tiny = 1e-7 * np.random.default_rng(0).standard_normal((len(samples.temperature), 2000))
    exact = samples.temperature[:, None] ** 3 + tiny
    curve = thermodynamics(dataclasses.replace(samples, energy={"gravity": exact}))
    missed = np.abs(curve.heat_capacity_from_slope - 3 * temperatures**2)
    np.testing.assert_allclose(curve.slope_error, missed, rtol=1e-3)
    assert missed.min() > 0.005
    few = gas(temperatures[:3])
    exact = few.temperature[:, None] ** 3 + tiny[: len(few.temperature)]
    few = dataclasses.replace(few, energy={"gravity": exact})
    assert thermodynamics(few).slope_error.max() < 1e-6, "three points cannot tell"


def test_order_parameters_are_averaged_and_what_samplers_record_is_not_one_of_them() -> None:
    curve = thermodynamics(gas())
    assert list(curve.order) == ["polar_order"]
    assert np.all(
        np.abs(curve.order["polar_order"] - 1 / TEMPERATURES) < 4 * curve.order_error["polar_order"]
    )


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_temperatures_have_no_slope(count: int) -> None:
    curve = thermodynamics(gas(TEMPERATURES[:count]))
    assert np.isnan(curve.heat_capacity_from_slope).all()
    assert np.isfinite(curve.heat_capacity).all()


def test_the_order_of_the_chains_does_not_matter() -> None:
    samples = gas()
    order = np.random.default_rng(0).permutation(len(samples.temperature))
    shuffled = Samples(
        temperature=samples.temperature[order],
        energy={name: values[order] for name, values in samples.energy.items()},
        observables={name: values[order] for name, values in samples.observables.items()},
        moments=samples.moments,
        last=samples.last,
        thin=1,
        warmup=0,
    )
    np.testing.assert_allclose(
        thermodynamics(shuffled).heat_capacity, thermodynamics(samples).heat_capacity
    )
