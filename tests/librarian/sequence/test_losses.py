import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import unit
from sphere_ebm.librarian.sequence.losses import squared_errors
from sphere_ebm.librarian.sequence.model import build_model


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    windows = jnp.asarray(rng.standard_normal((3, 4, 6)), jnp.float32)
    targets = jnp.asarray(unit(rng.standard_normal((3, 4, 5))), jnp.float32)
    return windows, targets, jnp.asarray(rng.random((3, 4)) < 0.6)


@pytest.fixture(scope="module")
def model():
    weights = np.array([0.4, 0.2, 0.3], np.float32)
    return build_model("amn", "small", 5, 4, weights, jax.random.key(0))


def test_it_sums_squared_errors_and_cosines_over_what_counts(batch, model):
    windows, targets, counted = batch
    chosen = np.asarray(counted)
    predicted = np.array([model(one) for one in windows], np.float64)[chosen]
    truth = np.asarray(targets)[chosen].astype(np.float64)
    error, cosine, count = squared_errors(model, *batch)
    assert error == pytest.approx(np.sum((predicted - truth) ** 2), rel=1e-5)
    assert cosine == pytest.approx(np.sum(unit(predicted) * truth), rel=1e-4)
    assert float(count) == chosen.sum()


def test_what_does_not_count_changes_nothing(batch, model):
    windows, targets, counted = batch
    other = jnp.where(counted[:, :, None], targets, -targets)
    assert squared_errors(model, *batch) == squared_errors(model, windows, other, counted)


def test_gradients_are_finite_where_a_prediction_is_zero(batch, model):
    windows, targets, counted = batch
    gradient = jax.grad(lambda one: squared_errors(model, one, targets, counted)[0])
    assert np.isfinite(gradient(jnp.zeros_like(windows))).all()
