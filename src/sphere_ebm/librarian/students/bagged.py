"""The static and the direct student: a bag of n-grams, and two small nets over it.

Both predict alike and learn differently. The static student learns what the map's embeddings are,
as model2vec and tokenlearn distil sentence models, and leaves the place to those who know: with the
map at hand the patch joins it, and without, a net reads the cell from the embedding; that net
teaches the bag nothing. The direct student's bag learns by all losses together.

The sums of a patch's n-grams in its windows, weighted by three numbers that are learned too, are
the student's embedding; a net reads cells from it, and another one shell and prominence from the
patch's own n-grams. `forward` is written once for NumPy, which predicts, and JAX, which learns.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any, final

import numpy as np
from jaxtyping import Float32
from typing_extensions import override

from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.ngrams import BUCKETS, Bag
from sphere_ebm.librarian.packing import packed, unpacked
from sphere_ebm.librarian.students.base import (
    AbstractStudent,
    Arrays,
    Facts,
    Outputs,
    checked_array,
)
from sphere_ebm.librarian.windows import Passages

EXTRA = 16
"""Numbers of a vector that say nothing of the embedding, but of prominence."""
SHELL_HIDDEN = 96
_ALPHA = (1.0, 0.2, 0.01)  # weights of the windows to begin with: the patch itself counts most
_BLOCK = 2048
_TINY = 1e-6

Params = dict[str, Any]
"""The arrays of the nets by name."""


def reaches_of(config: LibrarianConfig) -> tuple[int, ...]:
    """Bytes beyond a patch that each window reaches, rising."""
    return {0: (0,), 2: (0, config.near), 19: (0, config.near, config.far)}[config.context]


def shapes_of(config: LibrarianConfig, facts: Facts) -> dict[str, tuple[int, ...]]:
    """The shape of every array of the nets."""
    cells = 4**config.level
    seen = facts.width + EXTRA + 2
    return {
        "alpha": (len(reaches_of(config)),),
        "cells.in": (facts.width, config.hidden),
        "cells.in.bias": (config.hidden,),
        "cells.out": (config.hidden, cells),
        "cells.out.bias": (cells,),
        "shells.in": (seen, SHELL_HIDDEN),
        "shells.in.bias": (SHELL_HIDDEN,),
        "shells.out": (SHELL_HIDDEN, facts.shells + 1),
        "shells.out.bias": (facts.shells + 1,),
    }


def first_params(config: LibrarianConfig, facts: Facts) -> Params:
    """Nets that know nothing: normal weights of variance 2 / inputs, the last ones small."""
    random = np.random.default_rng([config.seed, 1])
    made: Params = {}
    for name, shape in shapes_of(config, facts).items():
        if name == "alpha":
            made[name] = np.array(_ALPHA[: shape[0]], np.float32)
        elif name.endswith("bias"):
            made[name] = np.zeros(shape, np.float32)
        else:
            scale = np.sqrt((2 if name.endswith("in") else 0.1) / shape[0])
            made[name] = (scale * random.standard_normal(shape)).astype(np.float32)
    return made


def forward(
    xp: ModuleType, params: Params, sums: Any, length: Any, *, flows: bool = True
) -> tuple[Any, Any, Any, Any]:
    """Logits of cells, logits of shells with the rank last, and the vector of each patch.

    Args:
        xp: `numpy` or `jax.numpy`.
        params: of the nets.
        sums: (N, R, D + EXTRA) sums of the n-grams' vectors by window, the patch's own first.
        length: (N,) bytes of each patch.
        flows: whether the cells' gradient reaches the vectors; with `jax.numpy` alone.

    Returns:
        Logits (N, C), logits (N, S + 1), vectors (N, D) that are no unit vectors, their norms (N,).
    """
    width = params["cells.in"].shape[0]
    vector = xp.einsum("nrd,r->nd", sums[:, :, :width], params["alpha"])
    norm = xp.sqrt(xp.sum(vector * vector, axis=1) + _TINY)
    unit = vector / norm[:, None]
    if not flows:
        import jax

        unit = jax.lax.stop_gradient(unit)
    hidden = xp.maximum(
        (unit * np.float32(np.sqrt(width))) @ params["cells.in"] + params["cells.in.bias"][None], 0
    )
    cells = hidden @ params["cells.out"] + params["cells.out.bias"][None]
    own = sums[:, 0]
    size = xp.sqrt(xp.sum(own[:, :width] ** 2, axis=1) + _TINY)
    if not flows:
        size = jax.lax.stop_gradient(size)
    bare = own[:, :width] if flows else jax.lax.stop_gradient(own[:, :width])
    seen = xp.concatenate(
        [
            bare * (np.float32(np.sqrt(width)) / size[:, None]),
            own[:, width:] / xp.sqrt(length)[:, None],
            xp.log(size)[:, None],
            xp.log(length)[:, None],
        ],
        axis=1,
    )
    between = xp.maximum(seen @ params["shells.in"] + params["shells.in.bias"][None], 0)
    shells = between @ params["shells.out"] + params["shells.out.bias"][None]
    return cells, shells, vector, norm


def log_softmax(logits: Float32[np.ndarray, "rows n"]) -> Float32[np.ndarray, "rows n"]:
    """Log-probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def packed_model(bag: Bag, params: Params) -> Arrays:
    """What a `BagStudent` is made from."""
    codes, scale = packed(bag.vectors)
    nets = {name: np.asarray(value, np.float16) for name, value in params.items()}
    return {"bag.keys": bag.keys, "bag.codes": codes, "bag.scale": scale, **nets}


def lengths_of(passages: Passages) -> Float32[np.ndarray, " patches"]:
    """Bytes of each patch, at least 1."""
    return np.maximum(passages.last - passages.first, 1).astype(np.float32)


@final
class BagStudent(AbstractStudent):
    """The bag and the nets, as they predict."""

    def __init__(
        self, config: LibrarianConfig, facts: Facts, arrays: Mapping[str, np.ndarray]
    ) -> None:
        """Unpack what a file holds.

        Raises:
            ValueError: arrays that are missing or do not fit.
        """
        keys = checked_array(arrays, "bag.keys", [None], np.uint32)
        codes = checked_array(arrays, "bag.codes", [len(keys), None], np.uint8)
        scale = checked_array(arrays, "bag.scale", [len(keys)], np.float32)
        if len(keys) and int(keys.max()) >= BUCKETS:
            raise ValueError(f"`bag.keys` has {keys.max()}, and there are {BUCKETS} buckets")
        self.config = config
        self.facts = facts
        self.bag = Bag(keys, unpacked(codes, scale, facts.width + EXTRA))
        self._packed = {"bag.keys": keys, "bag.codes": codes, "bag.scale": scale}
        for name, shape in shapes_of(config, facts).items():
            self._packed[name] = checked_array(arrays, name, shape, np.float16)
        self.params = {
            name: self._packed[name].astype(np.float32) for name in shapes_of(config, facts)
        }

    @classmethod
    @override
    def from_arrays(
        cls, config: LibrarianConfig, facts: Facts, arrays: Mapping[str, np.ndarray]
    ) -> "BagStudent":
        return cls(config, facts, arrays)

    @override
    def arrays(self) -> Arrays:
        """All that predicts, vectors in four bits and nets in sixteen."""
        return dict(self._packed)

    @override
    def predict(self, passages: Passages) -> Outputs:
        """What it says of patches, some thousand at a time."""
        parts = [
            self._block(passages.rows(start, start + _BLOCK))
            for start in range(0, max(len(passages), 1), _BLOCK)
        ]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return Outputs(*columns)

    def _block(self, passages: Passages) -> tuple[np.ndarray, ...]:
        sums = self.bag.sums(passages, reaches_of(self.config))
        cells, shells, vector, norm = forward(np, self.params, sums, lengths_of(passages))
        known = norm > 2 * np.sqrt(_TINY)
        embedding = np.where(known[:, None], vector / norm[:, None], 0)
        rank = np.clip(shells[:, -1], 0, 1)
        found = (
            log_softmax(cells),
            log_softmax(shells[:, :-1]),
            embedding,
            rank,
            np.linalg.norm(sums[:, 0, : self.facts.width], axis=1),
        )
        return tuple(part.astype(np.float32) for part in found)
