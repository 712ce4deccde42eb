"""What the attraction promises.

Its three kernels in closed form, each edge once, and clear refusals.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.geometry.sphere import squared_chord
from sphere_ebm.hamiltonian import lateral
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.lateral import LateralFactor, WholeAttraction, degree_classes
from sphere_ebm.sampling.programs import build_program, energies, sphere_block

ANTIPODES = SphereState(jnp.asarray([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]), jnp.asarray([1.0, 7.0]))
ACTIVE = jnp.ones((24, 1), bool)
EDGE = (np.asarray([0]), np.asarray([1]), np.asarray([0.5]))

# chord² = 4 and s = 1.5, so x = 9
CLOSED_FORMS = {"cauchy": math.log(10), "gaussian": -math.exp(-9), "harmonic": 4.5}


@pytest.mark.parametrize("kernel", CLOSED_FORMS)
def test_the_energy_of_antipodes_is_that_of_a_chord_of_length_two(probe, kernel):
    block = sphere_block(2)
    factor = LateralFactor(block, *EDGE, sharpness=1.5, strength=3.0, kernel=kernel)
    expected = 3.0 * 0.5 * CLOSED_FORMS[kernel]
    np.testing.assert_allclose(factor.energy(ANTIPODES), expected, rtol=1e-6)
    seen = energies(build_program(block, [factor], probe), ANTIPODES)
    np.testing.assert_allclose(seen["lateral"], expected, rtol=1e-6)


def test_the_separation_of_points_ignores_their_radii():
    factor = LateralFactor(sphere_block(2), *EDGE, sharpness=1.5)
    far = SphereState(ANTIPODES.direction, jnp.asarray([1e6, 1e-3]))
    assert float(factor.energy(far)) == float(factor.energy(ANTIPODES))


def test_close_points_keep_the_digits_of_their_chord():
    gap = 1e-5
    a = jnp.asarray([[1.0, 0.0, 0.0]])
    np.testing.assert_allclose(
        squared_chord(a, a + jnp.asarray([[0.0, gap, 0.0]])), gap**2, rtol=1e-5
    )


@pytest.mark.parametrize(
    ("edges", "options", "message"),
    [
        (EDGE, {"sharpness": 0.0}, r"`sharpness` must be positive; got 0.0"),
        (EDGE, {"sharpness": math.nan}, r"`sharpness` must be positive"),
        (EDGE, {"strength": -1.0}, r"`strength` must be >= 0; got -1.0"),
        (
            (np.asarray([0]), np.asarray([2]), np.ones(1)),
            {},
            r"edge ends must lie in \[0, 2\); got 0 to 2",
        ),
        (
            (np.asarray([-1]), np.asarray([1]), np.ones(1)),
            {},
            r"edge ends must lie in \[0, 2\); got -1 to 1",
        ),
        ((np.zeros(0, int), np.zeros(0, int), np.zeros(0)), {}, r"at least one edge"),
    ],
)
def test_bad_arguments_are_refused_by_name(edges, options, message):
    with pytest.raises(ValueError, match=message):
        LateralFactor(sphere_block(2), *edges, **{"sharpness": 1.0, **options})


def test_tails_are_gathered_only_where_all_nodes_are(probe):
    factor = LateralFactor(sphere_block(2), *EDGE, sharpness=1.5)
    lateral = build_program(sphere_block(2), [factor], probe).per_block_interactions[0][1]
    (tails,) = lateral.gather(ANTIPODES)
    np.testing.assert_array_equal(tails.direction[:, 0], ANTIPODES.direction[::-1])
    np.testing.assert_array_equal(tails.radius[:, 0], ANTIPODES.radius[::-1])
    half = SphereState(ANTIPODES.direction[:1], ANTIPODES.radius[:1])
    with pytest.raises(
        ValueError, match=r"the block has 1 nodes and the lateral term 2.*node by node"
    ):
        lateral.gather(half)


def test_each_end_of_an_edge_owns_the_whole_pair(probe):
    factor = LateralFactor(sphere_block(2), *EDGE, sharpness=1.5, strength=3.0)
    lateral = build_program(sphere_block(2), [factor], probe).per_block_interactions[0][1]
    local, _ = lateral.local_energy_and_force(
        ANTIPODES, lateral.gather(ANTIPODES), jnp.ones((2, 1), bool)
    )
    np.testing.assert_allclose(local, float(factor.energy(ANTIPODES)), rtol=1e-6)


@pytest.mark.parametrize("kernel", CLOSED_FORMS)
def test_degree_classes_give_the_energy_and_force_of_thrmls_slots(
    monkeypatch, block, state, factors, forces_of, kernel
):
    by_slots = forces_of([factors[kernel]], state)
    monkeypatch.setattr(lateral, "WHOLE_FROM", 2)
    (group,) = factors[kernel].to_whole_groups()
    assert isinstance(group.interaction, WholeAttraction)
    by_class = forces_of([factors[kernel]], state)
    np.testing.assert_allclose(by_class.direction, by_slots.direction, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(by_class.radius, 0)
    np.testing.assert_allclose(
        group.interaction.energy(state, [], ACTIVE), factors[kernel].energy(state), rtol=1e-6
    )


def test_the_force_of_degree_classes_is_minus_the_gradient(monkeypatch, state, factors):
    monkeypatch.setattr(lateral, "WHOLE_FROM", 2)
    (group,) = factors["cauchy"].to_whole_groups()
    gradient = jax.grad(
        lambda u: group.interaction.energy(SphereState(u, state.radius), [], ACTIVE)
    )(state.direction)
    force = group.interaction.force(state, [], ACTIVE).direction

    def radial(v: jax.Array) -> jax.Array:
        return jnp.sum(v * state.direction, axis=1, keepdims=True) * state.direction

    np.testing.assert_allclose(force - radial(force), radial(gradient) - gradient, atol=1e-4)


def test_maps_below_a_size_keep_thrmls_slots(probe):
    small = build_program(
        sphere_block(2), [LateralFactor(sphere_block(2), *EDGE, sharpness=1.0)], probe
    )
    assert not isinstance(small.per_block_interactions[0][1], WholeAttraction)
    n = lateral.WHOLE_FROM
    large = build_program(
        sphere_block(n), [LateralFactor(sphere_block(n), *EDGE, sharpness=1.0)], probe
    )
    assert isinstance(large.per_block_interactions[0][1], WholeAttraction)


def test_every_entry_has_one_slot_and_less_than_a_third_is_padding():
    rng = np.random.default_rng(0)
    n = 2000
    heads = np.repeat(np.arange(2000), rng.poisson(19, 2000))
    tails = rng.integers(0, n, len(heads))
    weight = rng.uniform(0.1, 1, len(heads)).astype(np.float32)
    classes = degree_classes(heads, tails, weight, n)
    seen = np.concatenate([np.asarray(part.head) for part in classes.parts])
    np.testing.assert_array_equal(seen[np.asarray(classes.place)], np.arange(n))
    filled = [
        (int(head), int(tail), float(w))
        for part in classes.parts
        for head, tails_of, weights in zip(*map(np.asarray, part), strict=True)
        for tail, w in zip(tails_of, weights, strict=True)
        if w > 0
    ]
    assert sorted(filled) == sorted(
        zip(heads.tolist(), tails.tolist(), weight.tolist(), strict=True)
    )
    assert len(filled) > 2 / 3 * sum(part.tail.size for part in classes.parts)


def test_degree_classes_refuse_a_part_of_the_map(state, factors, monkeypatch):
    monkeypatch.setattr(lateral, "WHOLE_FROM", 2)
    (group,) = factors["cauchy"].to_whole_groups()
    half = SphereState(state.direction[:5], state.radius[:5])
    with pytest.raises(ValueError, match="the block has 5 nodes and the lateral term 24"):
        group.interaction.force(half, [], ACTIVE)
