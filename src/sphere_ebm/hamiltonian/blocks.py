"""Blocks whose nodes are made, or looked up, only when one of them is asked for."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Int
from thrml import AbstractNode, Block
from typing_extensions import override


@final
class LazyNodes(Sequence[AbstractNode]):
    """A block's tuple of `size` nodes that `make` makes when one of them is first asked for.

    A run needs only how many there are; looks at the nodes themselves cost what a tuple of them
    costs.
    """

    def __init__(self, size: int, make: Callable[[], tuple[AbstractNode, ...]]):
        self._size = size
        self._make = make

    @functools.cached_property
    def _made(self) -> tuple[AbstractNode, ...]:
        return self._make()

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: Any) -> Any:
        return self._made[index]

    def __iter__(self) -> Iterator[AbstractNode]:
        return iter(self._made)

    def __add__(self, other: Sequence[AbstractNode]) -> tuple[AbstractNode, ...]:
        return self._made + tuple(other)

    def __radd__(self, other: Sequence[AbstractNode]) -> tuple[AbstractNode, ...]:
        return tuple(other) + self._made

    def __repr__(self) -> str:
        return repr(self._made)


@final
class SelectedBlock(Block):
    """The nodes of `origin` at the positions `index`, repetitions allowed.

    It equals `Block([origin[i] for i in index])`, but remembers the positions, so that a program of
    `origin` is built without a look at the nodes. Cost: O(1); the nodes are looked up when one is
    asked for. `index` must not change afterwards.
    """

    def __init__(self, origin: Block, index: Int[np.ndarray, " entries"]):
        nodes: Any = LazyNodes(len(index), functools.partial(_selected, origin, index))
        self.origin = origin
        self.index = index
        self.nodes = nodes

    @property
    @override
    def node_type(self) -> type[AbstractNode]:
        return self.origin.node_type

    def __add__(self, other: Block) -> Block:
        if isinstance(other, SelectedBlock) and other.origin is self.origin:
            return SelectedBlock(self.origin, np.concatenate([self.index, other.index]))
        return super().__add__(other)


def _selected(origin: Block, index: Int[np.ndarray, " entries"]) -> tuple[AbstractNode, ...]:
    return tuple(origin[i] for i in index.tolist())
