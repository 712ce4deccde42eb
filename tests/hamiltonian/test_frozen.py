"""The frozen field.

What newcomers feel is what the Hamiltonian of the map would say of one more point.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.hamiltonian.fields.evaluators import MAX_PYRAMID_SHARPNESS
from sphere_ebm.hamiltonian.frozen import FrozenPressureFactor
from sphere_ebm.sampling.programs import sphere_block

SHARPNESS = 6.0
STRENGTH = 2.0


def clustered(points: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((6, 3))
    raw = centres[rng.integers(6, size=points)] + 0.4 * rng.standard_normal((points, 3))
    return (raw / np.linalg.norm(raw, axis=1, keepdims=True)).astype(np.float32)


def energy_of_map(direction: np.ndarray) -> float:
    """H_osmotic by summing over all pairs in float64."""
    u = direction.astype(np.float64)
    q = 1 / (1 + 2 * SHARPNESS**2 * (1 - u @ u.T))
    n = len(u)
    return STRENGTH * n * np.log((q.sum() - n) / (n * (n - 1)))


def state_of(direction: np.ndarray) -> SphereState:
    return SphereState(jnp.asarray(direction), jnp.ones(len(direction)))


def interaction_of(fixed: np.ndarray, nodes: int, sharpness: float = SHARPNESS):
    factor = FrozenPressureFactor(
        sphere_block(nodes), jnp.asarray(fixed), sharpness=sharpness, strength=STRENGTH
    )
    return factor.interaction()


@pytest.mark.parametrize("n_fixed", [2, 40, 3000])
def test_energy_and_force_are_those_of_the_pair_sum(n_fixed: int) -> None:
    fixed = clustered(n_fixed)
    here = clustered(200, seed=1)
    u = here.astype(np.float64)
    v = fixed.astype(np.float64)
    q = 1 / (1 + 2 * SHARPNESS**2 * (1 - u @ v.T))
    pairs = 1 / (1 + 2 * SHARPNESS**2 * (1 - v @ v.T))
    scale = 2 * STRENGTH * n_fixed / (pairs.sum() - n_fixed)
    energy, force = interaction_of(fixed, 200).local_energy_and_force(
        state_of(here), [], jnp.ones((200, 1), bool)
    )
    np.testing.assert_allclose(energy, scale * q.sum(1), rtol=0.02)
    gradient = scale * 2 * SHARPNESS**2 * (q**2) @ v
    tangent = [
        f - np.sum(f * u, axis=1, keepdims=True) * u
        for f in (np.asarray(force.direction, float), -gradient)
    ]
    rms = [
        float(np.sqrt(np.mean(np.sum(f**2, axis=1)))) for f in (tangent[0] - tangent[1], tangent[1])
    ]
    assert rms[0] < 0.05 * rms[1]
    assert not np.asarray(force.radius).any()


def test_the_energy_is_what_one_more_point_adds_to_the_map() -> None:
    fixed = clustered(3000)
    here = clustered(20, seed=2)
    interaction = interaction_of(fixed, 20)
    energy = interaction.local_energy_and_force(state_of(here), [], jnp.ones((20, 1), bool))[0]
    n = len(fixed)
    # Π N log(S' / S), the part of the difference that depends on where the point is
    pairs = np.exp(energy_of_map(fixed) / (STRENGTH * n)) * n * (n - 1)
    added = []
    for u in here:
        with_it = np.exp(energy_of_map(np.vstack([fixed, u])) / (STRENGTH * (n + 1))) * n * (n + 1)
        added.append(STRENGTH * n * np.log(with_it / pairs))
    np.testing.assert_allclose(energy, added, rtol=0.01)


def test_the_emptiest_place_is_far_from_all_points() -> None:
    fixed = clustered(500)
    fixed = fixed[fixed[:, 2] > -0.5]
    fixed /= np.linalg.norm(fixed, axis=1, keepdims=True)
    place = np.asarray(interaction_of(fixed, 1).emptiest.value)
    assert np.linalg.norm(place) == pytest.approx(1, abs=1e-6)
    lattice = clustered(2000, seed=5)

    def q(u: np.ndarray) -> np.ndarray:
        return (1 / (1 + 2 * SHARPNESS**2 * (1 - u @ fixed.T))).sum(-1)

    assert q(place) <= 1.01 * q(lattice).min()


def test_what_no_grid_can_serve_is_refused() -> None:
    block = sphere_block(3)
    with pytest.raises(ValueError, match="at least 2 points; got 1"):
        FrozenPressureFactor(block, jnp.asarray(clustered(1)), sharpness=3.0)
    with pytest.raises(ValueError, match="`strength` must be >= 0"):
        FrozenPressureFactor(block, jnp.asarray(clustered(5)), sharpness=3.0, strength=-1.0)
    with pytest.raises(ValueError, match="longer `interaction_length`"):
        FrozenPressureFactor(block, jnp.asarray(clustered(5)), sharpness=2 * MAX_PYRAMID_SHARPNESS)
