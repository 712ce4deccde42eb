"""`sample`: embeddings in, chains of maps at one temperature out."""

import warnings
from typing import Any

import jax
import numpy as np
import pytest

from sphere_ebm import PlacementConfig, sample
from sphere_ebm.errors import ConvergenceWarning
from sphere_ebm.studies.heat import thermodynamics
from sphere_ebm.studies.sample import sample_ladder
from sphere_ebm.studies.samples import Samples

# The chains, the room for draws and the observers of `maps`: others are another compilation.
N_POINTS = 24
CHAINS = 4
DRAWS = 70
QUICK: dict[str, Any] = {
    "chains": CHAINS,
    "warmup": 40,
    "draws": DRAWS,
    "thin": 2,
    "keep_states": True,
}
CONFIG = PlacementConfig(neighbours=4, steps=40)
TWO_TERMS = PlacementConfig(neighbours=2, steps=10, osmotic_strength=0.0)


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    rng = np.random.default_rng(0)
    centre = rng.standard_normal((3, 8))
    return (centre[np.arange(N_POINTS) % 3] + 0.3 * rng.standard_normal((N_POINTS, 8))).astype(
        np.float32
    )


@pytest.fixture(scope="module")
def maps(embeddings: np.ndarray) -> Samples:
    config = PlacementConfig(neighbours=4, steps=200)
    return sample(
        embeddings,
        config=config,
        temperature=0.6,
        chains=CHAINS,
        warmup=1500,
        draws=400,
        thin=15,
        keep_states=True,
    )


def test_chains_from_different_starts_agree_on_the_law(maps: Samples) -> None:
    table = maps.summary()
    assert {"energy", "energy_lateral", "polar_order", "nematic_order", "neighbour_overlap"} <= set(
        table.index
    )
    assert float(table.loc["energy", "r_hat"]) < 1.05
    assert np.all((maps.acceptance > 0.45) & (maps.acceptance < 0.72))


def test_radii_follow_gravity_alone_whatever_the_directions_do(maps: Samples) -> None:
    """κ = 1: ⟨H_gravity⟩ = N T / 2, and nothing else acts on radii."""
    gravity = maps.energy["gravity"].astype(np.float64)
    curve = thermodynamics(maps)
    assert curve.temperature == pytest.approx([0.6])
    error = gravity.std() / np.sqrt(gravity.size / 20)
    assert abs(gravity.mean() - N_POINTS * 0.6 / 2) < 4 * error


def test_neighbours_of_the_graph_stay_near_each_other(maps: Samples) -> None:
    overlap = maps.observables["neighbour_overlap"]
    chance = 2 * 4 / (N_POINTS - 1)
    assert overlap.mean() > 1.5 * chance
    assert float(overlap.max()) <= 1


def test_every_chain_starts_elsewhere_and_ends_on_the_sphere(maps: Samples) -> None:
    assert maps.states is not None
    assert maps.states.direction.shape == (4, 400, N_POINTS, 3)
    first = maps.states.direction[:, 0]
    assert all(np.abs(first[i] - first[j]).max() > 0.3 for i in range(4) for j in range(i))
    np.testing.assert_allclose(np.linalg.norm(maps.states.direction, axis=-1), 1, rtol=1e-6)
    assert maps.states.radius.min() > 0


def test_one_seed_gives_the_same_draws_and_chains_more_change_none(
    embeddings: np.ndarray,
) -> None:
    short = QUICK | {"config": PlacementConfig(neighbours=4, steps=5), "warmup": 2}
    two, again, four = (
        sample(embeddings, **(short | {"chains": chains})) for chains in (2, 2, CHAINS)
    )
    np.testing.assert_array_equal(two.states.direction, again.states.direction)
    # rounding may differ, and grows with the steps
    first = four.states.direction[:2, 0]
    np.testing.assert_allclose(first, two.states.direction[:, 0], atol=1e-4)


@pytest.mark.parametrize("scheme", ["underdamped", "leimkuhler-matthews", "euler-maruyama"])
def test_other_schemes_draw_too(embeddings: np.ndarray, scheme: str) -> None:
    samples = sample(embeddings, config=CONFIG, scheme=scheme, **QUICK)
    assert samples.total_energy.shape == (CHAINS, DRAWS)
    assert ("kinetic_energy" in samples.observables) == (scheme == "underdamped")
    assert samples.acceptance.tolist() == [1.0] * CHAINS


def test_the_coloured_sampler_draws_from_two_terms_and_refuses_three(
    embeddings: np.ndarray,
) -> None:
    samples = sample(embeddings, config=TWO_TERMS, scheme="metropolis-within-gibbs", **QUICK)
    assert list(samples.energy) == ["gravity", "lateral"]
    assert np.all((samples.acceptance > 0) & (samples.acceptance < 1))
    with pytest.raises(ValueError, match=r"osmotic_strength=0 in `config`, or use scheme='mala'"):
        sample(embeddings, config=CONFIG, scheme="metropolis-within-gibbs", **QUICK)


def test_a_start_is_taken_as_given(embeddings: np.ndarray) -> None:
    start = np.random.default_rng(1).standard_normal((N_POINTS, 3))
    samples = sample(embeddings, config=CONFIG, start=start, **(QUICK | {"warmup": 0, "thin": 1}))
    given = start / np.linalg.norm(start, axis=1, keepdims=True)
    first = samples.states.direction[:, 0]
    assert np.abs(first - given).max() < 1.0
    cosine = np.sum(first * given, axis=-1)
    assert cosine.mean() > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0.0}, "`temperature` must be a positive number; got 0.0"),
        ({"temperature": float("nan")}, "`temperature` must be a positive number"),
        ({"step_size": 0.0}, "`step_size` must be a positive number, or None; got 0.0"),
        ({"start": np.zeros((3, 24, 3))}, r"or \(4, 24, 3\) for each chain; got \(3, 24, 3\)"),
        ({"scheme": "hmc"}, "`scheme` must be one of mala, metropolis-within-gibbs"),
        ({"chains": 0}, "`chains` must be at least 1, an integer; got 0"),
        ({"start": np.zeros((3, 3))}, r"`start` must have shape \(24, 3\)"),
        ({"prominence": np.ones(3)}, r"`prominence` must have shape \(24,\)"),
    ],
)
def test_bad_input_is_refused_with_the_reason(
    embeddings: np.ndarray, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sample(embeddings, config=CONFIG, **(QUICK | options))


def test_one_point_has_no_map_to_sample() -> None:
    with pytest.raises(ValueError, match="at least 2 points; got 1"):
        sample(np.ones((1, 3)), **QUICK)


def test_a_chain_continues_from_where_another_ended(embeddings: np.ndarray) -> None:
    first = sample(embeddings, config=CONFIG, **QUICK)
    short = QUICK | {"warmup": 0, "thin": 1}
    second = sample(embeddings, config=CONFIG, start=first.last.direction, **short)
    begun = second.states.direction[:, 0]
    assert np.mean(np.sum(begun * first.last.direction, axis=-1)) > 0.9


def test_notes_about_the_input_come_with_the_draws(embeddings: np.ndarray) -> None:
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    notes = sample(unit, config=CONFIG, **QUICK).notes
    assert any("normalised" in note for note in notes)


def test_in_double_precision_everything_is(embeddings: np.ndarray) -> None:
    with jax.enable_x64(True):
        samples = sample(embeddings, config=CONFIG, **QUICK)
    assert samples.last.direction.dtype == samples.energy["osmotic"].dtype == np.float64
    np.testing.assert_allclose(np.linalg.norm(samples.last.direction, axis=-1), 1, rtol=1e-14)


def test_a_ladder_draws_at_every_temperature_from_chains_that_start_apart(
    embeddings: np.ndarray,
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        result = sample_ladder(
            embeddings, config=CONFIG, temperatures=(0.4, 0.6, 0.9), warmup=200, draws=40, thin=5
        )
    told = [one for one in caught if "few swaps between rungs" in str(one.message)]
    assert bool(told) == bool(result.swap_acceptance.min() < 0.2)
    assert result.samples.temperature.tolist() == pytest.approx([0.4, 0.6, 0.9] * 2)
    curve = thermodynamics(result.samples)
    assert np.all(np.diff(curve.energy) > 0)
    assert np.all(np.isfinite(curve.r_hat))
    assert set(curve.order) == {"polar_order", "nematic_order", "neighbour_overlap"}
    assert np.all(result.swap_acceptance > 0)
    with pytest.raises(ValueError, match="keeps velocities or noise"):
        sample_ladder(
            embeddings,
            config=CONFIG,
            temperatures=(0.4, 0.6),
            scheme="underdamped",
            warmup=5,
            draws=1,
        )
