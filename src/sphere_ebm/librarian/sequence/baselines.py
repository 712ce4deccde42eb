"""What a model has to beat: repeating, averaging, and a linear map, each fitted in closed form.

Predictions are in the frame of the training documents (`Frame.centred`), where the mean of all
vectors is 0.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from sphere_ebm.librarian.sequence.measure import cosines

BASELINES: tuple[str, ...] = ("mean", "last", "ridge", "weighted_means")
PENALTIES: tuple[float, ...] = (10.0, 100.0, 1000.0, 10000.0)
"""Penalties of which ridge regression takes the one that predicts validation documents best."""

_BLOCK = 4096

Means = Float32[np.ndarray, "targets spans dim"]
Vectors = Float32[np.ndarray, "targets dim"]
OtherMeans = Float32[np.ndarray, "others spans dim"]
OtherVectors = Float32[np.ndarray, "others dim"]
TestMeans = Float32[np.ndarray, "tests spans dim"]


def fit_weights(means: Means, truth: Vectors) -> Float32[np.ndarray, " spans"]:
    """One weight for each running mean, by least squares over all targets and coordinates.

    Equal means (documents shorter than a span) share their weight: the solution of least norm.
    """
    spans = means.shape[1]
    products = np.zeros((spans, spans))
    moments = np.zeros(spans)
    for start in range(0, len(means), _BLOCK):
        block = means[start : start + _BLOCK].astype(np.float64)
        flat = block.transpose(1, 0, 2).reshape(spans, -1)
        products += flat @ flat.T
        moments += flat @ truth[start : start + _BLOCK].astype(np.float64).reshape(-1)
    return np.linalg.lstsq(products, moments, rcond=1e-10)[0].astype(np.float32)


def weighted(means: Means, weights: Float32[np.ndarray, " spans"]) -> Vectors:
    """The weighted sum of running means, one for each target."""
    return np.tensordot(means, weights, ([1], [0])).astype(np.float32)


def fit_ridge(
    means: Means, truth: Vectors, others: OtherMeans, truth_of_others: OtherVectors
) -> Float[np.ndarray, "inputs dim"]:
    """A linear map of all running means to the next vector.

    ‖means A - truth‖² + λ ‖A‖² is least, with the λ of `PENALTIES` that gives the greatest mean
    cosine on the second pair.
    """
    inputs = means.reshape(len(means), -1)
    products = (inputs.T @ inputs).astype(np.float64)
    moments = (inputs.T @ truth).astype(np.float64)
    maps = [
        np.linalg.solve(products + penalty * np.eye(len(products)), moments)
        for penalty in PENALTIES
    ]
    scores = [cosines(mapped(others, one), truth_of_others).mean() for one in maps]
    return maps[int(np.argmax(scores))]


def mapped(means: Means, matrix: Float[np.ndarray, "inputs dim"]) -> Vectors:
    """What a linear map makes of running means."""
    return (means.reshape(len(means), -1) @ matrix).astype(np.float32)


def predict_baselines(
    spans: Sequence[int],
    train: tuple[Means, Vectors],
    choose: tuple[OtherMeans, OtherVectors],
    test: TestMeans,
) -> dict[str, np.ndarray]:
    """Predictions of all of `BASELINES` for the targets of `test`."""
    weights = fit_weights(*train)
    return {
        "mean": np.zeros_like(test[:, 0]),
        "last": test[:, spans.index(1)],
        "ridge": mapped(test, fit_ridge(*train, *choose)),
        "weighted_means": weighted(test, weights),
    }
