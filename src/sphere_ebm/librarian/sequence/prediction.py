"""Predictions of a trained model for targets, each from a full context in front of it."""

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float32, Int64

from sphere_ebm.librarian.sequence.model import NextVector

_VECTORS = 12800  # held in windows at a time


def predict_targets(
    model: NextVector,
    inputs: Float32[np.ndarray, "rows features"],
    targets: Int64[np.ndarray, " targets"],
    context: int,
) -> Float32[np.ndarray, "targets dim"]:
    """What the model predicts for each target from the `context` rows before it.

    Args:
        model: trained for this context.
        inputs: rows of `Frame.inputs`.
        targets: rows, each with at least `context` rows of its document before it.
        context: how many vectors are seen.
    """
    size = max(1, _VECTORS // context)
    last = eqx.filter_jit(lambda model, windows: jax.vmap(model)(windows)[:, -1])
    out = np.empty((len(targets), inputs.shape[1] - 1), np.float32)
    for start in range(0, len(targets), size):
        rows = targets[start : start + size]
        # windows are filled up to one number, so that one program serves for all
        filled = np.resize(rows, size)
        windows = inputs[filled[:, None] - context + np.arange(context)]
        out[start : start + size] = np.asarray(last(model, windows))[: len(rows)]
    return out
