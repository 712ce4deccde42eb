"""Each observer against NumPy, and in THRML's own loop."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from thrml import SamplingSchedule, sample_with_observation

from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.metropolis_within_gibbs import MetropolisWithinGibbs
from sphere_ebm.sampling.programs import build_coloured_program, build_program, split_blocks
from sphere_ebm.studies.observers import (
    AcceptanceObserver,
    ConfigurationObserver,
    DisplacementObserver,
    EnergyObserver,
    MomentObserver,
    OrderObserver,
    OverlapObserver,
)

FIRST = jnp.asarray(0, jnp.int32)
LATER = jnp.asarray(5, jnp.int32)


@pytest.fixture(scope="module")
def program(small_block, small_factors) -> Any:
    return build_program(small_block, small_factors, EulerMaruyama(Coefficients(1.0, 0.02)))


@pytest.fixture(scope="module")
def coloured(small_block, small_factors) -> Any:
    """Three unequal classes, so that the order of the points is not that of the blocks."""
    colour = np.arange(30) % 2
    colour[4] = 2
    return build_coloured_program(
        small_block, small_factors[:2], MetropolisWithinGibbs(Coefficients(1.0, 0.02)), colour
    )


@eqx.filter_jit
def seen(
    observer: Any, program: Any, state: SphereState, carry: Any = None, iteration: Any = FIRST
) -> Any:
    return observer(program, split_blocks(program, state), [], carry, iteration)


def cloud(n: int, seed: int = 0) -> np.ndarray:
    direction = np.random.default_rng(seed).standard_normal((n, 3))
    return (direction / np.linalg.norm(direction, axis=1, keepdims=True)).astype(np.float32)


def as_state(direction: np.ndarray) -> SphereState:
    return SphereState(jnp.asarray(direction, jnp.float32), jnp.ones(len(direction)))


def test_energies_are_those_of_the_terms(program, small_factors, small_start):
    memory, record = seen(EnergyObserver(), program, small_start)
    assert memory is None
    assert list(record) == ["gravity", "lateral", "osmotic"]
    exact = [float(factor.energy(small_start)) for factor in small_factors]
    np.testing.assert_allclose(list(record.values()), exact, rtol=1e-5)


def test_moments_are_accumulated_and_nothing_is_recorded(program, small_start):
    observer = MomentObserver(small_start)
    moments = observer.init()
    states = [small_start, SphereState(-small_start.direction, small_start.radius + 2)]
    for state in states:
        moments, record = seen(observer, program, state, moments)
        assert record == {}
    assert float(moments.count) == 2
    np.testing.assert_allclose(moments.mean.radius, small_start.radius + 1, rtol=1e-6)
    np.testing.assert_allclose(moments.deviation.radius, 2, rtol=1e-5)
    np.testing.assert_allclose(moments.mean.direction, 0, atol=1e-6)


def order(program: Any, direction: np.ndarray) -> tuple[float, float]:
    _, record = seen(OrderObserver(), program, as_state(direction))
    return float(record["polar_order"]), float(record["nematic_order"])


def test_order_is_one_for_aligned_directions_and_nematic_also_either_way_round(program):
    aligned = np.tile(cloud(1), (40, 1))
    assert order(program, aligned) == pytest.approx((1, 1), abs=1e-5)
    both_ways = aligned * np.where(np.arange(40) % 2, 1, -1)[:, None]
    assert order(program, both_ways) == pytest.approx((0, 1), abs=1e-5)


def test_order_is_that_of_its_definition_and_does_not_turn_with_the_map(program):
    direction = cloud(30) + np.asarray([0.3, -0.8, 0.5])
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    tensor = np.mean([(3 * np.outer(u, u) - np.eye(3)) / 2 for u in direction], axis=0)
    exact = np.linalg.norm(direction.mean(axis=0)), np.linalg.eigvalsh(tensor).max()
    assert order(program, direction) == pytest.approx(exact, rel=1e-4)
    turned = direction @ Rotation.from_euler("xyz", [0.4, -1.1, 2.3]).as_matrix().T
    assert order(program, turned) == pytest.approx(exact, rel=1e-4)


def test_many_uniform_directions_have_hardly_any_order(program):
    polar, nematic = order(program, cloud(20_000))
    # |mean| has a mean square of 1 / n; the eigenvalue is of the order of sqrt(1 / n)
    assert polar < 4 / np.sqrt(20_000)
    assert 0 < nematic < 4 / np.sqrt(20_000)


def test_directions_in_a_plane_have_the_order_of_a_plane(program):
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    plane = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    assert order(program, plane) == pytest.approx((0, 0.25), abs=1e-5)


def test_displacement_is_the_mean_square_angle_to_the_first_observation(program):
    first = cloud(30)
    later = cloud(30, seed=1)
    observer = DisplacementObserver(as_state(first))
    memory, record = seen(observer, program, as_state(first), observer.init())
    assert float(record["squared_displacement"]) == 0
    kept, record = seen(observer, program, as_state(later), memory, LATER)
    angle = np.arccos(np.clip(np.sum(first.astype(np.float64) * later, axis=1), -1, 1))
    assert float(record["squared_displacement"]) == pytest.approx(np.mean(angle**2), rel=1e-5)
    np.testing.assert_array_equal(kept, first)


def test_displacement_reaches_pi_at_the_antipodes_and_keeps_small_angles(program):
    first = cloud(30)
    observer = DisplacementObserver(as_state(first))
    _, record = seen(observer, program, as_state(-first), jnp.asarray(first), LATER)
    assert float(record["squared_displacement"]) == pytest.approx(np.pi**2, rel=1e-3)
    tangent = np.cross(first, [0.0, 0.0, 1.0])
    near = first + 1e-3 * tangent / np.linalg.norm(tangent, axis=1, keepdims=True)
    _, record = seen(observer, program, as_state(near), jnp.asarray(first), LATER)
    assert float(record["squared_displacement"]) == pytest.approx(1e-6, rel=1e-2)


def test_forgotten_points_are_as_far_as_the_docstring_says(program):
    n = 40_000
    observer = DisplacementObserver(as_state(cloud(n)))
    _, record = seen(observer, program, as_state(cloud(n, seed=1)), jnp.asarray(cloud(n)), LATER)
    assert float(record["squared_displacement"]) == pytest.approx((np.pi**2 - 4) / 2, rel=0.02)


def brute_overlap(direction: np.ndarray, senders: np.ndarray, receivers: np.ndarray) -> float:
    n = len(direction)
    found = 0
    asked = 0
    for i in range(n):
        friends = {int(b) for a, b in zip(senders, receivers, strict=True) if a == i}
        friends |= {int(a) for a, b in zip(senders, receivers, strict=True) if b == i}
        cosine = direction.astype(np.float64) @ direction[i]
        near = [j for j in np.argsort(-cosine) if j != i][: len(friends)]
        found = found + len(friends & set(near))
        asked = asked + len(friends)
    return found / asked


def test_a_line_of_points_has_the_neighbours_of_its_graph(program):
    # gaps alternate, so that each point's nearest is the one it is joined to
    angle = np.asarray([0.0, 0.1, 0.5, 0.6, 1.0, 1.1])
    line = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    joined = (np.arange(0, 6, 2), np.arange(1, 6, 2))
    wrong = (np.asarray([0, 1, 4]), np.asarray([2, 3, 1]))
    for ends, expected in ((joined, 1.0), (wrong, 0.0)):
        _, record = seen(OverlapObserver(6, *ends), program, as_state(line))
        assert float(record["neighbour_overlap"]) == expected == brute_overlap(line, *ends)


def test_the_overlap_of_any_graph_is_that_of_all_pairs(program):
    rng = np.random.default_rng(3)
    senders, receivers = np.argwhere(np.triu(rng.uniform(size=(30, 30)) < 0.2, 1)).T
    _, record = seen(OverlapObserver(30, senders, receivers), program, as_state(cloud(30)))
    exact = brute_overlap(cloud(30), senders, receivers)
    assert 0.05 < exact < 0.5
    assert float(record["neighbour_overlap"]) == pytest.approx(exact, abs=1e-6)
    # either end may be called the sender
    _, swapped = seen(OverlapObserver(30, receivers, senders), program, as_state(cloud(30)))
    assert float(swapped["neighbour_overlap"]) == float(record["neighbour_overlap"])


def test_overlap_with_no_neighbours_at_all_is_refused():
    with pytest.raises(ValueError, match="at least one edge"):
        OverlapObserver(3, np.zeros(0, int), np.zeros(0, int))


def test_the_share_of_points_that_moved_starts_as_not_a_number(program):
    here = as_state(cloud(30))
    moved = here._replace(direction=here.direction.at[:6].set(-here.direction[:6]))
    observer = AcceptanceObserver(here)
    memory, record = seen(observer, program, here, observer.init())
    assert bool(jnp.isnan(record["moved"]))
    memory, record = seen(observer, program, moved, memory, LATER)
    assert float(record["moved"]) == pytest.approx(0.2)
    _, record = seen(observer, program, moved, memory, LATER)
    assert float(record["moved"]) == 0


def test_configurations_are_recorded_in_the_order_of_the_points(program, coloured, small_start):
    for each in (program, coloured):
        _, record = seen(ConfigurationObserver(), each, small_start)
        np.testing.assert_array_equal(record.direction, small_start.direction)
        np.testing.assert_array_equal(record.radius, small_start.radius)


def test_blocks_of_colours_are_observed_as_one_map(program, coloured, small_start):
    later = SphereState(normalise(small_start.direction + 0.3), small_start.radius)
    ends = (np.arange(30), (np.arange(30) + 1) % 30)
    for observer in (
        OrderObserver(),
        DisplacementObserver(small_start),
        OverlapObserver(30, *ends),
        AcceptanceObserver(small_start),
        MomentObserver(small_start),
    ):
        found = []
        for each in (program, coloured):
            memory, _ = seen(observer, each, small_start, observer.init())
            found.append(seen(observer, each, later, memory, LATER))
        for one, other in zip(*map(jax.tree.leaves, found), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)
    one, other = (seen(EnergyObserver(), each, small_start)[1] for each in (program, coloured))
    np.testing.assert_allclose([one[name] for name in other], list(other.values()), rtol=1e-5)


class Everything(eqx.Module):
    """All observers as one, since THRML takes one."""

    parts: list[Any]

    def init(self) -> list[Any]:
        return [each.init() for each in self.parts]

    def __call__(
        self, program: Any, free: Any, clamped: Any, carry: list[Any], iteration: Any
    ) -> tuple[Any, Any]:
        seen = [
            each(program, free, clamped, old, iteration)
            for each, old in zip(self.parts, carry, strict=True)
        ]
        return [memory for memory, _ in seen], [record for _, record in seen]


def test_observers_work_in_the_loop_of_thrml(program, small_start):
    ends = (np.arange(30), (np.arange(30) + 1) % 30)
    observer = Everything(
        [
            ConfigurationObserver(),
            MomentObserver(small_start),
            EnergyObserver(),
            OrderObserver(),
            DisplacementObserver(small_start),
            OverlapObserver(30, *ends),
            AcceptanceObserver(small_start),
        ]
    )

    @eqx.filter_jit
    def observed(key: jax.Array) -> Any:
        schedule = SamplingSchedule(3, 6, 2)
        return sample_with_observation(
            key, program, schedule, [small_start], [], observer.init(), observer
        )

    memory, (states, _, energy, orders, away, overlap, moved) = observed(jax.random.key(0))
    assert states.direction.shape == (6, 30, 3)
    np.testing.assert_allclose(memory[1].mean.radius, states.radius.mean(axis=0), rtol=1e-5)
    assert {x.shape for x in jax.tree.leaves((energy, orders, away, overlap, moved))} == {(6,)}
    polar = np.linalg.norm(np.asarray(states.direction).mean(axis=1), axis=1)
    np.testing.assert_allclose(orders["polar_order"], polar, rtol=1e-4)
    cosine = np.sum(
        np.asarray(states.direction, np.float64) * np.asarray(states.direction[0], np.float64),
        axis=-1,
    )
    angle = np.arccos(np.clip(cosine, -1, 1))
    np.testing.assert_allclose(away["squared_displacement"], np.mean(angle**2, axis=1), atol=1e-5)
    exact = [brute_overlap(np.asarray(u), *ends) for u in states.direction]
    np.testing.assert_allclose(overlap["neighbour_overlap"], exact, atol=1e-6)
    np.testing.assert_array_equal(moved["moved"], [np.nan, 1, 1, 1, 1, 1])
