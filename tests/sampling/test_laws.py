"""Every scheme obeys every law that is known exactly, in three ways of running it, and a wrong
temperature is found.

Systems, laws and step sizes are those of `python -m benchmarks.laws`, which repeats this over
twenty keys.
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SCHEMES = ["Euler-Maruyama", "Leimkuhler-Matthews", "Underdamped", "MALA", "coloured"]
RUNS = {
    "radius": "pair",
    "free diffusion": "diffusion",
    "pair separation": "pair",
    "uniform directions": "uniform",
    "equipartition": "pair",
    "anchored directions": "von Mises-Fisher",
    "two points": "two",
    "three points": "three",
}
VARIANTS = ["float32", "float64", "sample_states of THRML"]
SEED = 20


def _load(name: str) -> ModuleType:
    """A module of `benchmarks`, which is not installed: it runs from the root of the repository."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        return importlib.import_module(f"benchmarks.{name}")


@pytest.fixture(scope="module")
def systems() -> ModuleType:
    return _load("law_systems")


@pytest.fixture(scope="module")
def exact() -> ModuleType:
    return _load("exact_laws")


@pytest.fixture(scope="module")
def judged(systems) -> Iterator[Callable[..., dict[str, float]]]:
    """p-values of all laws of a run.

    Laws of one run share its draws, and runs of one system their compilation.
    """
    known: dict[tuple[str, str, str, float], dict[str, float]] = {}

    def p_values(variant: str, scheme: str, run: str, wrong: float) -> dict[str, float]:
        asked = variant, scheme, run, wrong
        if asked not in known:
            with jax.enable_x64(True) if variant == "float64" else contextlib.nullcontext():
                plain = variant == "sample_states of THRML"
                known[asked] = systems.p_values(scheme, run, seed=SEED, wrong=wrong, plain=plain)
        return known[asked]

    yield p_values
    _load("law_programs").program.cache_clear()


@pytest.mark.parametrize("law", list(RUNS))
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_scheme_obeys_the_law_and_five_percent_in_temperature_are_found_out(
    judged, variant, scheme, law
):
    # T drops out of the law of uniform directions: there the wrong law is that of a pair pulled by
    # 12 % of T
    right, wrong = (judged(variant, scheme, RUNS[law], error)[law] for error in (0.0, 0.05))
    assert right > 1e-3
    assert wrong < 1e-2


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_draws_are_in_the_precision_asked_for(systems, scheme):
    with jax.enable_x64(True):
        draw = systems.simulate(scheme, "pair", seed=0, chains=systems.CHAINS["pair"])
    np.testing.assert_allclose(np.linalg.norm(draw.direction, axis=-1), 1, atol=1e-14)
    assert np.any(draw.radius != draw.radius.astype(np.float32))


@pytest.mark.parametrize("law", ["radius", "pair separation", "equipartition"])
def test_at_the_step_of_mala_euler_maruyama_misses_the_gibbs_law(systems, law):
    step = systems.PLANS["MALA"]["pair"]
    assert step == systems.PLANS["coloured"]["pair"]
    p_values = systems.p_values("Euler-Maruyama", "pair", seed=SEED, plan=step, judged_as="MALA")
    assert p_values[law] < 1e-6


def test_the_schemes_are_judged_by_all_laws(systems):
    assert list(systems.SCHEMES) == SCHEMES
    assert {law: run for law, (run, _) in systems.LAWS.items()} == RUNS


def test_quadrature_reproduces_the_truncated_exponential(exact):
    law = exact.two_points(exact.pair_energy)
    a = exact.PAIR_COUPLING
    assert law.expect(law.midpoints) == pytest.approx(1 / np.tanh(a) - 1 / a, abs=1e-8)
    assert law.energy_variance == pytest.approx(1 - (a / np.sinh(a)) ** 2, abs=1e-8)


def test_an_anchored_point_has_the_mean_of_von_mises_and_fisher(exact):
    for x in exact.ANCHORS:
        law = exact.two_points(exact.anchor_energy(x))
        assert law.expect(law.midpoints) == pytest.approx(1 / np.tanh(x) - 1 / x, abs=1e-8)


def test_three_points_without_two_edges_are_a_pair(exact, monkeypatch):
    monkeypatch.setattr(exact, "TRIANGLE", ((0, 1, exact.LATERAL), (0, 2, 0.0), (1, 2, 0.0)))
    law = exact.three_points.__wrapped__(osmotic=False)
    pair = exact.two_points.__wrapped__(lambda c: exact.two_energy(c, osmotic=False))
    assert law.energy_mean == pytest.approx(pair.energy_mean, abs=5e-4)
    np.testing.assert_allclose(
        law.cdf(np.linspace(-1, 1, 9)), pair.cdf(np.linspace(-1, 1, 9)), atol=1e-4
    )


def test_the_law_of_euler_maruyama_tends_to_the_gibbs_law_in_first_order(exact):
    gibbs = exact.two_points(exact.pair_energy).energy_mean
    one, two = (
        exact.by_euler_maruyama(exact.pair_energy, h).energy_mean - gibbs for h in (0.0025, 0.005)
    )
    assert two / one == pytest.approx(2, abs=0.02)
