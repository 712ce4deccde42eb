"""What the students that read bytes share: layers for NumPy and JAX, heads, and their arrays.

Layers are written once, for `numpy`, which predicts, and `jax.numpy`, which learns.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float32
from typing_extensions import override

from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.students.base import (
    AbstractStudent,
    Arrays,
    Facts,
    Outputs,
    checked_array,
)
from sphere_ebm.librarian.students.byte_windows import (
    GRAMS,
    NOTHING,
    ROLES,
    TOKENS,
    ByteWindows,
    byte_windows,
)
from sphere_ebm.librarian.windows import Passages

CONES = 4
"""Regions of states: groups of attention heads, and what a patch has an affinity to."""

Params = dict[str, Any]
"""The arrays of a net by name."""
Shapes = dict[str, tuple[int, ...]]
Drop = Callable[[Any], Any]
"""Leaves numbers out while a net learns; gives back what it gets where it predicts."""

_EPSILON = 1e-12
_TINY = 1e-12
_PLACES = 200_000  # of windows that are predicted at a time


@final
@dataclass(frozen=True)
class NetSize:
    """How large a net is.

    Attributes:
        width: numbers of a state.
        layers: one above the other.
        inner: units inside a layer.
        longest: bytes of a patch that are seen.
        side: bytes on either side that are seen, where the configuration lets any be.
        heads: of attention, in `CONES` groups.
    """

    width: int
    layers: int
    inner: int
    longest: int
    side: int
    heads: int = CONES

    def within(self, config: LibrarianConfig) -> "NetSize":
        """The same with no more bytes on either side than the configuration allows."""
        return dataclasses.replace(self, side=min(self.side, config.reach))


class Logits(NamedTuple):
    """What a net says of N patches, before it is normalised; NumPy's or JAX's."""

    cells: Any
    shells: Any
    rank: Any
    vector: Any
    affinity: Any


def kept(value: Any) -> Any:
    """Leave nothing out."""
    return value


def gelu(xp: ModuleType, value: Any) -> Any:
    """Gaussian error units, by their usual approximation with a hyperbolic tangent."""
    inner = np.float32(np.sqrt(2 / np.pi)) * (value + np.float32(0.044715) * value**3)
    return np.float32(0.5) * value * (1 + xp.tanh(inner))


def softmax(xp: ModuleType, scores: Any) -> Any:
    """Shares along the last axis; minus infinity has none. Not all may be minus infinity."""
    raised = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    return raised / xp.sum(raised, axis=-1, keepdims=True)


def layer_norm(xp: ModuleType, params: Params, name: str, value: Any) -> Any:
    """Mean 0 and variance 1 along the last axis, then scale and shift."""
    around = value - xp.mean(value, axis=-1, keepdims=True)
    variance = xp.mean(around * around, axis=-1, keepdims=True)
    scaled = around / xp.sqrt(variance + np.float32(_EPSILON))
    return scaled * _wide(params[f"{name}.scale"], scaled) + _wide(params[f"{name}.shift"], scaled)


def linear(xp: ModuleType, params: Params, name: str, value: Any) -> Any:
    """A linear layer along the last axis."""
    out = value @ params[name]
    return out + _wide(params[f"{name}.bias"], out)


def _wide(vector: Any, like: Any) -> Any:
    """A vector with as many axes as `like`."""
    return vector.reshape((1,) * (like.ndim - 1) + vector.shape)


def linear_shapes(name: str, inputs: int, outputs: int) -> Shapes:
    """The arrays of a linear layer."""
    return {name: (inputs, outputs), f"{name}.bias": (outputs,)}


def norm_shapes(name: str, width: int) -> Shapes:
    """The arrays of a layer norm."""
    return {f"{name}.scale": (width,), f"{name}.shift": (width,)}


def token_shapes(config: LibrarianConfig, width: int) -> Shapes:
    """The arrays of `embedded_tokens`."""
    return {
        "token": (TOKENS, width),
        "gram": (config.rows, width),
        "role": (ROLES, width),
        "length": (2, width),
    }


def embedded_tokens(xp: ModuleType, params: Params, windows: ByteWindows) -> Any:
    """A vector for each place, from its byte, its role, and the length of the patch.

    The n-grams that end there are looked up too, as in the Byte Latent Transformer (Pagnoni et al.
    2024): what three to five bytes stand for is then a matter of a row, not of layers.

    Length is the hint of how far out a patch lies. The shell itself is no hint: it is what is to
    be learned.
    """
    length = xp.log(windows.length)[:, None]
    hint = xp.concatenate([length, length**2 / 8], axis=1) @ params["length"]
    states = params["token"][windows.tokens] + params["role"][windows.roles] + hint[:, None, :]
    for number in range(len(GRAMS)):
        row = windows.grams[:, :, number]
        states = states + xp.where(row[:, :, None] > 0, params["gram"][row], np.float32(0))
    return states


def head_shapes(config: LibrarianConfig, facts: Facts, width: int) -> Shapes:
    """The arrays of `heads`."""
    return {
        **norm_shapes("head.norm", width),
        **linear_shapes("head.cells", width, 4**config.level),
        **linear_shapes("head.shells", width, facts.shells + 1),
        **linear_shapes("head.vector", width, facts.width),
        "head.cones": (width, CONES),
    }


def heads(xp: ModuleType, params: Params, pooled: Any) -> Logits:
    """Cells, shells, rank, embedding and affinity to cones from one state for each patch."""
    state = layer_norm(xp, params, "head.norm", pooled)
    shells = linear(xp, params, "head.shells", state)
    return Logits(
        linear(xp, params, "head.cells", state),
        shells[:, :-1],
        shells[:, -1],
        linear(xp, params, "head.vector", state),
        softmax(xp, state @ params["head.cones"]),
    )


def first_params(shapes: Shapes, seed: int, spread: float | None) -> Params:
    """A net that knows nothing: normal weights, scales of 1, all else 0.

    Args:
        shapes: of its arrays.
        seed: of the draw.
        spread: standard deviation of weights; None for one over the root of their inputs.
    """
    random = np.random.default_rng([seed, 2])
    made: Params = {}
    for name, shape in shapes.items():
        if name.endswith(".scale"):
            made[name] = np.ones(shape, np.float32)
        elif name.endswith((".bias", ".shift", ".distance")):
            made[name] = np.zeros(shape, np.float32)
        else:
            inputs = 1 if name in ("token", "gram", "role") else int(np.prod(shape[:-1]))
            scale = inputs**-0.5 if spread is None else spread
            made[name] = (scale * random.standard_normal(shape)).astype(np.float32)
    return made


class AbstractNet(abc.ABC):
    """The shape of a student that reads bytes: its arrays, and what they make of windows."""

    @abc.abstractmethod
    def size(self, config: LibrarianConfig) -> NetSize:
        """How large the configuration wants it."""

    @abc.abstractmethod
    def shapes(self, config: LibrarianConfig, facts: Facts) -> Shapes:
        """The shape of every array."""

    @abc.abstractmethod
    def first(self, config: LibrarianConfig, facts: Facts) -> Params:
        """Arrays that know nothing, drawn with `config.seed`."""

    @abc.abstractmethod
    def forward(
        self,
        xp: ModuleType,
        size: NetSize,
        params: Params,
        windows: ByteWindows,
        drop: Drop = kept,
    ) -> Logits:
        """What it says of windows, by `numpy` or `jax.numpy`."""

    def windows(self, config: LibrarianConfig, passages: Passages) -> ByteWindows:
        """Patches as it sees them."""
        size = self.size(config)
        return byte_windows(passages, size.longest, size.side, config.rows)


class AbstractNetStudent(AbstractStudent):
    """Predicts by a net; `net` is its shape."""

    net: AbstractNet

    def __init__(self, config: LibrarianConfig, facts: Facts, params: Params) -> None:
        self.config = config
        self.facts = facts
        self._params = params

    @classmethod
    @override
    def from_arrays(
        cls, config: LibrarianConfig, facts: Facts, arrays: Mapping[str, np.ndarray]
    ) -> "AbstractNetStudent":
        shapes = cls.net.shapes(config, facts)
        params = {
            name: checked_array(arrays, name, shape, np.float32) for name, shape in shapes.items()
        }
        return cls(config, facts, params)

    @override
    def arrays(self) -> Arrays:
        return {name: np.asarray(value, np.float32) for name, value in self._params.items()}

    @override
    def predict(self, passages: Passages) -> Outputs:
        size = self.net.size(self.config)
        block = max(1, _PLACES // (1 + size.longest + 2 * size.side))
        parts = [
            self._block(passages.rows(start, start + block))
            for start in range(0, max(len(passages), 1), block)
        ]
        columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
        return Outputs(*columns)

    def _block(self, passages: Passages) -> tuple[Float32[np.ndarray, "..."], ...]:
        windows = self.net.windows(self.config, passages).cut()
        size = self.net.size(self.config)
        said = self.net.forward(np, size, self._params, windows)
        norm = np.linalg.norm(said.vector, axis=1)
        known = (windows.tokens[:, 1:] != NOTHING).any(axis=1)
        found = (
            log_softmax(said.cells),
            log_softmax(said.shells),
            np.where(known[:, None], said.vector / np.maximum(norm, _TINY)[:, None], 0),
            np.clip(said.rank, 0, 1),
            np.where(known, norm, 0),
        )
        return tuple(part.astype(np.float32) for part in found)


def log_softmax(logits: Float32[np.ndarray, "rows n"]) -> Float32[np.ndarray, "rows n"]:
    """Log-probabilities."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
