"""What the radius of a patch is to order: its prominence, of several kinds.

Each is known when a file is read. What needs all patches of a map is up to `label`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64

from sphere_ebm.files.shards.assemble import without_rounding
from sphere_ebm.files.shards.own import KINDS, NORM
from sphere_ebm.text.base import Reading

PROMINENCES = (NORM, "rarity", "entropy")
"""Kinds that `prominence_of` knows; any other word is the name of a column."""


def check_prominence(kind: str) -> None:
    """Raises ValueError for what is neither a kind that is known here nor the name of a column."""
    if not kind:
        raise ValueError(
            f"`prominence` must be one of {', '.join(PROMINENCES)}, or a column; got nothing."
        )
    if kind in KINDS and kind not in PROMINENCES:
        raise ValueError(
            f"`prominence` cannot be {kind} before all patches are there: give it to `label`, or to"
            " the command `map`."
        )


def ordering_column(kind: str) -> str | None:
    """The column of texts in rows that `prominence` names; None where it names a kind."""
    return None if kind in PROMINENCES else kind


def prominence_of(
    kind: str,
    norm: Float32[np.ndarray, " patches"],
    lengths: Int64[np.ndarray, " patches"],
    readings: Sequence[Reading],
) -> Float32[np.ndarray, " patches"]:
    """The prominence of the patches of one file.

    - `"norm"`: what the embedder says, the norm of the patch's own embedding for most.
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
        return without_rounding(norm)
    parts = [one.surprisals if kind == "rarity" else one.entropies for one in readings]
    sums = np.add.reduceat(np.concatenate(parts), np.cumsum(lengths) - lengths, dtype=np.float64)
    return (sums / lengths).astype(np.float32)
