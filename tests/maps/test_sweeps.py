"""Sweeps: a step of every block is a step of the map, whatever the blocks and the interruptions."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import edges_in_blocks, mixed, unit
from sphere_ebm import PlacementConfig
from sphere_ebm.errors import NonFiniteEnergyError
from sphere_ebm.graph.blockwise import Arrays, Blocks, Rule
from sphere_ebm.graph.graph import build_graph
from sphere_ebm.graph.index import NeighbourIndex
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.maps.place import hamiltonian_factors, make_sampler
from sphere_ebm.maps.replicas import in_frame
from sphere_ebm.maps.sweeps import Landmarks, Sweeper, SweepState, sweeping
from sphere_ebm.sampling.programs import advance, build_program, point_energies, sphere_block

POINTS = 1200
COLD = PlacementConfig(
    neighbours=5,
    max_degree=64,
    steps=6,
    cooling=0.5,
    temperature_start=0.0,
    temperature_end=0.0,
    osmotic_evaluator="pyramid",
)
WARM = dataclasses.replace(COLD, temperature_start=0.1, temperature_end=0.01)
ROWS = np.arange(0, POINTS, 3)


def edges_of(blocks: Blocks, config: PlacementConfig) -> Callable[[int], Arrays]:
    """The passes over the blocks, in memory."""
    index = NeighbourIndex.build(mixed(POINTS), search="exact")
    rule = Rule(config.affinity, config.perplexity, config.max_degree, config.seed)
    made = edges_in_blocks(index.neighbours_of, blocks, rule, config.neighbours)
    return made.__getitem__


@pytest.fixture(scope="module")
def landmarks() -> list[Landmarks]:
    rng = np.random.default_rng(0)
    places = unit(rng.standard_normal((2, len(ROWS), 3))).astype(np.float32)
    return [Landmarks(ROWS, places[0]), Landmarks(ROWS + 1, places[1])]


@pytest.fixture(scope="module")
def thirds() -> Sweeper:
    blocks = Blocks(POINTS, 500)
    return Sweeper(WARM, blocks, edges_of(blocks, WARM))


@pytest.fixture(scope="module")
def once(thirds: Sweeper, landmarks: list[Landmarks]) -> np.ndarray:
    return thirds.run(landmarks)


def test_sweeps_without_noise_are_the_dynamics_of_the_whole_map(landmarks: list[Landmarks]) -> None:
    blocks = Blocks(POINTS, 500)
    sweeper = Sweeper(COLD, blocks, edges_of(blocks, COLD))
    found: list[SweepState] = []
    first = sweeper.run(landmarks[:1], keep=found.append)
    graph = build_graph(mixed(POINTS), neighbours=5, max_degree=64, search="exact")
    block = sphere_block(POINTS)
    ideal = np.ones(POINTS, np.float32)
    program = build_program(
        block, hamiltonian_factors(block, ideal, graph, COLD), make_sampler(POINTS, COLD)
    )
    start = sweeper.start(landmarks[0])
    state = SphereState(jnp.asarray(start), jnp.asarray(ideal))
    carried: list[Any] = [program.samplers[0].init()]
    total = np.zeros_like(start)
    step = jax.jit(lambda state, carried: advance(jax.random.key(0), program, state, carried))
    for number in range(COLD.steps):
        state, carried = step(state, carried)
        total = total + np.asarray(state.direction) * (number >= 3)
    # the sums of the field differ by rounding, and its mean repulsion by the grid's own error
    apart = np.linalg.norm(found[-1].direction - np.asarray(state.direction), axis=1)
    moved = np.linalg.norm(found[-1].direction - start, axis=1)
    assert np.median(apart) < 0.01 * np.median(moved)
    np.testing.assert_allclose(first[0], unit(found[-1].total), atol=1e-6)
    assert np.median(np.linalg.norm(first[0] - unit(total), axis=1)) < 0.01 * np.median(moved)


def test_what_points_own_of_the_energy_is_what_they_own_of_a_fitted_map(
    thirds: Sweeper, once: np.ndarray
) -> None:
    graph = build_graph(mixed(POINTS), neighbours=5, max_degree=64, search="exact")
    block = sphere_block(POINTS)
    ideal = np.ones(POINTS, np.float32)
    program = build_program(
        block, hamiltonian_factors(block, ideal, graph, WARM), make_sampler(POINTS, WARM)
    )
    state = SphereState(jnp.asarray(once[0]), jnp.asarray(ideal))
    whole = np.asarray(jax.jit(lambda state: point_energies(program, state))(state))
    measured = thirds.measure(once[0])
    # sharp edges of the grid's own share aside, see `PyramidField`
    assert np.abs(measured.point_energy - whole).max() < 0.1
    assert measured.point_energy.mean() == pytest.approx(whole.mean(), abs=0.01)
    assert (measured.thermal_std > 0).all()
    assert np.median(measured.thermal_std) < 0.1


def test_landmarks_start_at_their_places_and_the_others_amid_their_neighbours(
    thirds: Sweeper, landmarks: list[Landmarks]
) -> None:
    start = thirds.start(landmarks[0])
    np.testing.assert_array_equal(start[ROWS], landmarks[0].places)
    np.testing.assert_allclose(np.linalg.norm(start, axis=1), 1, atol=1e-6)
    graph = build_graph(mixed(POINTS), neighbours=5, max_degree=64, search="exact")
    held = np.zeros(POINTS, bool)
    held[ROWS] = True
    for point in (1, 2, 700):
        sent = graph.senders == point
        received = graph.receivers == point
        others = np.concatenate([graph.receivers[sent], graph.senders[received]])
        weight = np.concatenate([graph.weights[sent], graph.weights[received]])
        mean = (weight * held[others]) @ start[others]
        if held[others].any():
            np.testing.assert_allclose(start[point], unit(mean), atol=1e-5)


def test_sweeps_go_on_from_any_state_that_was_kept(
    thirds: Sweeper, landmarks: list[Landmarks], once: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sphere_ebm.maps.sweeps._EVERY", 2)
    kept: list[SweepState] = []
    told: list[tuple[str, int, int]] = []
    np.testing.assert_array_equal(
        thirds.run(landmarks, None, kept.append, lambda *step: told.append(step)), once
    )
    assert told == [("sweeps", done, 12) for done in range(1, 13)]
    assert [(len(state.finished), state.sweep) for state in kept] == [
        (0, 2), (0, 4), (1, 0), (1, 2), (1, 4), (2, 6)
    ]  # fmt: skip
    for state in kept:
        np.testing.assert_array_equal(thirds.run(landmarks, state), once)
    np.testing.assert_allclose(in_frame(once[0], once[1]), once[1], atol=1e-6)


def test_runs_of_one_block_are_the_same_side_by_side(
    landmarks: list[Landmarks], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = Blocks(POINTS, POINTS)
    sweeper = Sweeper(WARM, blocks, edges_of(blocks, WARM))
    others = [*landmarks, Landmarks(ROWS + 2, landmarks[0].places)]
    monkeypatch.setattr("sphere_ebm.maps.sweeps.at_a_time", lambda: 1)
    alone = sweeper.run(others)
    monkeypatch.setattr("sphere_ebm.maps.sweeps.at_a_time", lambda: 3)
    monkeypatch.setattr("sphere_ebm.maps.sweeps._EVERY", 2)
    kept: list[SweepState] = []
    told: list[int] = []
    found = sweeper.run(others, None, kept.append, lambda _, done, total: told.append(done))
    np.testing.assert_array_equal(found, alone)
    assert told == list(range(1, 19))
    assert (len(kept[-1].finished), kept[-1].sweep) == (3, 6)
    for state in (kept[0], kept[len(kept) // 2], kept[-1]):
        np.testing.assert_array_equal(sweeper.run(others, state), alone)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_no_place_depends_on_how_many_blocks_move_at_a_time(
    thirds: Sweeper,
    landmarks: list[Landmarks],
    once: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
) -> None:
    monkeypatch.setattr("sphere_ebm.maps.sweeps.at_a_time", lambda: threads)
    np.testing.assert_array_equal(thirds.run(landmarks), once)


def test_a_point_that_flies_off_is_named(thirds: Sweeper, landmarks: list[Landmarks]) -> None:
    state = SweepState(
        np.zeros((0, POINTS, 3), np.float32),
        0,
        thirds.start(landmarks[0]),
        np.zeros((POINTS, 3), np.float32),
        thirds.carried(),
    )
    state.direction[7] = np.nan
    with pytest.raises(NonFiniteEnergyError, match="not finite after 1 sweeps: lower step_size"):
        thirds.run(landmarks, state)


def test_the_sweeps_are_the_annealing_of_the_configuration() -> None:
    config = sweeping(WARM, 80)
    assert (config.steps, config.cooling) == (80, WARM.cooling)
    blocks = Blocks(POINTS, 500)
    unread: Callable[[int], Arrays] = lambda block: {}  # noqa: E731
    assert Sweeper(config, blocks, unread).averaged == 40
    assert Sweeper(dataclasses.replace(config, cooling=1.0), blocks, unread).averaged == 1
