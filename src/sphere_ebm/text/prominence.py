"""What the radius of a patch is to order: its prominence, of several kinds."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from sphere_ebm.text.base import Reading

Prominence = Literal["norm", "length-corrected", "rarity", "entropy"]
PROMINENCES: tuple[Prominence, ...] = ("norm", "length-corrected", "rarity", "entropy")

_FITTED = 3  # numbers of the curve that length is taken out by


def prominence_of(
    kind: Prominence,
    norm: Float32[np.ndarray, " patches"],
    lengths: Int64[np.ndarray, " patches"],
    readings: Sequence[Reading],
) -> Float32[np.ndarray, " patches"]:
    """The prominence of the patches of one file.

    - `"norm"`: what the embedder says, the norm of the patch's own embedding for most.
    - `"length-corrected"`: the same less what the length of a patch explains of it in this file, by
      least squares on the logarithm of the length and its square.
    - `"rarity"`: the mean surprisal of its bytes, in nats: how unexpected the text is.
    - `"entropy"`: the mean entropy of the predictions of its bytes, in nats: how open it was what
      would come.

    Args:
        kind: one of `PROMINENCES`.
        norm: what the embedder says.
        lengths: bytes of each patch.
        readings: what the model of the next byte makes of the documents, one after another.
    """
    if kind == "norm":
        return norm
    if kind == "length-corrected":
        return _without_length(norm, lengths)
    parts = [one.surprisals if kind == "rarity" else one.entropies for one in readings]
    sums = np.add.reduceat(np.concatenate(parts), np.cumsum(lengths) - lengths, dtype=np.float64)
    return (sums / lengths).astype(np.float32)


def _without_length(
    norm: Float32[np.ndarray, " patches"], lengths: Int64[np.ndarray, " patches"]
) -> Float32[np.ndarray, " patches"]:
    if len(np.unique(lengths)) < _FITTED:
        return norm
    logarithm: Float64[np.ndarray, " patches"] = np.log(lengths)
    curve = np.vander(logarithm - logarithm.mean(), _FITTED)
    found, *_ = np.linalg.lstsq(curve, norm.astype(np.float64), rcond=None)
    return (norm - curve @ found).astype(np.float32)
