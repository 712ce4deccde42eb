"""The cone student: a transformer over bytes whose heads look into cones of states.

Attention has `CONES` groups of heads; the heads of a group share keys and values. Each group has an
axis, and a place belongs to the groups by the softmax of how far its state points along their axes.
A score is lowered by the logarithm of that share, and places that are all but outside of the cone,
or have no byte, have minus infinity: to multiply a score by 0 there would let it beat all negative
ones inside. The place of the whole is in every cone, so that no head is without one.

Distances count by a learned number for each head and distance, cut off at a greatest distance and
bounded by a hyperbolic tangent, so that no number depends on how long a window may be.
"""

from types import ModuleType
from typing import Any, final

import numpy as np
from typing_extensions import override

from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.students.base import Facts
from sphere_ebm.librarian.students.byte_windows import NOTHING, ByteWindows
from sphere_ebm.librarian.students.nets import (
    CONES,
    AbstractNet,
    AbstractNetStudent,
    Drop,
    Logits,
    NetSize,
    Params,
    Shapes,
    embedded_tokens,
    first_params,
    gelu,
    head_shapes,
    heads,
    kept,
    layer_norm,
    linear,
    linear_shapes,
    norm_shapes,
    softmax,
    token_shapes,
)

_SIZES = {
    "small": NetSize(width=64, layers=2, inner=128, longest=48, side=16, heads=4),
    "full": NetSize(width=384, layers=6, inner=1536, longest=384, side=64, heads=12),
}
_FARTHEST = 32
_BOUND = 4.0  # of a distance's number; e^4 is as good as a choice
_OUTSIDE = 1e-4  # share of a cone below which a place is outside; at the edge it weighs nothing
_SPREAD = 0.02


@final
class ConeNet(AbstractNet):
    """Layers of grouped cone attention; the state of the place of the whole is the patch's."""

    @override
    def size(self, config: LibrarianConfig) -> NetSize:
        return _SIZES[config.size].within(config)

    @override
    def shapes(self, config: LibrarianConfig, facts: Facts) -> Shapes:
        size = self.size(config)
        width = size.width
        shared = width // size.heads * CONES
        found = {**token_shapes(config, width), **head_shapes(config, facts, width)}
        for number in range(size.layers):
            name = f"layer.{number}"
            found |= norm_shapes(f"{name}.before", width)
            found |= linear_shapes(f"{name}.query", width, width)
            found |= linear_shapes(f"{name}.key", width, shared)
            found |= linear_shapes(f"{name}.value", width, shared)
            found |= linear_shapes(f"{name}.out", width, width)
            found[f"{name}.axes"] = (width, CONES)
            found[f"{name}.distance"] = (size.heads, 2 * _FARTHEST + 1)
            found |= norm_shapes(f"{name}.between", width)
            found |= linear_shapes(f"{name}.widen", width, size.inner)
            found |= linear_shapes(f"{name}.narrow", size.inner, width)
        return found

    @override
    def first(self, config: LibrarianConfig, facts: Facts) -> Params:
        return first_params(self.shapes(config, facts), config.seed, _SPREAD)

    @override
    def forward(
        self,
        xp: ModuleType,
        size: NetSize,
        params: Params,
        windows: ByteWindows,
        drop: Drop = kept,
    ) -> Logits:
        states = embedded_tokens(xp, params, windows)
        there = windows.tokens != NOTHING
        for number in range(size.layers):
            name = f"layer.{number}"
            read = layer_norm(xp, params, f"{name}.before", states)
            states = states + drop(attended(xp, size, params, name, read, there))
            read = layer_norm(xp, params, f"{name}.between", states)
            inner = gelu(xp, linear(xp, params, f"{name}.widen", read))
            states = states + drop(linear(xp, params, f"{name}.narrow", inner))
        return heads(xp, params, states[:, 0])


def attended(
    xp: ModuleType, size: NetSize, params: Params, name: str, read: Any, there: Any
) -> Any:
    """What the heads of one layer bring to each place.

    Args:
        xp: `numpy` or `jax.numpy`.
        size: of the net.
        params: of the net.
        name: of the layer.
        read: (N, T, W) normalised states.
        there: (N, T) whether a place has a byte, or is that of the whole.
    """
    patches, places, width = read.shape
    each = width // size.heads
    group = (patches, places, CONES)
    query = linear(xp, params, f"{name}.query", read).reshape(*group, size.heads // CONES, each)
    key = linear(xp, params, f"{name}.key", read).reshape(*group, 1, each)
    value = linear(xp, params, f"{name}.value", read).reshape(*group, 1, each)
    # places last but one, so that products are those of matrices
    query, key, value = (xp.moveaxis(part, 1, 3) for part in (query, key, value))
    scores = query @ xp.swapaxes(key, 3, 4) * np.float32(each**-0.5)
    scores = scores + _by_distance(xp, params[f"{name}.distance"], places)[None]
    scores = scores + _by_cone(xp, params[f"{name}.axes"], read, there)[:, :, None, None, :]
    brought = xp.moveaxis(softmax(xp, scores) @ value, 3, 1)
    return linear(xp, params, f"{name}.out", brought.reshape(patches, places, width))


def _by_distance(xp: ModuleType, table: Any, places: int) -> Any:
    """(groups, heads, T, T) bounded numbers of the distances between places."""
    place = np.arange(places)
    apart = np.clip(place[None, :] - place[:, None], -_FARTHEST, _FARTHEST) + _FARTHEST
    bounded = np.float32(_BOUND) * xp.tanh(table[:, apart])
    return bounded.reshape(CONES, table.shape[0] // CONES, places, places)


def _by_cone(xp: ModuleType, axes: Any, read: Any, there: Any) -> Any:
    """(N, groups, T) logarithms of the share in each cone; minus infinity outside."""
    share = softmax(xp, read @ axes)
    inside = (share >= np.float32(_OUTSIDE)) & there[:, :, None]
    lowered = xp.where(inside, xp.log(xp.maximum(share, np.float32(_OUTSIDE))), -np.inf)
    whole = np.arange(read.shape[1])[None, :, None] == 0
    return xp.swapaxes(xp.where(whole, np.float32(0), lowered), 1, 2)


@final
class Cone(AbstractNetStudent):
    """Predicts by grouped cone attention."""

    net = ConeNet()
