"""What the trainers share: batches of one size, and the losses of labels."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sphere_ebm.geometry.cells import cell_centres
from sphere_ebm.librarian import losses
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.students.base import Batch, Facts


def padded(batch: Batch, size: int) -> dict[str, np.ndarray]:
    """The labels of a batch, filled up to `size` rows that count nothing: programs have one shape.

    Rows that count are raised by as much as there are fewer of them, so that means over all rows
    are means over those.
    """
    count = len(batch)
    usual = np.float32(size / max(count, 1))
    arrays = {
        "modes": batch.modes,
        "mode_weight": batch.mode_weight,
        "angle_std": batch.angle_std,
        "radius": batch.radius,
        "radius_std": batch.radius_std,
        "embedding": batch.embedding,
        "rank": batch.rank,
        "weight": batch.weight * usual,
        "real": np.full(count, usual, np.float32),
    }
    return {
        name: np.pad(array, [(0, size - count), *[(0, 0)] * (array.ndim - 1)])
        for name, array in arrays.items()
    }


def label_losses(
    config: LibrarianConfig,
    facts: Facts,
    data: dict[str, Any],
    *,
    cells: Float[Array, "n c"],
    shells: Float[Array, "n s"],
    rank: Float[Array, " n"],
    vector: Float[Array, "n d"],
) -> dict[str, Array]:
    """How far what a student says, before it is normalised, is from `padded` labels."""
    centres = jnp.asarray(cell_centres(np.arange(4**config.level), config.level), "f4")
    target = losses.cell_targets(data["modes"], data["mode_weight"], data["angle_std"], centres)
    radii = jnp.asarray(facts.radii, "f4")
    wanted = losses.shell_targets(data["radius"], data["radius_std"], radii)
    real = data["real"]
    of_vector = losses.embedding_loss(vector, data["embedding"])
    of_rank = losses.prominence_loss(rank, data["rank"])
    return {
        "cells": losses.weighted_mean(losses.cells_loss(cells, target), data["weight"]),
        "shell": losses.weighted_mean(losses.shell_loss(shells, wanted), real),
        "embedding": losses.weighted_mean(of_vector, real),
        "prominence": losses.weighted_mean(of_rank, real),
    }


def with_total(
    config: LibrarianConfig, parts: dict[str, Array]
) -> tuple[Float[Array, ""], dict[str, Array]]:
    """The sum of losses by the weights of the configuration, and all of them by name."""
    weights = {name: vars(config)[f"{name}_weight"] for name in parts}
    total = sum((weights[name] * part for name, part in parts.items()), jnp.zeros(()))
    return total, {"loss": total, **parts}
