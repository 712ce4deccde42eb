"""The convolutional student: what stands side by side in the bytes of a patch and around it.

Adam moves every weight by about the learning rate, so that a layer with many inputs, here five
places wide, moves its outputs by the sum of them all: in a few steps what all patches share then
drowns what tells them apart. Layers are therefore divided by the root of their inputs, and their
weights begin with variance 1; a step changes every layer by about the same, however wide it is.
For the same reason the length, which nearly all patches share, has no say in the beginning, and
heads begin small.
"""

from types import ModuleType
from typing import Any, final

import numpy as np
from typing_extensions import override

from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.students.base import Facts
from sphere_ebm.librarian.students.byte_windows import NOTHING, PATCH, ByteWindows
from sphere_ebm.librarian.students.nets import (
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
    token_shapes,
)

_SIZES = {
    "small": NetSize(width=96, layers=3, inner=96, longest=64, side=24),
    "full": NetSize(width=384, layers=8, inner=384, longest=384, side=64),
}
_KERNEL = 5
_SPREAD = 0.02  # of the heads


@final
class ConvNet(AbstractNet):
    """Layers of convolutions, each over twice the distance of the one before, up to eight.

    Of the patch's own places, and of all, it takes the mean and the greatest number of each
    channel. Places with nothing are 0 in every layer and in no mean.
    """

    @override
    def size(self, config: LibrarianConfig) -> NetSize:
        return _SIZES[config.size].within(config)

    @override
    def shapes(self, config: LibrarianConfig, facts: Facts) -> Shapes:
        size = self.size(config)
        width = size.width
        found = {**token_shapes(config, width), **head_shapes(config, facts, width)}
        for number in range(size.layers):
            name = f"layer.{number}"
            found |= norm_shapes(f"{name}.before", width)
            found |= linear_shapes(f"{name}.kernel", _KERNEL * width, size.inner)
            found |= linear_shapes(f"{name}.narrow", size.inner, width)
        found |= norm_shapes("pool.before", 4 * width)
        return found | linear_shapes("pool", 4 * width, width)

    @override
    def first(self, config: LibrarianConfig, facts: Facts) -> Params:
        made = first_params(self.shapes(config, facts), config.seed, _SPREAD)
        for name in made:
            if name in ("token", "gram", "role", "pool") or name.endswith((".kernel", ".narrow")):
                made[name] = made[name] / np.float32(_SPREAD)
        return made | {"length": np.zeros_like(made["length"])}

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
        there = (windows.tokens != NOTHING)[:, :, None]
        for number in range(size.layers):
            name = f"layer.{number}"
            read = xp.where(there, layer_norm(xp, params, f"{name}.before", states), 0)
            beside = _beside(xp, read, 2 ** min(number, 3))
            inner = gelu(xp, _linear(xp, params, f"{name}.kernel", beside))
            states = states + drop(_linear(xp, params, f"{name}.narrow", inner))
        own = (windows.roles == PATCH)[:, :, None]
        parts = [*_pooled(xp, states, own), *_pooled(xp, states, there)]
        # no units that could die stand between the pools and the heads
        read = layer_norm(xp, params, "pool.before", xp.concatenate(parts, axis=-1))
        return heads(xp, params, _linear(xp, params, "pool", read))


def _linear(xp: ModuleType, params: Params, name: str, value: Any) -> Any:
    """A linear layer whose weights have variance 1, divided by the root of its inputs."""
    return linear(xp, params, name, value * np.float32(value.shape[-1] ** -0.5))


def _beside(xp: ModuleType, states: Any, distance: int) -> Any:
    """Each place with two on either side of it, so many places apart."""
    reach = _KERNEL // 2 * distance
    places = states.shape[1]
    wide = xp.pad(states, ((0, 0), (reach, reach), (0, 0)))
    shifts = range(0, 2 * reach + 1, distance)
    return xp.concatenate([wide[:, shift : shift + places] for shift in shifts], axis=-1)


def _pooled(xp: ModuleType, states: Any, among: Any) -> tuple[Any, Any]:
    """Mean and maximum over the places of which `among` is true; 0 where there are none."""
    count = xp.maximum(xp.sum(among, axis=1), 1).astype(states.dtype)
    mean = xp.sum(xp.where(among, states, 0), axis=1) / count
    greatest = xp.max(xp.where(among, states, -np.inf), axis=1)
    return mean, xp.where(xp.any(among, axis=1), greatest, 0)


@final
class Conv(AbstractNetStudent):
    """Predicts by convolutions."""

    net = ConvNet()
