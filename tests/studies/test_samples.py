"""`Samples` in ArviZ's form, what its table warns of, and the choice of chains."""

import sys
import warnings
from typing import Any

import numpy as np
import pytest

from sphere_ebm.errors import ConvergenceWarning, MissingPackageError
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.moments import Moments
from sphere_ebm.studies.samples import R_HAT_LIMIT, Samples

CHAINS = 4
DRAWS = 500
POINTS = 3


def samples(
    shift: float = 0.0,
    temperature: tuple[float, ...] = (0.5,) * CHAINS,
    keep_states: bool = False,
    **observables: Any,
) -> Samples:
    """Independent normal draws.

    The energies of the last chain are `shift` standard deviations higher.
    """
    rng = np.random.default_rng(0)

    def state(*shape: int) -> SphereState:
        return SphereState(
            rng.standard_normal((*shape, POINTS, 3)), rng.standard_normal((*shape, POINTS))
        )

    energy = {
        name: rng.standard_normal((CHAINS, DRAWS)).astype(np.float32)
        for name in ("gravity", "lateral")
    }
    energy["gravity"][-1] += np.float32(shift)
    return Samples(
        temperature=np.asarray(temperature),
        energy=energy,
        observables={"polar_order": rng.uniform(size=(CHAINS, DRAWS)), **observables},
        moments=Moments(np.full(CHAINS, DRAWS * 1.0), state(CHAINS), state(CHAINS)),
        last=state(CHAINS),
        thin=2,
        warmup=10,
        states=state(CHAINS, DRAWS) if keep_states else None,
    )


ACCEPTANCE = np.random.default_rng(1).uniform(size=(CHAINS, DRAWS))


def test_the_total_energy_is_the_sum_over_terms_in_double_precision():
    drawn = samples()
    exact = drawn.energy["gravity"].astype(np.float64) + drawn.energy["lateral"].astype(np.float64)
    np.testing.assert_array_equal(drawn.total_energy, exact)
    assert drawn.total_energy.dtype == np.float64


def test_the_acceptance_is_the_mean_of_each_chain_and_one_where_all_is_accepted():
    np.testing.assert_allclose(samples(acceptance=ACCEPTANCE).acceptance, ACCEPTANCE.mean(axis=1))
    np.testing.assert_array_equal(samples().acceptance, np.ones(CHAINS))


def test_arviz_gets_what_the_law_determines_apart_from_what_tells_of_the_dynamics():
    of_the_sampler = ("acceptance", "step_size", "kinetic_energy")
    dynamics = (*of_the_sampler, "squared_displacement", "moved", "replica")
    drawn = samples(**{name: ACCEPTANCE + i for i, name in enumerate(dynamics)})
    tree = drawn.to_arviz()
    posterior = tree["posterior"]
    statistics = tree["sample_stats"]
    assert set(posterior.data_vars) == {"energy", "energy_gravity", "energy_lateral", "polar_order"}
    assert set(statistics.data_vars) == {"lp", *dynamics}
    for group in (posterior, statistics):
        assert {values.dims for values in group.data_vars.values()} == {("chain", "draw")}
        assert {values.shape for values in group.data_vars.values()} == {(CHAINS, DRAWS)}
    np.testing.assert_array_equal(posterior["energy"], drawn.total_energy)
    np.testing.assert_array_equal(posterior["energy_lateral"], drawn.energy["lateral"])
    np.testing.assert_array_equal(posterior["polar_order"], drawn.observables["polar_order"])
    np.testing.assert_array_equal(statistics["acceptance"], ACCEPTANCE)


def test_lp_is_minus_the_energy_over_the_temperature_of_its_chain():
    drawn = samples(temperature=(0.5, 1.0, 2.0, 4.0))
    expected = -drawn.total_energy / np.asarray([[0.5], [1.0], [2.0], [4.0]])
    np.testing.assert_allclose(drawn.to_arviz()["sample_stats"]["lp"], expected, rtol=1e-12)


def test_there_is_no_law_at_temperature_zero():
    with pytest.raises(ValueError, match="a law needs a positive temperature; got T = 0"):
        samples(temperature=(0.0, 0.5, 0.5, 0.5)).to_arviz()


def test_the_summary_has_a_row_for_each_variable_and_says_how_sure_it_is():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = samples().summary()
    assert list(table.index) == ["energy", "energy_gravity", "energy_lateral", "polar_order"]
    assert {"mean", "sd", "r_hat", "ess_bulk", "ess_tail", "mcse_mean"} <= set(table.columns)
    total = samples().total_energy
    assert table.loc["energy", "mean"] == pytest.approx(total.mean())
    assert table.loc["energy", "mcse_mean"] == pytest.approx(
        total.std() / np.sqrt(total.size), rel=0.15
    )
    assert (table["r_hat"] < 1.02).all()


def test_chains_that_are_stuck_apart_are_warned_of_by_name():
    with pytest.warns(
        ConvergenceWarning, match=r"R-hat is above 1.05 for energy \(\d.*energy_gravity \(\d"
    ) as caught:
        table = samples(shift=3.0).summary()
    assert "energy_lateral" not in str(caught[0].message)
    assert "polar_order" not in str(caught[0].message)
    assert table.loc["energy_gravity", "r_hat"] > R_HAT_LIMIT


def test_what_never_changes_is_no_reason_to_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = samples(constant=np.zeros((CHAINS, DRAWS))).summary()
    assert "constant" in table.index


def test_one_chain_is_told_that_it_is_alone():
    with pytest.warns(ConvergenceWarning, match="one chain has nobody to disagree with"):
        samples(temperature=(0.5, 1.0, 2.0, 4.0)).at_temperature(1.0).summary()


def test_chains_of_several_temperatures_are_not_compared():
    with pytest.raises(
        ValueError, match=r"chains of one temperature; pick one: samples.at_temperature\(T\)"
    ):
        samples(temperature=(0.5, 0.5, 1.0, 1.0)).summary()


def test_the_chains_of_one_temperature_are_picked_in_all_that_was_drawn():
    drawn = samples(temperature=(0.5, 1.0, 0.5, 2.0), keep_states=True, acceptance=ACCEPTANCE)
    picked = drawn.at_temperature(0.5)
    np.testing.assert_array_equal(picked.temperature, [0.5, 0.5])
    np.testing.assert_array_equal(picked.energy["gravity"], drawn.energy["gravity"][[0, 2]])
    np.testing.assert_array_equal(picked.observables["acceptance"], ACCEPTANCE[[0, 2]])
    np.testing.assert_array_equal(picked.last.direction, drawn.last.direction[[0, 2]])
    np.testing.assert_array_equal(picked.moments.count, [DRAWS, DRAWS])
    np.testing.assert_array_equal(
        picked.moments.deviation.radius, drawn.moments.deviation.radius[[0, 2]]
    )
    assert picked.states is not None
    np.testing.assert_array_equal(picked.states.radius, drawn.states.radius[[0, 2]])
    assert (picked.thin, picked.warmup) == (drawn.thin, drawn.warmup)
    assert samples(temperature=(0.5, 1.0, 0.5, 2.0)).at_temperature(2.0).states is None


def test_a_temperature_told_in_single_precision_is_found():
    rounded = float(np.float32(0.3))
    assert (
        samples(temperature=(rounded, rounded, 1.0, 1.0)).at_temperature(0.3).temperature.size == 2
    )


def test_a_temperature_that_no_chain_has_is_refused():
    with pytest.raises(ValueError, match=r"no chain has T = 0.7; there are \[0.5\]"):
        samples().at_temperature(0.7)


@pytest.mark.parametrize(
    ("call", "package"), [("to_arviz", "arviz_base"), ("summary", "arviz_stats")]
)
def test_a_missing_package_names_the_extra_to_install(monkeypatch, call, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"`{package}`: pip install .*arviz"):
        getattr(samples(), call)()
