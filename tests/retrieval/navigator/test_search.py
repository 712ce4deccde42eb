"""The navigator finds where a query belongs from the landmarks of a field alone, and its confidence
is what was counted. What it does with cells as its guide is tested in `test_guides`.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from builders import still_placement
from sphere_ebm import Placement
from sphere_ebm.retrieval.cones import local_density, members
from sphere_ebm.retrieval.navigator import guides as module
from sphere_ebm.retrieval.navigator.confidence import ConfidenceCurve
from sphere_ebm.retrieval.navigator.config import NavigatorConfig
from sphere_ebm.retrieval.navigator.probing import probe
from sphere_ebm.retrieval.navigator.search import Navigator, true_neighbours

POINTS = 960
WIDTH = 12
CLUSTERS = 24
CONFIG = NavigatorConfig(
    where="field",
    landmarks=96,
    band_limit=16,
    smoothing=0.16,
    deposit_neighbours=6,
    pseudo_queries=128,
    batch=16,
    probes=6,
)


def sample(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Clusters on the sphere with known embeddings.

    A code for each and, within it, the place on the sphere.
    """
    shared = np.random.default_rng(99)
    centres = shared.standard_normal((CLUSTERS, 3))
    codes = shared.standard_normal((CLUSTERS, WIDTH))
    lift = shared.standard_normal((3, WIDTH))
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, CLUSTERS, count)
    direction = centres[cluster] / np.linalg.norm(centres[cluster], axis=1, keepdims=True)
    direction = direction + 0.1 * rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    embeddings = codes[cluster] + 2 * direction @ lift + 0.3 * rng.standard_normal((count, WIDTH))
    return direction.astype(np.float32), embeddings.astype(np.float32)


def placement(direction: np.ndarray, embeddings: np.ndarray | None) -> Placement:
    radius = np.random.default_rng(3).uniform(16, 48, len(direction))
    return still_placement(direction, radius, embeddings)


@pytest.fixture(scope="module")
def made() -> Placement:
    return placement(*sample(POINTS, 0))


@pytest.fixture(scope="module")
def navigator(made) -> Iterator[Navigator]:
    """Whatever the tests of this file ask, the probes are compiled once.

    A second trace is an error.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            module, "probe_batch", eqx.filter_jit(eqx.debug.assert_max_traces(probe, max_traces=1))
        )
        yield Navigator.build(made, CONFIG)


def changed(navigator: Navigator, **changes: Any) -> Navigator:
    """The same with other choices that neither landmarks nor curves depend on."""
    config = dataclasses.replace(CONFIG, **changes)
    guide = dataclasses.replace(navigator.guide, config=config)
    return dataclasses.replace(navigator, config=config, guide=guide)


@pytest.fixture(scope="module")
def queries() -> np.ndarray:
    return sample(96, 1)[1]


def recalls(made: Placement, queries: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Share of the 10 points of largest cosine that is among the returned ones."""
    unit, asked = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (made.embeddings, queries))
    truth = np.argsort(-(asked @ unit.T), axis=1)[:, :10]
    return np.array(
        [np.isin(true, found).mean() for true, found in zip(truth, points, strict=True)]
    )


@pytest.mark.parametrize("share", [0.0001, 0.02, 0.05, 0.1, 1.0])
def test_exactly_the_share_is_returned_and_no_point_twice(navigator, queries, share):
    one = changed(navigator, share=share)
    points = one.find(queries[:20]).points
    assert points.shape == (20, round(share * POINTS))
    assert all(len(set(row)) == len(row) and -1 not in row for row in points.tolist())


@pytest.mark.parametrize(
    "changes", [{}, {"enough": 0.5}, {"band": 1.0}, {"share": 0.2, "crowding": 1.0}]
)
def test_the_returned_points_are_those_in_the_used_cones(made, navigator, queries, changes):
    one = changed(navigator, **changes)
    found = one.find(queries)
    inside = (members(made, found.cones) & found.used[..., None]).any(axis=1)
    returned = np.zeros_like(inside)
    np.put_along_axis(returned, found.points, True, axis=1)
    assert (inside == returned).all()
    np.testing.assert_allclose(np.linalg.norm(found.cones.direction, axis=-1), 1, atol=1e-12)
    assert found.used[:, 0].all()


def test_the_nearest_in_angle_over_aperture_come_first(made, navigator, queries):
    found = navigator.find(queries[:8])
    for row in range(8):
        axes = found.cones.direction[row][found.used[row]]
        size = found.cones.aperture[row][found.used[row]]
        cosine = made.direction[found.points[row]].astype(np.float64) @ axes.T
        ratio = (np.arccos(np.clip(cosine, -1, 1)) / size).min(axis=1)
        assert (np.diff(ratio) > -1e-4).all()


@pytest.mark.parametrize("what", ["landmarks", "map"])
def test_recall_is_far_above_chance_and_falls_to_it_when_landmarks_or_map_are_shuffled(
    made, navigator, queries, what
):
    found = recalls(made, queries, navigator.find(queries).points).mean()
    assert found > 0.5
    rng = np.random.default_rng(5)
    if what == "map":
        lost = Navigator.build(placement(rng.permutation(made.direction), made.embeddings), CONFIG)
    else:
        mixed = navigator.guide.tables.landmark[rng.permutation(len(navigator.guide.landmarks))]
        lost = dataclasses.replace(
            navigator,
            guide=dataclasses.replace(
                navigator.guide,
                tables=eqx.tree_at(lambda t: t.landmark, navigator.guide.tables, mixed),
            ),
        )
    by_chance = recalls(made, queries, lost.find(queries).points).mean()
    assert by_chance < 0.25
    assert found > 3 * by_chance


def test_the_answer_turns_with_the_map(made, navigator, queries):
    turn = Rotation.from_rotvec([0.4, 1.2, -0.7]).as_matrix()
    turned = Navigator.build(
        placement(made.direction @ turn.T.astype(np.float32), made.embeddings), CONFIG
    )
    assert (turned.guide.landmarks == navigator.guide.landmarks).mean() > 0.9
    one = navigator.find(queries)
    other = turned.find(queries)
    shared = [
        len(set(a) & set(b)) / len(a)
        for a, b in zip(one.points.tolist(), other.points.tolist(), strict=True)
    ]
    assert np.median(shared) > 0.95
    first = np.sum((one.cones.direction @ turn.T)[:, 0] * other.cones.direction[:, 0], axis=1)
    assert np.median(first) > math.cos(0.01)


def test_a_batch_gives_what_each_query_gives_alone(navigator, queries):
    together = navigator.find(queries[:19])
    for row in range(0, 19, 6):
        alone = navigator.find(queries[row : row + 1])
        assert len(set(alone.points[0]) ^ set(together.points[row])) <= 2
        np.testing.assert_allclose(
            alone.cones.direction[0], together.cones.direction[row], atol=1e-3
        )
        np.testing.assert_allclose(alone.confidence, together.confidence[row : row + 1], atol=1e-3)


def test_every_number_of_queries_is_served_by_one_compilation(navigator, queries):
    # the fixture refuses a second trace
    for count in (1, 16, 17, 40):
        assert len(navigator.find(queries[:count]).points) == count
    assert len(navigator.with_share(0.2).find(queries[:3]).points) == 3
    assert navigator.find(np.zeros((0, WIDTH))).points.shape[0] == 0
    with pytest.raises(RuntimeError, match="traced"):
        module.probe_batch(navigator.guide.tables, jnp.asarray(queries[:3]))


@pytest.mark.parametrize(
    ("shift", "passes"), [(0.0, True), (0.2, False)]
)  # the second is the power check
def test_the_confidence_is_the_rate_of_success_on_fresh_points_of_the_map(
    made, navigator, shift, passes
):
    fresh = np.setdiff1d(
        np.arange(POINTS), [*navigator.guide.landmarks, *navigator.pseudo_queries]
    )[:400]
    # without itself, a point of the map is a query like those that calibrated
    found = navigator.find(made.embeddings[fresh])
    truth = true_neighbours(navigator.unit, fresh)
    success = (
        np.array([np.isin(t, p).mean() for t, p in zip(truth, found.points, strict=True)])
        >= CONFIG.level
    )
    claimed = np.clip(found.confidence + shift, 0, 1)
    # what 400 trials scatter by, and what the 128 that calibrated do
    scatter = math.sqrt((found.confidence * (1 - found.confidence)).mean() * (1 / 400 + 1 / 128))
    assert (abs(success.mean() - claimed.mean()) < 3.3 * scatter) == passes
    sure = found.confidence > np.median(found.confidence)
    assert success[sure].mean() > success[~sure].mean()


def test_a_confident_query_uses_fewer_probes_and_returns_as_many_points(navigator, queries):
    few, all_ = (changed(navigator, enough=enough).find(queries) for enough in (0.3, 1.0))
    assert few.used.sum() < 0.7 * all_.used.sum()
    assert few.points.shape == all_.points.shape
    assert (all_.used == (all_.density > 0)).all()
    early = few.used.sum(axis=1) < all_.used.sum(axis=1)
    assert (few.confidence[early] >= 0.3).all()


def test_apertures_follow_the_formula(made, navigator, queries):
    one = changed(navigator, crowding=0.4, strength_exponent=0.8)
    found = one.find(queries[:16], aperture=0.5)
    unit = queries[:16] / np.linalg.norm(queries[:16], axis=1, keepdims=True)
    seen = module.probe_batch(navigator.guide.tables, jnp.asarray(unit))
    cap = 2 * math.asin(math.sqrt(32 / POINTS))
    crowd = local_density(made, cap, found.cones.direction.reshape(-1, 3)).reshape(16, 6)
    strength = np.sqrt(found.density / found.density[:, :1])
    expected = (
        0.5
        * strength**0.8
        * np.sqrt(seen.radius / made.radius.max())
        * np.exp(-0.4 * crowd)
        * seen.openness
    )
    np.testing.assert_allclose(
        found.cones.aperture[found.used], np.asarray(expected)[found.used], rtol=2e-3
    )
    assert np.isnan(found.confidence).all()
    inside = (members(made, found.cones) & found.used[..., None]).any(axis=1)
    assert (inside.sum(axis=1) == (found.points >= 0).sum(axis=1)).all()


def test_a_wider_aperture_sees_more_and_the_widest_everything(navigator, queries):
    seen = [
        (navigator.find(queries[:8], aperture=angle).points >= 0).sum(axis=1)
        for angle in (0.1, 0.5, 2.0)
    ]
    assert (np.diff(seen, axis=0) > 0).all()


def test_bands_keep_to_the_radii_of_relevant_landmarks_and_open_when_they_hold_too_little(
    made, navigator, queries
):
    banded = changed(navigator, band=1.0)
    found = banded.find(queries[:8])
    assert np.isfinite(found.cones.outer_radius).all()
    assert (found.cones.outer_radius - found.cones.inner_radius < 32).all()
    greedy = changed(navigator, band=0.001, share=0.9)
    opened = greedy.find(queries[:8])
    assert np.isinf(opened.cones.outer_radius).all()
    assert opened.points.shape == (8, round(0.9 * POINTS))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            np.ones((2, WIDTH + 1)),
            rf"`queries` must have shape \(queries, {WIDTH}\).*got \(2, 13\)",
        ),
        (np.ones(WIDTH), r"got \(12,\).*queries\[None\]"),
        (np.full((1, WIDTH), np.nan), "`queries` must be finite; got NaN or infinity in row 0"),
        (np.eye(2, WIDTH) * [[1], [0]], "`queries` must not be zero; row 1 is"),
    ],
)
def test_bad_queries_are_refused_by_name(navigator, asked, message):
    with pytest.raises(ValueError, match=message):
        navigator.find(asked)


def test_a_bad_aperture_is_refused_by_name(navigator, queries):
    with pytest.raises(ValueError, match=r"`aperture` must lie in \[0, π\]; got 4"):
        navigator.find(queries, aperture=4.0)


def test_maps_that_cannot_be_navigated_are_refused(made):
    with pytest.raises(ValueError, match=r"`placement` must hold its embeddings.*with_embeddings"):
        Navigator.build(placement(made.direction, None))
    with pytest.raises(ValueError, match=r"`placement` must hold at least 64 points .* got 63"):
        Navigator.build(placement(made.direction[:80], np.eye(80, 3, dtype=np.float32)[:80] + EDGE))
    with pytest.raises(ValueError, match="`landmarks` must be at most 832 on this map; got 900"):
        Navigator.build(made, dataclasses.replace(CONFIG, landmarks=900))


EDGE = np.where(np.arange(80)[:, None] < 63, 1.0, -np.eye(80, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"share": 0.0}, r"`share` must be a number in \(0, 1\]; got 0.0"),
        ({"band_limit": 4}, r"`band_limit` must be an integer in \[8, 256\]; got 4"),
        ({"probes": 0}, "`probes` must be an integer"),
        ({"temperature": math.nan}, "`temperature` must be a number"),
        ({"where": "there"}, "`where` must be one of cells, field; got 'there'"),
        ({"work": 0.0}, r"`work` must be a number in \(0, 1\]"),
        ({"choice": "best"}, "`choice` must be one of medoids, farthest, random; got 'best'"),
        ({"pseudo_queries": 3}, "`pseudo_queries` must be an integer >= 32; got 3"),
        ({"batch": 2.5}, "`batch` must be an integer"),
    ],
)
def test_bad_choices_are_refused_by_name(unchecked, changes, message):
    with pytest.raises(ValueError, match=message):
        NavigatorConfig(**changes)


def test_confidence_rises_with_the_score_and_never_claims_certainty():
    rng = np.random.default_rng(0)
    score = rng.random(4000)
    curve = ConfidenceCurve.fit(score, rng.random(4000) < score**2)
    asked = np.linspace(0.1, 0.95, 18)
    np.testing.assert_allclose(curve(asked), asked**2, atol=0.08)
    assert (np.diff(curve(np.linspace(-1, 2, 50))) >= 0).all()
    assert ConfidenceCurve.fit(np.ones(6), np.ones(6, bool))(np.array([1.0])) == pytest.approx(
        7 / 8
    )
    with pytest.raises(ValueError, match="`score` must hold at least one trial"):
        ConfidenceCurve.fit(np.zeros(0), np.zeros(0, bool))
