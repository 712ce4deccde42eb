import numpy as np

from builders import unit
from sphere_ebm.librarian.sequence.baselines import (
    fit_ridge,
    fit_weights,
    mapped,
    predict_baselines,
    weighted,
)
from sphere_ebm.librarian.sequence.measure import cosines


def planted(targets: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three running means, a weighted sum of them, and another linear map of them."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((targets, 3, 4)).astype(np.float32)
    summed = np.tensordot(means, np.array([0.5, -0.25, 1], np.float32), ([1], [0]))
    matrix = np.random.default_rng(7).standard_normal((12, 4)).astype(np.float32)
    return means, summed, means.reshape(targets, -1) @ matrix


def test_weights_are_those_of_least_squares():
    means, summed, _ = planted(500, 0)
    noise = np.random.default_rng(1).standard_normal(summed.shape).astype(np.float32)
    truth = summed + 0.1 * noise
    found = fit_weights(means, truth)
    assert np.allclose(found, [0.5, -0.25, 1], atol=0.02)
    flat = means.transpose(1, 0, 2).reshape(3, -1).T
    assert np.allclose(found, np.linalg.lstsq(flat, truth.reshape(-1))[0], atol=1e-4)
    assert np.allclose(weighted(means, found), summed, atol=0.1)


def test_equal_means_share_their_weight():
    means, _, _ = planted(50, 2)
    means[:, 1] = means[:, 0]
    found = fit_weights(means, 2 * means[:, 0])
    assert np.allclose(found, [1, 1, 0], atol=1e-3)


def test_ridge_finds_a_linear_map_that_no_weighted_mean_is():
    means, _, truth = planted(800, 3)
    others, _, truth_of_others = planted(200, 4)
    matrix = fit_ridge(means, truth, others, truth_of_others)
    assert cosines(mapped(others, matrix), truth_of_others).mean() > 0.99
    weights = fit_weights(means, truth)
    assert cosines(weighted(others, weights), truth_of_others).mean() < 0.9


def test_baselines_predict_what_their_names_say():
    means, summed, _ = planted(300, 5)
    predicted = predict_baselines((1, 2, 5), (means, summed), (means, summed), means)
    assert not predicted["mean"].any()
    assert np.array_equal(predicted["last"], means[:, 0])
    assert np.allclose(unit(predicted["weighted_means"]), unit(summed), atol=1e-3)
