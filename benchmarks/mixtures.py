"""Seeded Gaussian mixtures as large as memory allows.

Clusters of unequal sizes on a low-dimensional space, and noise.

Isotropic noise would be no test: in 256 dimensions all its points are about equally far from each
other.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

CHUNK = 65_536
"""Points that are drawn at a time, each chunk from a key of its own."""

_LATENT = 64
_NOISE = 0.15


def mixture(
    points: int, width: int, seed: int, clusters: int = 1000
) -> Float32[np.ndarray, "points width"]:
    """Points of a Gaussian mixture, not normalised.

    The first M of them do not depend on how many follow.

    x = (c + σ z) W + noise: z standard normal in 64 dimensions, W orthonormal rows, c a standard
    normal centre over 8. The 64 scales σ fall as 1 / rank, in an order of each cluster's own, so
    that few directions carry each cluster; its share of the points is log-normal (σ = 1: the
    largest of 1000 have hundreds of times what the smallest have). The noise has the norm .15,
    where a centre has 1 and σ z about 0.7.

    Cost: O(points width); memory: the result and two chunks of 65 536 points.
    """
    whole = np.empty((points, width), np.float32)
    start = 0
    for chunk in mixture_chunks(points, width, seed, clusters):
        whole[start : start + len(chunk)] = chunk
        start += len(chunk)
    return whole


def mixture_chunks(
    points: int, width: int, seed: int, clusters: int = 1000
) -> Iterator[Float32[np.ndarray, "chunk width"]]:
    """The same points in chunks of `CHUNK`, the last one shorter."""
    rng = np.random.default_rng([seed, 0])
    latent = min(_LATENT, width)
    basis = np.linalg.qr(rng.standard_normal((width, latent)))[0].T.astype(np.float32)
    centre = (rng.standard_normal((clusters, latent)) / np.sqrt(latent)).astype(np.float32)
    rank = rng.permuted(np.tile(np.arange(1, latent + 1), (clusters, 1)), axis=1)
    spread = (0.55 / rank).astype(np.float32)
    share = rng.lognormal(size=clusters)
    for number, start in enumerate(range(0, points, CHUNK)):
        rng = np.random.default_rng([seed, 1, number])
        cluster = rng.choice(clusters, CHUNK, p=share / share.sum())
        inside = centre[cluster] + spread[cluster] * rng.standard_normal(
            (CHUNK, latent), np.float32
        )
        noise = rng.standard_normal((CHUNK, width), np.float32)
        noise *= np.float32(_NOISE / np.sqrt(width))
        yield (inside @ basis + noise)[: points - start]
