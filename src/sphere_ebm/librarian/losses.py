"""What students lose: cells, shells, embeddings, rank of the prominence, diversity of cones.

All of it is JAX, a number for each patch, so that patches can be weighed.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

CELL_SHARE = 0.6
"""Labels are blurred by so much of a cell's side, so that neighbouring cells are told of it."""


def cell_targets(
    modes: Float[Array, "patches 2 3"],
    mode_weight: Float[Array, "patches 2"],
    angle_std: Float[Array, " patches"],
    centres: Float[Array, "cells 3"],
) -> Float[Array, "patches cells"]:
    """The probability of each equal-area cell, given a label: von Mises-Fisher about its modes.

    With κ = 1/σ² and σ² = angle_std²/2 + (.6 cell)² in each of the two directions on the sphere,
    p_c ∝ Σ_m weight_m exp(κ (u_m·c - 1)) / Σ_c' exp(κ (u_m·c' - 1)).

    A label with two modes has told in their weights what its spread says of the other place, so
    that the blur about each is at most that of a label within 11.5°.
    """
    side = math.sqrt(4 * math.pi / centres.shape[0])
    within = jnp.where(mode_weight[:, 1] > 0, jnp.minimum(angle_std, _NEAR), angle_std)
    sharpness = 1 / (within**2 / 2 + (CELL_SHARE * side) ** 2)
    cosine = jnp.einsum("nmd,cd->nmc", modes, centres)
    each = jax.nn.softmax(sharpness[:, None, None] * (cosine - 1), axis=-1)
    return jnp.einsum("nm,nmc->nc", mode_weight, each)


_NEAR = math.radians(11.5)


def cells_loss(
    logits: Float[Array, "patches cells"], target: Float[Array, "patches cells"]
) -> Float[Array, " patches"]:
    """Cross-entropy in nats."""
    return -jnp.sum(target * jax.nn.log_softmax(logits, axis=-1), axis=-1)


def shell_targets(
    radius: Float[Array, " patches"],
    radius_std: Float[Array, " patches"],
    radii: Float[Array, " shells"],
) -> Float[Array, "patches shells"]:
    """The probability of each shell: normal about the radius, of width radius_std and half a shell.

    One shell beside the right one costs little, a hundred beside it much.
    """
    step = (radii[-1] - radii[0]) / max(radii.shape[0] - 1, 1)
    width = radius_std + step / 2
    apart = (radii[None, :] - radius[:, None]) / width[:, None]
    return jax.nn.softmax(-(apart**2) / 2, axis=-1)


def shell_loss(
    logits: Float[Array, "patches shells"], target: Float[Array, "patches shells"]
) -> Float[Array, " patches"]:
    """Cross-entropy with the soft ordinal target, in nats."""
    return -jnp.sum(target * jax.nn.log_softmax(logits, axis=-1), axis=-1)


def embedding_loss(
    predicted: Float[Array, "patches width"], true: Float[Array, "patches width"]
) -> Float[Array, " patches"]:
    """1 - cosine; `true` are unit rows, and zero rows cost nothing."""
    length = jnp.sqrt(jnp.sum(predicted**2, axis=-1) + 1e-12)
    cosine = jnp.sum(predicted * true, axis=-1) / length
    return jnp.where(jnp.any(true != 0, axis=-1), 1 - cosine, 0.0)


def prominence_loss(
    predicted: Float[Array, " patches"], rank: Float[Array, " patches"]
) -> Float[Array, " patches"]:
    """Squared error of the rank in [0, 1]."""
    return (predicted - rank) ** 2


def cone_diversity(affinity: Float[Array, "patches cones"]) -> Float[Array, ""]:
    """The mutual information of patch and cone, H(mean) - mean H, in nats; to be made large.

    It is greatest where every patch is sure of its cone and all cones are used alike; entropy of
    each patch alone would make all cones equal. `affinity` are probabilities.
    """
    mean = jnp.mean(affinity, axis=0)
    return _entropy(mean) - jnp.mean(_entropy(affinity))


def _entropy(share: Float[Array, "*shape cones"]) -> Float[Array, "*shape"]:
    return -jnp.sum(share * jnp.log(jnp.maximum(share, 1e-12)), axis=-1)


def weighted_mean(
    loss: Float[Array, " patches"], weight: Float[Array, " patches"]
) -> Float[Array, ""]:
    """Mean over patches, of which each counts by its weight; weights are 1 on average."""
    return jnp.mean(weight * loss)
