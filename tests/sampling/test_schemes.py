"""Schemes by name: the right class, with what it was asked for."""

import jax
import jax.numpy as jnp
import pytest

from sphere_ebm.maps.config import SCHEMES
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.leimkuhler_matthews import LeimkuhlerMatthews
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.metropolis_within_gibbs import MetropolisWithinGibbs
from sphere_ebm.sampling.samplers import build_sampler
from sphere_ebm.sampling.schemes import EXACT_SCHEMES, LANGEVIN_SCHEMES, STEP_SIZES
from sphere_ebm.sampling.underdamped import Underdamped

CLASSES = {
    "underdamped": Underdamped,
    "leimkuhler-matthews": LeimkuhlerMatthews,
    "euler-maruyama": EulerMaruyama,
    "mala": MALA,
    "metropolis-within-gibbs": MetropolisWithinGibbs,
}


@pytest.mark.parametrize(("name", "kind"), CLASSES.items())
def test_a_name_gives_its_scheme_with_its_numbers(name, kind):
    sampler = build_sampler(
        name,
        4,
        Coefficients(
            0.5, 0.1, 2.0, direction_mobility=0.25, radius_mobility=3.0, minimum_radius=1.5
        ),
    )
    assert type(sampler) is kind
    zero = jnp.asarray(0, jnp.int32)
    own = sampler.coefficients
    values = [own.temperature(zero), own.step_size(zero), own.coupling(zero)]
    values += [own.direction_mobility, own.radius_mobility, own.minimum_radius]
    assert [float(value) for value in values] == pytest.approx([0.5, 0.1, 2.0, 0.25, 3.0, 1.5])


def test_every_scheme_has_a_name_and_a_default_step_size():
    assert set(CLASSES) == set(LANGEVIN_SCHEMES + EXACT_SCHEMES) == set(STEP_SIZES)
    assert LANGEVIN_SCHEMES == SCHEMES


def test_friction_and_adaptation_reach_the_schemes_that_have_them():
    assert (
        float(build_sampler("underdamped", 4, Coefficients(1.0, 0.1), friction=3.0).friction) == 3.0
    )
    for name in EXACT_SCHEMES:
        sampler = build_sampler(
            name, 4, Coefficients(1.0, 0.1), adapt_steps=7, target_acceptance=0.65
        )
        assert int(sampler.adapt_steps) == 7
        assert float(sampler.target_acceptance) == pytest.approx(0.65)


@pytest.mark.parametrize("name", ["underdamped", "leimkuhler-matthews"])
def test_schemes_keep_their_state_in_the_precision_in_force(name):
    with jax.enable_x64(True):
        assert build_sampler(name, 4, Coefficients(1.0, 0.1)).dtype == jnp.float64
    assert build_sampler(name, 4, Coefficients(1.0, 0.1)).dtype == jnp.float32


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        ValueError, match=r"must be one of underdamped, .*metropolis-within-gibbs; got 'hmc'"
    ):
        build_sampler("hmc", 4, Coefficients(1.0, 0.1))
