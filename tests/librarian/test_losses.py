import jax
import jax.numpy as jnp
import numpy as np

from builders import directions_at_random
from sphere_ebm.geometry.cells import cell_centres
from sphere_ebm.librarian import losses

CENTRES = jnp.asarray(cell_centres(np.arange(256), 4), jnp.float32)
SIDE = np.sqrt(4 * np.pi / 256)


def targets(modes, weight, std):
    columns = (jnp.asarray(x, jnp.float32) for x in (modes, weight, std))
    return np.asarray(losses.cell_targets(*columns, CENTRES), np.float64)


def test_the_target_of_a_label_is_its_von_mises_fisher_law():
    place = directions_at_random(5, 0)
    std = np.array([0.05, 0.2, 0.4, 0.6, 0.8])
    found = targets(np.stack([place, place], axis=1), [[1, 0]] * 5, std)
    for row in range(5):
        kappa = 1 / (std[row] ** 2 / 2 + (0.6 * SIDE) ** 2)
        law = np.exp(kappa * (np.asarray(CENTRES, np.float64) @ place[row] - 1))
        assert np.allclose(found[row], law / law.sum(), atol=1e-5)


def test_surer_labels_have_narrower_targets_of_variance_two_sigma_squared():
    place = directions_at_random(1, 1)
    twice = np.stack([place, place], axis=1)
    squared = np.arccos(np.clip(np.asarray(CENTRES) @ place[0], -1, 1)) ** 2
    for std in (0.1, 0.3):
        spread = float((targets(twice, [[1, 0]], [std])[0] * squared).sum())
        assert abs(spread / (std**2 + 2 * (0.6 * SIDE) ** 2) - 1) < 0.25


def test_both_modes_of_a_label_are_targets():
    north = [0.0, 0.0, 1.0]
    south = [0.0, 0.0, -1.0]
    found = targets([[north, south]], [[0.7, 0.3]], [1.5])[0]
    above = np.asarray(CENTRES)[:, 2] > 0
    assert abs(found[above].sum() - 0.7) < 0.01
    assert found[np.abs(np.asarray(CENTRES)[:, 2]) < 0.2].sum() < 0.01


def test_a_shell_beside_costs_less_than_one_far_away():
    radii = jnp.arange(10.0, 20.0)
    wanted = losses.shell_targets(jnp.asarray([14.0]), jnp.asarray([0.1]), radii)
    assert int(jnp.argmax(wanted)) == 4
    sure = 8 * jax.nn.one_hot(jnp.asarray([4, 5, 9]), 10)
    cost = losses.shell_loss(sure, jnp.tile(wanted, (3, 1)))
    assert cost[0] < cost[1] < cost[2]


def test_zero_embeddings_cost_nothing_and_opposite_ones_two():
    true = jnp.asarray([[1.0, 0], [0, 0], [0, 1]])
    said = jnp.asarray([[-2.0, 0], [3, 1], [0, 5]])
    assert np.allclose(losses.embedding_loss(said, true), [2, 0, 0], atol=1e-5)


def test_cones_are_diverse_where_each_patch_is_sure_of_its_own():
    same = jnp.full((8, 4), 0.25)
    one = jnp.tile(jnp.asarray([1.0, 0, 0, 0]), (8, 1))
    own = jnp.tile(jnp.eye(4), (2, 1))
    found = [float(losses.cone_diversity(x)) for x in (same, one, own)]
    assert np.allclose(found, [0, 0, np.log(4)], atol=1e-5)
