"""The proposal that the Metropolis-adjusted schemes share.

A move whose way back is known, however far it went.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.geometry.sphere import normalise, project_tangent
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.langevin import Stage, flow
from sphere_ebm.sampling.metropolis import Proposal, choose, log_way_back, propose

N = 64
WALL = 1.5
TEMPERATURE = 0.7
MOBILITY = (0.6, 1.7)
# typical lengths of a move on the sphere: a fraction of a turn, and several turns
STEP_SIZES = {"short": 0.1, "long": 20.0}


class Journey(NamedTuple):
    """A proposal, and the one that the same dynamics would make of it.

    Everything in double precision.
    """

    stage: Stage
    step_size: jax.Array
    force: tuple[SphereState, SphereState]
    proposal: Proposal
    home: SphereState
    ahead: SphereState
    log_back: jax.Array
    log_back_of_reversed: jax.Array


def tangent_force(key: jax.Array, direction: jax.Array) -> SphereState:
    """Any force: the proposal does not ask where it comes from."""
    key_direction, key_radius = jax.random.split(key)
    ambient = jax.random.normal(key_direction, (N, 3))
    return SphereState(project_tangent(direction, ambient), jax.random.normal(key_radius, (N,)))


@jax.jit
def there_and_back(step_size: jax.Array) -> Journey:
    keys = jax.random.split(jax.random.key(2), 5)
    here = SphereState(
        normalise(jax.random.normal(keys[0], (N, 3))), WALL + jax.random.exponential(keys[1], (N,))
    )
    scalars = (jnp.asarray(x, here.radius.dtype) for x in (TEMPERATURE, step_size, 1.0))
    mobility = SphereState(*(jnp.asarray(x, here.radius.dtype) for x in MOBILITY))
    stage = Stage(here, [], *scalars, mobility, jnp.asarray(WALL, here.radius.dtype))
    force = tangent_force(keys[2], here.direction)
    proposal = propose(keys[3], stage, force, step_size)
    force_there = tangent_force(keys[4], proposal.there.direction)
    one = SphereState(jnp.ones_like(step_size), jnp.ones_like(step_size))
    home, ahead = flow(proposal.there, proposal.back, one, stage.minimum_radius)
    way_there = jax.tree.map(jnp.negative, ahead)
    log_back = log_way_back(stage, proposal, force_there, step_size)
    reversed_proposal = Proposal(here, way_there, log_back)
    log_back_of_reversed = log_way_back(
        stage._replace(here=proposal.there), reversed_proposal, force, step_size
    )
    return Journey(
        stage,
        step_size,
        (force, force_there),
        proposal,
        home,
        ahead,
        log_back,
        log_back_of_reversed,
    )


@pytest.fixture(scope="module", params=STEP_SIZES)
def journey(request: pytest.FixtureRequest) -> Journey:
    with jax.enable_x64(True):
        found = jax.tree.map(np.asarray, there_and_back(jnp.asarray(STEP_SIZES[request.param])))
    length = np.linalg.norm(found.proposal.back.direction, axis=1)
    assert (length > np.pi).mean() > 0.9 if request.param == "long" else length.max() < np.pi
    return found


def gaussian(journey: Journey, way: SphereState, force: SphereState) -> np.ndarray:
    """log q of a move at each node, up to the constant: variance 2 h μ T around h μ F."""
    h = float(journey.step_size)
    total = np.zeros(N)
    for mu, d, f in zip(MOBILITY, way, force, strict=True):
        square = (np.asarray(d) - h * mu * np.asarray(f)) ** 2 / (2 * 2 * h * mu * TEMPERATURE)
        total -= square.sum(axis=1) if square.ndim == 2 else square
    return total


def test_the_way_back_leads_home(journey):
    np.testing.assert_allclose(journey.home.direction, journey.stage.here.direction, atol=1e-13)
    np.testing.assert_allclose(journey.home.radius, journey.stage.here.radius, atol=1e-12)


def test_some_radii_were_reflected_and_none_is_below_the_minimum(journey):
    forward = -np.asarray(journey.ahead.radius)
    back = np.asarray(journey.proposal.back.radius)
    # plainly the way back is minus the way there; after a reflection it has the same sign
    reflected = np.abs(forward - back) < 1e-12
    assert 0.02 < reflected.mean() < 0.7
    assert np.all(np.abs(forward + back)[~reflected] < 1e-12)
    assert float(journey.proposal.there.radius.min()) >= WALL
    here, there = (
        np.asarray(x) for x in (journey.stage.here.radius, journey.proposal.there.radius)
    )
    plain = here + forward
    np.testing.assert_allclose(there, np.where(plain < WALL, 2 * WALL - plain, plain), atol=1e-12)


def test_ways_are_tangent_and_as_long_as_each_other(journey):
    ways = ((journey.stage.here, journey.ahead), (journey.proposal.there, journey.proposal.back))
    for at, way in ways:
        np.testing.assert_allclose(np.sum(at.direction * way.direction, axis=1), 0, atol=1e-12)
    lengths = [np.linalg.norm(way.direction, axis=1) for _, way in ways]
    np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-13)


def test_the_move_is_the_geodesic_that_leaves_along_the_way_there(journey):
    u = np.asarray(journey.stage.here.direction)
    d = -np.asarray(journey.ahead.direction)
    length = np.linalg.norm(d, axis=1, keepdims=True)
    moved = u * np.cos(length) + d / length * np.sin(length)
    np.testing.assert_allclose(journey.proposal.there.direction, moved, atol=1e-12)


def test_the_density_of_the_way_there_is_gaussian_around_the_drift(journey):
    way_there = jax.tree.map(np.negative, journey.ahead)
    np.testing.assert_allclose(
        journey.proposal.log_forward, gaussian(journey, way_there, journey.force[0]), rtol=1e-10
    )


def test_the_density_of_the_way_back_is_gaussian_around_the_drift_of_the_other_end(journey):
    np.testing.assert_allclose(
        journey.log_back, gaussian(journey, journey.proposal.back, journey.force[1]), rtol=1e-10
    )


def test_the_way_back_of_the_way_back_is_the_way_there(journey):
    np.testing.assert_allclose(
        journey.log_back_of_reversed, journey.proposal.log_forward, rtol=1e-10
    )


def tangent_frame(u: np.ndarray) -> np.ndarray:
    """Two orthonormal vectors orthogonal to u, as rows."""
    return np.linalg.svd(u[None])[2][1:]


def bundle_frame(u: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Orthonormal basis (Sasaki metric) of the tangent space of TS² at (u, d), rows (δu, δd) of
    length 6.
    """
    rows = tangent_frame(u)
    return np.concatenate(
        [
            np.concatenate([rows, -np.outer(rows @ d, u)], axis=1),
            np.concatenate([np.zeros((2, 3)), rows], axis=1),
        ]
    )


def test_turning_round_after_the_flow_keeps_volume(journey):
    """|det| = 1 on points and tangent vectors together.

    This is why no Jacobian enters the acceptance.
    """
    with jax.enable_x64(True):
        wall = jnp.asarray(WALL)
        one = jnp.asarray(1.0)

        def turned(pair: jax.Array, radial: jax.Array) -> tuple[jax.Array, jax.Array]:
            here = SphereState(pair[None, :3], radial[:1])
            way = SphereState(pair[None, 3:], radial[1:])
            there, ahead = flow(here, way, SphereState(one, one), wall)
            return (
                jnp.concatenate([there.direction[0], -ahead.direction[0]]),
                jnp.concatenate([there.radius, -ahead.radius]),
            )

        jacobian = jax.jit(jax.vmap(jax.jacfwd(turned, argnums=(0, 1))))
        starts = np.concatenate([journey.stage.here.direction, -journey.ahead.direction], axis=1)
        radial = np.stack([journey.stage.here.radius, -journey.ahead.radius], axis=1)
        (bundle, mixed), (also_mixed, plane) = jax.tree.map(np.asarray, jacobian(starts, radial))
    assert not np.any(mixed)
    assert not np.any(also_mixed)
    np.testing.assert_allclose(np.abs(np.linalg.det(plane)), 1, rtol=1e-12)
    for i, (u, d) in enumerate(zip(starts[:, :3], starts[:, 3:], strict=True)):
        changes = bundle[i] @ bundle_frame(u, d).T
        # at the other end the tangent parts of δu and δd are coordinates of the same metric
        tangent = tangent_frame(journey.proposal.there.direction[i])
        matrix = np.concatenate([tangent @ changes[:3], tangent @ changes[3:]])
        np.testing.assert_allclose(abs(np.linalg.det(matrix)), 1, rtol=1e-8)


def test_a_choice_for_all_or_for_each():
    there = SphereState(jnp.ones((2, 3)), jnp.ones(2))
    here = SphereState(jnp.zeros((2, 3)), jnp.zeros(2))
    for accepted, expected in ((True, [1, 1]), (False, [0, 0]), ([True, False], [1, 0])):
        chosen = choose(jnp.asarray(accepted), there, here)
        np.testing.assert_array_equal(chosen.radius, np.asarray(expected))
        np.testing.assert_array_equal(chosen.direction, np.asarray(expected)[:, None] * np.ones(3))
