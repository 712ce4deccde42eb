"""Cones see what lies in them and nothing else, learn by gradients, and find more when trained."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import directions_at_random, mixed, still_placement, unit
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.graph.exact import exact_neighbours
from sphere_ebm.retrieval.attention import (
    APERTURES,
    ConeAttention,
    ConeMap,
    ConePoints,
    ConeScale,
    Look,
    attention_loss,
    look_where,
    nearest_in_cells,
    train_attention,
)
from sphere_ebm.retrieval.pyramid import MapPyramid
from sphere_ebm.retrieval.recall import found_share

WIDTH = 6
POINTS = 900


@pytest.fixture(scope="module")
def world() -> ConeMap:
    embeddings = mixed(POINTS, WIDTH)
    return ConeMap(still_placement(unit(embeddings[:, :3]), embeddings=embeddings))


@pytest.fixture(scope="module")
def model() -> ConeAttention:
    """Fewer and smaller cones than usual, which cost less."""
    return ConeAttention(
        fine=ConeScale.build(jax.random.key(0), WIDTH, cones=3, points=10, aperture=0.5),
        coarse=ConeScale.build(jax.random.key(1), WIDTH, cones=2, points=20, aperture=1.0),
        gate=jnp.zeros(WIDTH),
        bias=jnp.asarray(0.0),
    )


def around_a_pole(places: int = 12) -> ConePoints:
    """One cone's points on a meridian, 0 to 1.1 radians from the north pole, the last not there."""
    angle = np.linspace(0, 1.1, places)
    direction = np.stack([np.sin(angle), 0 * angle, np.cos(angle)], axis=1)
    rows = unit(np.random.default_rng(0).standard_normal((places, WIDTH)))
    return ConePoints(
        jnp.asarray(direction[None], jnp.float32),
        jnp.asarray(np.arange(places)[None] % 8, jnp.int32),
        jnp.asarray(rows[None], jnp.float32),
        jnp.asarray((np.arange(places) < places - 1)[None]),
    )


def looked(scale: ConeScale, points: ConePoints, seed: int = 1) -> Look:
    query = unit(np.random.default_rng(seed).standard_normal(WIDTH))
    return walked(scale, jnp.asarray(query, jnp.float32), jnp.asarray([[0.0, 0, 1]]), points)


@eqx.filter_jit
def walked(scale: ConeScale, query: jax.Array, axis: jax.Array, points: ConePoints) -> Look:
    """Compiled, because one operation after another is slow."""
    return scale(query, axis, points)


def test_nothing_outside_a_cone_outscores_what_is_inside():
    scale = ConeScale.build(jax.random.key(1), WIDTH, cones=1, points=12, aperture=0.55)
    # the likeness of what is outside is made as large as it can be, and that inside as small
    points = around_a_pole()
    angle = np.arccos(np.asarray(points.direction)[0, :, 2])
    query = np.eye(WIDTH, dtype=np.float32)[0]
    rows = np.where(angle[:, None] <= 0.55, -query, query)
    points = points._replace(embedding=jnp.asarray(rows[None]))
    look = walked(scale, jnp.asarray(query), jnp.asarray([[0.0, 0, 1]]), points)
    score = np.asarray(look.score)[0]
    inside = angle <= 0.55
    assert np.isfinite(score[inside]).all()
    assert (score[~inside] == -np.inf).all()
    assert score[-1] == -np.inf


def test_gradients_reach_aperture_axis_bands_queries_and_keys():
    scale = ConeScale.build(jax.random.key(1), WIDTH, cones=1, points=12, aperture=0.6)
    scale = dataclasses.replace(
        scale, shift=jnp.asarray(0.5), listening=jnp.asarray(0.3), query=scale.query + 0.1
    )
    points = around_a_pole()
    place = jnp.asarray(directions_at_random(5, 0))

    @eqx.filter_jit
    def density(scale: ConeScale, axis: jax.Array) -> jax.Array:
        query = jnp.asarray(unit(np.arange(1.0, WIDTH + 1)), jnp.float32)
        look = scale(query, axis, points)
        return jnp.sum(scale.density(look, place)) + jnp.sum(look.axis) + jnp.sum(look.strength)

    axis = jnp.asarray([[0.1, 0.2, 0.97]])
    of_scale, of_axis = jax.grad(density, argnums=(0, 1))(scale, axis)
    for name in ("opening", "band", "query", "key", "likeness", "shift", "sharpness"):
        slope = np.asarray(vars(of_scale)[name])
        assert np.isfinite(slope).all(), name
        assert np.abs(slope).max() > 0, name
    assert np.abs(np.asarray(of_axis)).max() > 0
    nudge = 1e-2
    wider = dataclasses.replace(scale, opening=scale.opening + nudge)
    narrower = dataclasses.replace(scale, opening=scale.opening - nudge)
    slope = (density(wider, axis) - density(narrower, axis)) / (2 * nudge)
    np.testing.assert_allclose(np.asarray(of_scale.opening)[0], slope, rtol=2e-2)


def test_a_cone_without_points_stays_where_it_is_with_a_finite_gradient():
    scale = ConeScale.build(jax.random.key(1), WIDTH, cones=1, points=12, aperture=0.5)
    scale = dataclasses.replace(scale, shift=jnp.asarray(0.5), listening=jnp.asarray(1.0))
    points = around_a_pole()
    empty = points._replace(there=jnp.zeros_like(points.there))
    look = looked(scale, empty)
    np.testing.assert_allclose(look.axis, [[0, 0, 1]], atol=1e-7)
    slope = eqx.filter_jit(eqx.filter_grad(lambda scale: jnp.sum(looked(scale, empty).axis)))(scale)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_the_default_has_narrow_and_wide_cones():
    usual = ConeAttention.build(jax.random.key(0), WIDTH)
    assert (len(usual.fine.opening), usual.fine.points) == (8, 50)
    assert (len(usual.coarse.opening), usual.coarse.points) == (2, 200)


def test_apertures_stay_within_their_bounds():
    scale = ConeScale.build(jax.random.key(1), WIDTH, cones=3, points=12, aperture=0.5)
    np.testing.assert_allclose(scale.aperture, 0.5, rtol=1e-6)
    far = dataclasses.replace(scale, opening=jnp.asarray([-50.0, 0, 50]))
    low, high = np.asarray(far.aperture)[[0, 2]]
    assert (low, high) == pytest.approx(APERTURES)


def test_cells_hold_the_nearest_points_of_a_cone():
    direction = unit(directions_at_random(2000, 2).astype(np.float64))
    pyramid = MapPyramid.of_points(direction, np.ones(2000), np.ones((2000, 1)))
    axis = unit(directions_at_random(30, 3).astype(np.float64))
    found = nearest_in_cells(pyramid, direction, axis, 20)
    cosine = axis @ direction.T
    exact = np.argsort(-cosine, axis=1)[:, :20]
    assert np.mean([np.isin(a, b).mean() for a, b in zip(exact, found, strict=True)]) > 0.97
    ordered = np.take_along_axis(cosine, np.maximum(found, 0), axis=1)
    assert (np.diff(ordered, axis=1) <= 0).all()
    few = nearest_in_cells(pyramid, direction, axis[:2], 3000)
    assert (np.sort(few, axis=1)[:, -2000:] == np.arange(2000)).all()
    assert (few == -1).sum() == 2 * 1000


def test_training_lowers_the_loss_and_finds_more(world, model):
    queries = unit_rows(mixed(120, WIDTH, seed=3))
    truth = exact_neighbours(world._unit, queries, 10)
    how = {"steps": 25, "rate": 0.05, "batch": 16, "others": 128}
    trained, losses = train_attention(model, world, queries[:80], truth[:80], **how)
    assert losses[-5:].mean() < losses[:5].mean()
    before = look_where(model, world, queries[80:], share=0.05)
    after = look_where(trained, world, queries[80:], share=0.05)
    assert after.shape == (40, 45)
    assert all(len(set(row)) == 45 for row in after.tolist())
    recalls = [found_share(truth[80:], points).mean() for points in (before, after)]
    assert recalls[1] > recalls[0] > 0.05


def test_the_loss_is_that_of_its_definition(world, model):
    queries = unit_rows(mixed(2, WIDTH, seed=5))
    seen = world.see(model, queries)
    known = world.direction[[[0, 1, 2], [3, 4, 5]]].astype(np.float32)
    beside = directions_at_random(7, 1)
    batch = (jnp.asarray(queries), seen, jnp.asarray(known), jnp.asarray(beside))
    loss = eqx.filter_jit(attention_loss)(model, batch)
    asked = eqx.filter_jit(lambda query, around, places: model(query, around, places))
    expected = []
    for row, query in enumerate(queries):
        around = jax.tree.map(lambda array, row=row: array[row], seen)
        places = np.concatenate([known[row], beside])
        density = np.asarray(asked(jnp.asarray(query), around, jnp.asarray(places)), np.float64)
        expected.append(np.mean(np.log(np.exp(density).sum()) - density[:3]))
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)


def test_a_share_out_of_range_is_refused(world, model):
    with pytest.raises(ValueError, match=r"`share` must lie in \(0, 1\]; got 0.0"):
        look_where(model, world, np.ones((1, WIDTH)), share=0.0)
