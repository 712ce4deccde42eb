"""`place`: what goes in is respected, what comes out is a map, and the same input gives the same
bits.
"""

import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from sphere_ebm import Placement, PlacementConfig, place
from sphere_ebm.errors import NonFiniteEnergyError
from sphere_ebm.files.shards.columns import COLUMNS
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.maps.place import hamiltonian_factors
from sphere_ebm.maps.problem import pose
from sphere_ebm.maps.starts import pca_directions
from sphere_ebm.quality.neighbours import neighbour_recall
from sphere_ebm.quality.radii import shell_deviation
from sphere_ebm.quality.trust import chance_share
from sphere_ebm.sampling.programs import sphere_block
from sphere_ebm.sampling.run import run_chunk

POINTS = 80
SMALL: dict[str, Any] = {"neighbours": 6, "shells": 4, "steps": 60, "average": 10, "tolerance": 0.0}
SMALL |= {"replicas": 2}


def config(**changes: Any) -> PlacementConfig:
    return PlacementConfig(**(SMALL | changes))


@pytest.fixture(scope="module")
def clusters() -> np.ndarray:
    """Four clusters of 20 points in 8 dimensions, lengths spread over two decades."""
    rng = np.random.default_rng(0)
    points = np.repeat(
        rng.standard_normal((4, 8)), POINTS // 4, axis=0
    ) + 0.3 * rng.standard_normal((POINTS, 8))
    return (points * rng.uniform(0.1, 10, (POINTS, 1))).astype(np.float32)


@pytest.fixture(scope="module")
def placed(clusters: np.ndarray) -> Placement:
    return place(clusters, config=config())


def same_bits(one: Placement, other: Placement) -> bool:
    names = (*(set(COLUMNS) - {"copies"}), "prominence", "step")
    assert one.copies is None
    assert other.copies is None
    arrays = all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in names)
    energy = {name: values.tobytes() for name, values in one.energy.items()}
    return arrays and energy == {name: values.tobytes() for name, values in other.energy.items()}


def assert_map(found: Placement, points: int) -> None:
    assert len(found) == points
    np.testing.assert_allclose(np.linalg.norm(found.direction, axis=1), 1, atol=1e-5)
    for name in (*COLUMNS, "prominence"):
        if name in ("direction", "copies"):
            continue
        column = getattr(found, name)
        assert len(column) == points
        assert np.isfinite(column).all()
    assert (found.radius_std >= 0).all()
    assert (found.angle_std >= 0).all()
    assert all(values.shape == found.step.shape for values in found.energy.values())


def test_a_placement_is_a_map_with_a_trace(placed: Placement) -> None:
    assert_map(placed, POINTS)
    assert list(placed.energy) == ["gravity", "lateral", "osmotic"]
    assert placed.step.tolist() == [0, 25, 50, 60, 70]
    assert not placed.converged


def test_the_energy_falls(placed: Placement) -> None:
    total = sum(placed.energy.values())
    assert total[-1] < total[0] - 0.1 * POINTS


def test_what_points_own_adds_up_to_the_energy_of_the_map(
    clusters: np.ndarray, placed: Placement
) -> None:
    block = sphere_block(POINTS)
    problem = pose(clusters, None, config())
    state = SphereState(jnp.asarray(placed.direction), jnp.asarray(placed.radius))
    terms = hamiltonian_factors(block, problem.ideal_radius, problem.graph, config())
    whole = sum(float(term.energy(state)) for term in terms)
    assert placed.point_energy is not None
    assert placed.point_energy.sum(dtype=float) == pytest.approx(whole, rel=1e-5)
    # the mean of cold samples lies lower than any of them, but not by much
    assert whole == pytest.approx(sum(v[-1] for v in placed.energy.values()), abs=0.05 * POINTS)
    assert whole < sum(values[-1] for values in placed.energy.values())


def test_what_points_keep_is_the_recall(placed: Placement) -> None:
    assert placed.kept is not None
    report = placed.quality(ks=(6,))
    assert placed.kept.mean() == pytest.approx(report.recall[6], abs=1e-6)
    assert placed.kept_p_value is not None
    assert report.chance_share == chance_share(placed.kept_p_value)


def test_clusters_stay_together(placed: Placement) -> None:
    cosine = placed.direction @ placed.direction.T
    same = np.equal.outer(np.arange(POINTS) // 20, np.arange(POINTS) // 20)
    assert np.median(cosine[same]) > np.quantile(cosine[~same], 0.95)


def test_radii_follow_the_norms_by_default(clusters: np.ndarray, placed: Placement) -> None:
    np.testing.assert_allclose(placed.prominence, np.linalg.norm(clusters, axis=1), rtol=1e-6)
    report = placed.quality()
    assert report.prominence_spearman is not None
    assert report.prominence_spearman >= 0.99


@pytest.mark.parametrize("order", ["outer", "core"])
def test_at_temperature_zero_shells_hold_their_capacity_within_one_point(
    clusters: np.ndarray, order: str
) -> None:
    prominence = np.random.default_rng(1).random(POINTS).astype(np.float32)
    found = place(clusters, prominence, config(temperature_end=0.0, steps=150, radius_order=order))
    assert shell_deviation(found.shell, found.shells).max_points < 1
    sign = 1 if order == "outer" else -1
    ranks = np.argsort(np.argsort(sign * prominence))
    assert np.corrcoef(ranks, np.argsort(np.argsort(found.radius)))[0, 1] > 0.999
    assert found.radius_std.max() < 1e-3


def test_the_spread_grows_with_the_temperature(clusters: np.ndarray, placed: Placement) -> None:
    hot = place(clusters, config=config(temperature_start=0.5, temperature_end=0.5))
    assert np.median(hot.radius_std) > 2 * np.median(placed.radius_std)
    assert hot.thermal_std is not None
    assert placed.thermal_std is not None
    assert np.median(hot.thermal_std) > 2 * np.median(placed.thermal_std)


def test_the_same_seed_gives_the_same_bits(clusters: np.ndarray, placed: Placement) -> None:
    assert same_bits(place(clusters, config=config()), placed)


def test_another_seed_gives_another_map(clusters: np.ndarray, placed: Placement) -> None:
    other = place(clusters, config=config(seed=1))
    assert (other.direction != placed.direction).any(axis=1).all()


@pytest.mark.usefixtures("kept_at_once")
def test_a_progress_callback_and_a_checkpoint_change_nothing(
    clusters: np.ndarray, placed: Placement, tmp_path: Path
) -> None:
    calls: list[tuple[str, int, int]] = []
    checkpoint = tmp_path / "run.safetensors"
    found = place(
        clusters, config=config(), progress=lambda *call: calls.append(call), checkpoint=checkpoint
    )
    assert same_bits(found, placed)
    assert not list(tmp_path.iterdir())
    assert calls == [("neighbours", 80, 80), *CHUNKS[:4], ("replicas", 0, 2), *CHUNKS[4:]]


CHUNKS = [
    *(("steps", done, 70) for done in (25, 50, 60, 70)),
    *(("replicas", done, 120) for done in (25, 50, 60, 85, 110, 120)),
]


@pytest.mark.usefixtures("kept_at_once")
@pytest.mark.parametrize("last", [*CHUNKS[:5], CHUNKS[6], *CHUNKS[8:]])
@pytest.mark.parametrize("scheme", ["underdamped", "euler-maruyama"])
def test_an_interrupted_run_continues_to_the_same_bits(
    clusters: np.ndarray,
    tmp_path: Path,
    last: tuple[str, int, int],
    scheme: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = config(scheme=scheme)
    checkpoint = tmp_path / "run.safetensors"

    def interrupt(*call: Any) -> None:
        if call == last:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place(clusters, config=chosen, checkpoint=checkpoint, progress=interrupt)
    assert checkpoint.exists() == (last != CHUNKS[0])
    calls: list[tuple[str, int, int]] = []
    found = place(
        clusters,
        config=chosen,
        checkpoint=checkpoint,
        progress=lambda *call: calls.append(call) if call[1] else None,
    )
    assert calls[1:] == CHUNKS[CHUNKS.index(last) :], "it continues where it stopped"
    assert same_bits(found, place(clusters, config=chosen))
    assert not checkpoint.exists()


@pytest.mark.usefixtures("kept_at_once")
@pytest.mark.parametrize("told", [1, 2, 4, 5])
def test_replicas_in_company_continue_to_the_same_bits(
    clusters: np.ndarray, placed: Placement, tmp_path: Path, told: int, monkeypatch
) -> None:
    monkeypatch.setattr("sphere_ebm.maps.runs.at_a_time", lambda: 2)
    checkpoint = tmp_path / "run.safetensors"
    left = iter(range(told))

    def interrupt(stage: str, done: int, total: int) -> None:
        if stage == "replicas" and done and next(left, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place(clusters, config=config(), checkpoint=checkpoint, progress=interrupt)
    done: list[int] = []

    def tell(stage: str, steps: int, _: int) -> None:
        assert stage != "steps"
        done.extend([steps] * (stage == "replicas" and steps > 0))

    found = place(clusters, config=config(), checkpoint=checkpoint, progress=tell)
    assert same_bits(found, placed)
    assert (done, done[-1]) == (sorted(done), 120)
    assert len(done) == 6 - told, "chunks that were told are not run again"


@pytest.mark.usefixtures("kept_at_once")
def test_a_run_that_died_after_its_last_step_is_done(
    clusters: np.ndarray, placed: Placement, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "run.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            place(clusters, config=config(), checkpoint=checkpoint)
    calls: list[str] = []
    found = place(
        clusters, config=config(), checkpoint=checkpoint, progress=lambda s, *_: calls.append(s)
    )
    assert same_bits(found, placed)
    assert "steps" not in calls


@pytest.mark.usefixtures("kept_at_once")
@pytest.mark.parametrize("change", ["embeddings", "prominence", "config", "start", "edges"])
def test_a_checkpoint_of_another_run_is_ignored(
    clusters: np.ndarray, placed: Placement, tmp_path: Path, change: str
) -> None:
    checkpoint = tmp_path / "run.safetensors"
    other: dict[str, Any] = {
        "embeddings": {"embeddings": clusters[::-1].copy()},
        "prominence": {"prominence": placed.prominence[::-1].copy()},
        "config": {"config": config(friction=0.9)},
        "start": {"start": placed.direction},
        "edges": {"extra_edges": (np.array([0]), np.array([1]), np.array([1.0]))},
    }[change]

    def interrupt(stage: str, done: int, total: int) -> None:
        if done == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place(
            **({"embeddings": clusters, "config": config()} | other),
            checkpoint=checkpoint,
            progress=interrupt,
        )
    assert checkpoint.exists()
    assert same_bits(place(clusters, config=config(), checkpoint=checkpoint), placed)


def test_two_placements_of_one_shape_compile_once(
    clusters: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = eqx.filter_jit(eqx.debug.assert_max_traces(run_chunk.__wrapped__, max_traces=1))
    monkeypatch.setattr(sys.modules["sphere_ebm.sampling.run"], "run_chunk", counted)
    place(clusters, config=config())
    changes = {
        "seed": 5,
        "start": "random",
        "steps": 30,
        "step_size": 0.2,
        "temperature_end": 0.0,
        "friction": 1.0,
    }
    place(
        clusters,
        config=config(**changes, lateral_strength=0.5, osmotic_strength=1.0, radius_stiffness=2.0),
    )
    with pytest.raises(RuntimeError, match="traced"):
        place(clusters[:40], config=config())


def test_a_converged_run_stops_early(clusters: np.ndarray) -> None:
    calls: list[tuple[int, int]] = []
    found = place(
        clusters,
        config=config(steps=5000, cooling=0.02, temperature_end=0.0, tolerance=1e-3),
        progress=lambda stage, done, total: stage == "steps" and calls.append((done, total)),
    )
    assert found.converged
    assert found.step[-1] < 2000
    assert calls[-1][0] == calls[-1][1] == found.step[-1]


def test_a_given_start_is_where_the_run_begins(clusters: np.ndarray) -> None:
    start = np.random.default_rng(3).standard_normal((POINTS, 3))
    found = place(clusters, config=config(steps=0, average=2, step_size=1e-6), start=start)
    np.testing.assert_allclose(
        found.direction, start / np.linalg.norm(start, axis=1, keepdims=True), atol=1e-4
    )


def test_the_length_of_a_given_start_does_not_matter(
    clusters: np.ndarray, placed: Placement
) -> None:
    start = placed.direction.astype(np.float64)
    assert same_bits(
        *(place(clusters, config=config(), start=scale * start) for scale in (1.0, 4.0))
    )


def test_edges_added_pull_their_ends_together(clusters: np.ndarray, placed: Placement) -> None:
    far = np.argsort((placed.direction @ placed.direction.T)[0])[:1]
    edges = (np.array([0]), far.astype(np.int64), np.array([10.0]))
    joined = place(clusters, config=config(), extra_edges=edges)
    assert float(placed.direction[0] @ placed.direction[far[0]]) < 0
    assert float(joined.direction[0] @ joined.direction[far[0]]) > 0.9


VARIANTS = [
    {"scheme": "euler-maruyama", "step_size": 0.2},
    {"start": "random"},
    {"start": "spectral"},
    {"kernel": "gaussian"},
    {"kernel": "harmonic"},
    {"affinity": "perplexity", "perplexity": 4.0},
    {"osmotic_strength": 0.0},
    {"lateral_strength": 0.0},
    {"osmotic_evaluator": "harmonic", "interaction_length": 1.0},
    {"shell_spacing": "geometric", "inner_radius": 1.0, "outer_radius": 8.0},
]


@pytest.mark.parametrize(
    "changes", VARIANTS, ids=lambda changes: "-".join(str(v) for v in changes.values())
)
def test_every_variant_makes_a_map(clusters: np.ndarray, changes: dict[str, Any]) -> None:
    found = place(clusters, config=config(**changes))
    assert_map(found, POINTS)
    absent = {name.removesuffix("_strength") for name, value in changes.items() if value == 0.0}
    assert set(found.energy) == {"gravity", "lateral", "osmotic"} - absent
    assert found.quality().prominence_spearman > 0.99


def test_without_osmotic_pressure_the_map_closes_up(
    clusters: np.ndarray, placed: Placement
) -> None:
    two_terms = place(clusters, config=config(osmotic_strength=0.0))
    spread = [np.linalg.norm(found.direction.mean(0)) for found in (two_terms, placed)]
    assert spread[0] > spread[1]


def test_a_map_of_real_clusters_beats_its_start_by_far() -> None:
    digits = load_digits().data[::4].astype(np.float32)
    found = place(digits, config=config(steps=150, neighbours=15))
    before = neighbour_recall(digits, pca_directions(digits, 0), 15)
    assert neighbour_recall(digits, found.direction, 15) > before + 0.15


def test_a_divergence_stops_with_its_likely_causes(clusters: np.ndarray) -> None:
    with pytest.raises(NonFiniteEnergyError, match=r"step_size"):
        place(
            clusters,
            config=config(
                scheme="euler-maruyama", radius_stiffness=1.0, step_size=50.0, steps=2000
            ),
        )


def test_neighbours_found_elsewhere_make_the_same_map(
    clusters: np.ndarray, placed: Placement
) -> None:
    unit = clusters / np.linalg.norm(clusters, axis=1, keepdims=True)
    order = np.argsort(-(unit @ unit.T), axis=1)[:, :40].tolist()
    given = Neighbours.from_arrays(order, embeddings=clusters)
    assert given.index.shape[1] == 39, "each point found itself first"
    assert same_bits(place(clusters, config=config(), neighbours=given), placed)
    pair = (given.index, given.similarity)
    assert same_bits(place(clusters, config=config(), neighbours=pair), placed)
    with pytest.raises(ValueError, match="look like cosine distances: give 1 - distance"):
        place(clusters, neighbours=(given.index[:, :5], 1 - given.similarity[:, :5]))
    with pytest.raises(ValueError, match=r"`neighbours` must be those of \d+ points; got"):
        place(clusters[:-1], config=config(), neighbours=given)
