"""Tokens to patches."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Int64

Pooling = Literal["mean", "first", "max"]

_PATCHES = 1024  # averaged at a time


def check_pooling(pooling: str) -> None:
    """Refuse a way of pooling that there is not.

    Raises:
        ValueError: `pooling` is not one of `Pooling`.
    """
    if pooling not in get_args(Pooling):
        raise ValueError(
            f"`pooling` must be one of {', '.join(get_args(Pooling))}; got {pooling!r}."
        )


def pool(
    embeddings: Float32[np.ndarray, "tokens dim"],
    prominence: Float32[np.ndarray, " tokens"],
    entropy: Float32[np.ndarray, " tokens"] | None,
    starts: Int64[np.ndarray, " patches"],
    pooling: Pooling,
) -> tuple[
    Float32[np.ndarray, "patches dim"],
    Float32[np.ndarray, " patches"],
    Float32[np.ndarray, " patches"] | None,
]:
    """Embedding, prominence and entropy of the patches that begin at `starts`.

    `starts` rise strictly from 0.

    - `"mean"`: mean embedding and entropy; prominence is the largest of the patch's tokens, as
      layout F stores it.
    - `"first"`: everything from the first token.
    - `"max"`: everything from the token of highest prominence, the earliest of equals.
    """
    if not len(starts):
        return embeddings[:0], prominence[:0], None if entropy is None else entropy[:0]
    if pooling != "mean":
        token = starts if pooling == "first" else _most_prominent(prominence, starts)
        return embeddings[token], prominence[token], None if entropy is None else entropy[token]
    return (
        _means(embeddings, starts),
        np.maximum.reduceat(prominence, starts),
        None if entropy is None else _means(entropy[:, None], starts)[:, 0],
    )


def _means(
    values: Float32[np.ndarray, "tokens dim"], starts: Int64[np.ndarray, " patches"]
) -> Float32[np.ndarray, "patches dim"]:
    """Mean over each patch's tokens.

    It takes some patches at a time: NumPy converts all of `reduceat`'s input at once.
    """
    bounds = np.append(starts, len(values))
    means = np.empty((len(starts), values.shape[1]), np.float32)
    for first in range(0, len(starts), _PATCHES):
        last = min(first + _PATCHES, len(starts))
        block = values[bounds[first] : bounds[last]]
        # float64, because the sum of finite float32 values can overflow where their mean does not.
        total = np.add.reduceat(block, starts[first:last] - starts[first], axis=0, dtype=np.float64)
        means[first:last] = total / np.diff(bounds[first : last + 1])[:, None]
    return means


def _most_prominent(
    prominence: Float32[np.ndarray, " tokens"], starts: Int64[np.ndarray, " patches"]
) -> Int64[np.ndarray, " patches"]:
    tokens = len(prominence)
    highest = np.repeat(np.maximum.reduceat(prominence, starts), np.diff(starts, append=tokens))
    return np.minimum.reduceat(np.where(prominence == highest, np.arange(tokens), tokens), starts)
