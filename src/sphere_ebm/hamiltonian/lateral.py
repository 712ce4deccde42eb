"""Lateral attraction: H = α Σ_{(i,j) in E} w_ij φ(u_i, u_j), each undirected edge once."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from thrml import AbstractNode, Block, InteractionGroup

from sphere_ebm.hamiltonian.base import (
    AbstractLocalInteraction,
    AbstractSphereFactor,
    Shared,
    SphereState,
    opened,
)
from sphere_ebm.sphere import squared_chord

Kernel = Literal["cauchy", "gaussian", "harmonic"]

# φ and -dφ/dc as functions of x = s² chord² = 2 s² (1 - c), c = u_i·u_j, in units where dx/dc = -2 s²:
# the force on u_i is (2 s² dφ/dx) u_j.
_POTENTIALS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "cauchy": (jnp.log1p, lambda x: 1 / (1 + x)),
    "gaussian": (lambda x: -jnp.exp(-x), lambda x: jnp.exp(-x)),
    "harmonic": (lambda x: x / 2, lambda x: jnp.full_like(x, 0.5)),
}
KERNELS: tuple[str, ...] = tuple(_POTENTIALS)


@final
class LazyNodes(Sequence[AbstractNode]):
    """A block's tuple of `size` nodes that `make` makes when one of them is first asked for.

    A run needs only how many there are; looks at the nodes themselves cost what a tuple of them costs.
    """

    def __init__(self, size: int, make: Callable[[], tuple[AbstractNode, ...]]):
        self._size, self._make = size, make

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
    """The nodes of `origin` at the positions `index`, repetitions allowed: `Block([origin[i] for i in index])`.

    It remembers the positions, so that a program of `origin` is built without a look at the nodes. Cost: O(1); the
    nodes are looked up when one is asked for. `index` must not change afterwards.
    """

    def __init__(self, origin: Block, index: Int[np.ndarray, " entries"]):
        nodes: Any = LazyNodes(len(index), functools.partial(_selected, origin, index))
        self.origin, self.index, self.nodes = origin, index, nodes

    @property
    def node_type(self) -> type[AbstractNode]:
        return self.origin.node_type

    def __add__(self, other: Block) -> Block:
        if isinstance(other, SelectedBlock) and other.origin is self.origin:
            return SelectedBlock(self.origin, np.concatenate([self.index, other.index]))
        return super().__add__(other)


def _selected(origin: Block, index: Int[np.ndarray, " entries"]) -> tuple[AbstractNode, ...]:
    return tuple(origin[i] for i in index.tolist())


@final
class LateralAttraction(AbstractLocalInteraction):
    """Pairs (head node, neighbour), one slot per neighbour. `weight` holds w_ij, `strength` α, `sharpness` s.

    `tail` is the neighbour's position among the factor's `n_nodes` nodes.
    """

    weight: Float[Array, "nodes *k"]
    tail: Int[Array, "nodes *k"]
    strength: Float[Array, ""] | Shared[Array]
    sharpness: Float[Array, ""] | Shared[Array]
    kernel: str = eqx.field(static=True)
    n_nodes: int = eqx.field(static=True)
    name: ClassVar[str] = "lateral"
    annealed: ClassVar[bool] = True
    share: ClassVar[float] = 0.5

    def local_energy_and_force(
        self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]
    ) -> tuple[Float[Array, " nodes"], SphereState]:
        value, slope = _POTENTIALS[self.kernel]
        dtype = here.direction.dtype
        stretch, strength = opened(self.sharpness).astype(dtype) ** 2, opened(self.strength).astype(dtype)
        x = stretch * squared_chord(here.direction[:, None, :], there[0].direction)
        energy = strength * jnp.sum(jnp.where(active, self.weight * value(x), 0), axis=1)
        pull = jnp.where(active, self.weight * slope(x), 0)
        direction = 2 * stretch * strength * jnp.einsum("nk,nkc->nc", pull, there[0].direction)
        return energy, SphereState(direction, jnp.zeros_like(here.radius))

    def gather(self, whole: SphereState) -> list[SphereState]:
        if (n := whole.radius.shape[0]) != self.n_nodes:
            raise ValueError(
                f"the block has {n} nodes and the lateral term {self.n_nodes}: moves that are accepted as a whole need "
                "all of them in one block. Use build_program, or sample a coloured program node by node."
            )
        return [jax.tree.map(lambda x: x[self.tail], whole)]


@final
class LateralFactor(AbstractSphereFactor):
    """Attraction along the edges of a neighbour graph, by the angle between the ends.

    Kernels, with x = s² chord² and s = `sharpness` the inverse interaction length (per unit chord):

    - `"cauchy"`: φ = log(1 + x), long-ranged;
    - `"gaussian"`: φ = -exp(-x), so σ = 1 / s;
    - `"harmonic"`: φ = x / 2 = s² (1 - u_i·u_j).

    `strength` is α; `weight` w_ij, one per undirected edge. Both directions of every edge go to the sampler, so that
    the force is the gradient of an energy.
    """

    node_groups: list[Block]
    block: Block = eqx.field(static=True)
    senders: Int[np.ndarray, " edges"]
    receivers: Int[np.ndarray, " edges"]
    weight: Float[np.ndarray, " edges"]
    strength: float
    sharpness: float
    kernel: str = eqx.field(static=True)

    def __init__(
        self,
        block: Block,
        senders: Int[np.ndarray, " edges"],
        receivers: Int[np.ndarray, " edges"],
        weight: Float[np.ndarray, " edges"],
        *,
        sharpness: float,
        strength: float = 1.0,
        kernel: Kernel = "cauchy",
    ):
        """`senders` and `receivers` are positions in `block`. Raises ValueError for a bad kernel, index or number."""
        if kernel not in _POTENTIALS:
            raise ValueError(f"`kernel` must be one of {', '.join(KERNELS)}; got {kernel!r}.")
        if not sharpness > 0:
            raise ValueError(f"`sharpness` must be positive; got {sharpness}.")
        if not strength >= 0:
            raise ValueError(f"`strength` must be >= 0; got {strength}.")
        if not len(senders) == len(receivers) == len(weight):
            raise ValueError(
                "`senders`, `receivers` and `weight` must have one entry per edge; got "
                f"{len(senders)}, {len(receivers)} and {len(weight)}."
            )
        ends = np.concatenate([senders, receivers])
        if ends.size == 0:
            raise ValueError("`senders` must name at least one edge; leave the term out when there is none.")
        if ends.min() < 0 or ends.max() >= len(block):
            raise ValueError(f"edge ends must lie in [0, {len(block)}); got {ends.min()} to {ends.max()}.")
        super().__init__([SelectedBlock(block, senders), SelectedBlock(block, receivers)])
        self.block = block
        self.senders, self.receivers, self.weight = senders, receivers, weight
        self.strength, self.sharpness, self.kernel = strength, sharpness, kernel

    def to_interaction_groups(self) -> list[InteractionGroup]:
        heads, tails = self.node_groups[0] + self.node_groups[1], self.node_groups[1] + self.node_groups[0]
        both = np.concatenate([self.weight, self.weight])
        return [
            InteractionGroup(self._interaction(both, np.concatenate([self.receivers, self.senders])), heads, [tails])
        ]

    def energy(self, state: SphereState) -> Float[Array, ""]:
        here = jax.tree.map(lambda x: x[self.senders], state)
        there = jax.tree.map(lambda x: x[self.receivers][:, None], state)
        once = self._interaction(self.weight[:, None], self.receivers[:, None])
        energy, _ = once.local_energy_and_force(here, [there], jnp.ones((len(self.senders), 1), bool))
        return jnp.sum(energy)

    def _interaction(
        self, weight: Float[np.ndarray, "slots *k"], tail: Int[np.ndarray, "slots *k"]
    ) -> LateralAttraction:
        values = jnp.asarray(weight)
        strength, sharpness = (Shared(jnp.asarray(x, values.dtype)) for x in (self.strength, self.sharpness))
        return LateralAttraction(
            values, jnp.asarray(tail, jnp.int32), strength, sharpness, self.kernel, len(self.block)
        )
