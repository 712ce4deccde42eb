"""What training makes small: the squared error of the predicted direction."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sphere_ebm.librarian.sequence.model import NextVector

_LEAST_NORM = 1e-12


def squared_errors(
    model: NextVector,
    windows: Float[Array, "batch steps features"],
    targets: Float[Array, "batch steps dim"],
    counted: Bool[Array, "batch steps"],
    key: PRNGKeyArray | None = None,
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, ""]]:
    """Sums over the steps that count: ‖p - t‖², the cosine of p and t, and 1.

    Targets t are unit vectors, so that the prediction p of least squared error points where the
    mean cosine is greatest.

    Args:
        model: what predicts.
        windows: rows of `Frame.inputs`.
        targets: the vectors after each step.
        counted: which of them count.
        key: for dropout; without it nothing is left out.
    """
    if key is None:
        predicted = jax.vmap(lambda window: model(window))(windows)
    else:
        predicted = jax.vmap(model)(windows, jax.random.split(key, len(windows)))
    marks = counted.astype(predicted.dtype)
    squared = jnp.sum((predicted - targets) ** 2, axis=-1)
    lengths = jax.lax.stop_gradient(jnp.linalg.norm(predicted, axis=-1))
    cosine = jnp.sum(predicted * targets, axis=-1) / jnp.maximum(lengths, _LEAST_NORM)
    return jnp.sum(squared * marks), jnp.sum(cosine * marks), jnp.sum(marks)
