"""Every model by its name, held to one contract."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sphere_ebm.librarian.sequence.config import MODELS
from sphere_ebm.librarian.sequence.model import NextVector, build_model

WIDTH = 6
CONTEXT = 7
WEIGHTS = np.array([0.5, -0.2, 0.3, 0.1], np.float32)
MILLIONS = {
    "lstm": (4.5, 5.5),
    "gru": (6.5, 7.5),
    "transformer": (17.5, 18.5),
    "amn": (1.8, 2.4),
    "hierarchical_gru": (8, 10),
    "memory_gru": (10, 12.1),
}


def window(seed: int = 0) -> np.ndarray:
    """Steps as a model reads them."""
    return np.random.default_rng(seed).standard_normal((CONTEXT, WIDTH + 1)).astype(np.float32)


@pytest.fixture(scope="module", params=MODELS)
def model(request) -> NextVector:
    return build_model(
        request.param, "small", WIDTH, CONTEXT, WEIGHTS, jax.random.key(1), dropout=0.5
    )


@pytest.fixture(scope="module")
def stirred(model) -> NextVector:
    """The model with other numbers, so that what begins as 0 counts."""
    parameters, rest = eqx.partition(model, eqx.is_inexact_array)
    leaves, structure = jax.tree.flatten(parameters)
    rng = np.random.default_rng(2)
    moved = [
        leaf + jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype) for leaf in leaves
    ]
    return eqx.combine(jax.tree.unflatten(structure, moved), rest)


@pytest.fixture(scope="module")
def run():
    return eqx.filter_jit(lambda model, steps: model(steps))


def test_it_begins_as_the_weighted_means(model, run):
    steps = window()
    means = [steps[-span:, :-1].mean(axis=0) for span in (1, 2, 5, 7)]
    expected = np.tensordot(WEIGHTS, means, 1)
    found = run(model, steps)
    assert found.shape == (CONTEXT, WIDTH)
    assert np.allclose(found[-1], expected, atol=1e-5)
    # early steps average what there is
    assert np.allclose(found[0], WEIGHTS.sum() * steps[0, :-1], atol=1e-5)


def test_no_step_sees_a_later_one(stirred, run):
    steps = window()
    for last in range(CONTEXT - 1):
        changed = steps.copy()
        changed[last + 1 :] = window(1)[last + 1 :]
        assert np.allclose(
            run(stirred, steps)[: last + 1], run(stirred, changed)[: last + 1], atol=1e-5
        )
    assert not np.allclose(run(stirred, steps)[-1], run(stirred, changed)[-1], atol=1e-3)


def test_every_step_before_it_counts_and_so_do_norms(stirred, run):
    steps = window()
    for row in range(CONTEXT):
        changed = steps.copy()
        changed[row, -1] += 1
        assert not np.allclose(run(stirred, steps)[-1], run(stirred, changed)[-1], atol=1e-6)


def test_windows_do_not_remember_each_other(stirred, run):
    first = np.asarray(run(stirred, window(3)))
    run(stirred, window(4))
    assert np.array_equal(first, run(stirred, window(3)))


def test_dropout_wants_a_key_and_only_where_there_is_a_network_to_drop_from(stirred, run):
    steps = jnp.asarray(window())
    drop = eqx.filter_jit(lambda model, key: model(steps, key))
    dropped = drop(stirred, jax.random.key(0))
    assert np.array_equal(dropped, drop(stirred, jax.random.key(0)))
    same = np.allclose(run(stirred, steps), dropped, atol=1e-5)
    assert same == (stirred.projection is None)


@pytest.mark.parametrize("name", MODELS)
def test_in_full_it_has_the_size_that_was_designed(name):
    weights = np.zeros(5, np.float32)
    shaped = eqx.filter_eval_shape(
        lambda key: build_model(name, "full", 768, 100, weights, key), jax.random.key(0)
    )
    sizes = [
        leaf.size for leaf in jax.tree.leaves(shaped) if isinstance(leaf, jax.ShapeDtypeStruct)
    ]
    low, high = MILLIONS[name]
    assert low <= sum(sizes) / 1e6 <= high
