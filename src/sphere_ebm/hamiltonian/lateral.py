"""Lateral attraction: H = α Σ_{(i,j) in E} w_ij φ(u_i, u_j), each undirected edge once."""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.sparse import csr_array
from thrml import Block, InteractionGroup
from typing_extensions import override

from sphere_ebm.geometry.sphere import squared_chord
from sphere_ebm.hamiltonian.base import (
    AbstractPairInteraction,
    AbstractPlacedFactor,
    LocalTerms,
    Shared,
    Slots,
    SphereState,
    Tails,
    opened,
)
from sphere_ebm.hamiltonian.blocks import SelectedBlock

Kernel = Literal["cauchy", "gaussian", "harmonic"]


def _potentials(arrays: Any) -> dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]:
    """φ and -dφ/dc as functions of x = s² chord² = 2 s² (1 - c), c = u_i·u_j, for NumPy or JAX.

    In units where dx/dc = -2 s²: the force on u_i is (2 s² dφ/dx) u_j.
    """
    return {
        "cauchy": (arrays.log1p, lambda x: 1 / (1 + x)),
        "gaussian": (lambda x: -arrays.exp(-x), lambda x: arrays.exp(-x)),
        "harmonic": (lambda x: x / 2, lambda x: arrays.full_like(x, 0.5)),
    }


_POTENTIALS = _potentials(jnp)
ARRAY_POTENTIALS = _potentials(np)
"""The potentials and their slopes by kernel, for NumPy's arrays."""

KERNELS: tuple[str, ...] = tuple(_POTENTIALS)

WHOLE_FROM = 1024
"""Nodes of a program of one block from which on it gathers by degree class; smaller ones compile
sooner as they are.
"""
CLASS_ENDS = (0.5, 0.85, 1.0)
"""Where the classes end in the order of the degree, as shares of the nodes: about an eighth of the
slots is padding.
"""


class AbstractAttraction(AbstractPairInteraction):
    """The lateral term in any layout of its slots: annealed, each pair listed under both ends."""

    name: ClassVar[str] = "lateral"
    annealed: ClassVar[bool] = True
    share: ClassVar[float] = 0.5


@final
class LateralAttraction(AbstractAttraction):
    """Pairs (head node, neighbour), one slot per neighbour.

    `weight` holds w_ij, `strength` α, `sharpness` s.

    `tail` is the neighbour's position among the factor's `n_nodes` nodes.
    """

    n_nodes: int = eqx.field(static=True)
    weight: Float[Array, "nodes *k"]
    tail: Int[Array, "nodes *k"]
    strength: Float[Array, ""] | Shared[Array]
    sharpness: Float[Array, ""] | Shared[Array]
    kernel: str = eqx.field(static=True)

    @override
    def local_energy_and_force(self, here: SphereState, there: Tails, active: Slots) -> LocalTerms:
        value, slope = _POTENTIALS[self.kernel]
        dtype = here.direction.dtype
        stretch = opened(self.sharpness).astype(dtype) ** 2
        strength = opened(self.strength).astype(dtype)
        x = stretch * squared_chord(here.direction[:, None, :], there[0].direction)
        energy = strength * jnp.sum(jnp.where(active, self.weight * value(x), 0), axis=1)
        pull = jnp.where(active, self.weight * slope(x), 0)
        direction = 2 * stretch * strength * jnp.einsum("nk,nkc->nc", pull, there[0].direction)
        return energy, SphereState(direction, jnp.zeros_like(here.radius))

    @override
    def gather(self, whole: SphereState) -> list[SphereState]:
        _check_whole(whole.radius.shape[0], self.n_nodes)
        return [jax.tree.map(lambda x: x[self.tail], whole)]


class DegreeClass(NamedTuple):
    """Nodes of similar degree: their positions, and the slots of each.

    Empty slots hold the node itself, weight 0.
    """

    head: Int[Array, " heads"]
    tail: Int[Array, "heads k"]
    weight: Float[Array, "heads k"]


class DegreeClasses(NamedTuple):
    """Every node in one class; `place` is where each node is in the classes' concatenated rows."""

    parts: tuple[DegreeClass, ...]
    place: Int[Array, " nodes"]


@final
class WholeAttraction(AbstractAttraction):
    """The attraction of all `n_nodes` points of one block, which gathers tails itself.

    Each coordinate is gathered once per slot.

    The same energy as `LateralAttraction` with another layout: THRML pads every node to the largest
    degree and gathers an array of (nodes, k, 3); here each degree class has its own padding, and
    slots are summed as they are gathered. Four to six times faster on a CPU.
    """

    n_nodes: int = eqx.field(static=True)
    classes: DegreeClasses | Shared[DegreeClasses]
    strength: Float[Array, ""] | Shared[Array]
    sharpness: Float[Array, ""] | Shared[Array]
    kernel: str = eqx.field(static=True)

    @override
    def local_energy_and_force(self, here: SphereState, there: Tails, active: Slots) -> LocalTerms:
        _check_whole(here.radius.shape[0], self.n_nodes)
        dtype = here.direction.dtype
        stretch = opened(self.sharpness).astype(dtype) ** 2
        strength = opened(self.strength).astype(dtype)
        classes = opened(self.classes)
        # apart and contiguous, or XLA picks each coordinate out of the rows anew for every slot
        columns = jax.lax.optimization_barrier(tuple(here.direction[:, c] for c in range(3)))
        rows = [attract(part, columns, stretch, self.kernel) for part in classes.parts]
        energy, *pull = (jnp.concatenate(parts)[classes.place] for parts in zip(*rows, strict=True))
        direction = 2 * stretch * strength * jnp.stack(pull, axis=1)
        return strength * energy, SphereState(direction, jnp.zeros_like(here.radius))

    @override
    def gather(self, whole: SphereState) -> list[SphereState]:
        _check_whole(whole.radius.shape[0], self.n_nodes)
        return []


def attract(
    part: DegreeClass,
    columns: tuple[Array, ...],
    stretch: Float[Array, ""],
    kernel: str,
    others: tuple[Array, ...] | None = None,
) -> tuple[Float[Array, " heads"], ...]:
    """Σ_j w_ij φ and the three components of Σ_j w_ij (dφ/dx) u_j for the heads of one class.

    Heads are positions in `columns`, tails in those of the `others`; None: in the same.
    """
    value, slope = _POTENTIALS[kernel]
    heads = [column[part.head][:, None] for column in columns]
    there = columns if others is None else others
    tails = [column.at[part.tail].get(mode="promise_in_bounds") for column in there]
    x = stretch * sum((a - b) ** 2 for a, b in zip(heads, tails, strict=True))
    pull = part.weight * slope(x)
    zero = jnp.zeros((), pull.dtype)
    # one loop for the three sums: each tail is loaded once and no slot is stored
    sums = jax.lax.reduce(
        tuple(pull * tail for tail in tails),
        (zero,) * 3,
        lambda a, b: tuple(left + right for left, right in zip(a, b, strict=True)),
        (1,),
    )
    return jnp.sum(part.weight * value(x), axis=1), *sums


def degree_classes(
    heads: Int[np.ndarray, " entries"],
    tails: Int[np.ndarray, " entries"],
    weight: Float[np.ndarray, " entries"],
    n_nodes: int,
) -> DegreeClasses:
    """Slots by class for entries (head, tail, weight); those of a node stay in their order.

    Cost: O(entries + nodes log nodes).
    """
    # A stable sort by head without a sort: entry e is row e of a sparse matrix, with its weight in
    # column heads[e]. Turned into columns, it lists the entries of each head in their order, in
    # O(entries); `indices` are then the entries, and node i has those from indptr[i] on.
    starts = np.arange(
        len(heads) + 1, dtype=np.int32 if len(heads) < np.iinfo(np.int32).max else np.int64
    )
    columns = csr_array((weight, heads, starts), shape=(len(heads), n_nodes)).tocsc()
    weights = columns.data
    ordered = tails.astype(np.int32)[columns.indices]
    first = columns.indptr[:-1]
    degree = np.diff(columns.indptr)
    # classes are stretches of the nodes in order of degree: where degrees are alike, padding to the
    # largest of them costs little
    by_degree = np.argsort(degree, kind="stable")
    nodes = []
    classes = []
    start = 0
    for end in (round(share * n_nodes) for share in CLASS_ENDS):
        # nodes of a class in their own order, so that neighbouring rows read neighbouring memory
        head = np.sort(by_degree[start:end]).astype(np.int32)
        slot = np.arange(max(1, degree[head].max(initial=0)), dtype=starts.dtype)
        filled = slot < degree[head][:, None]
        # empty slots point at an entry that exists, which the two `where` below then overwrite with
        # the node itself and weight 0
        entry = np.minimum(first[head][:, None] + slot, len(heads) - 1)
        tail = np.where(filled, ordered[entry], head[:, None])
        pull = np.where(filled, weights[entry], 0)
        nodes.append(head)
        classes.append(
            DegreeClass(jnp.asarray(head), jnp.asarray(tail, jnp.int32), jnp.asarray(pull))
        )
        start = end
    # the inverse permutation: rows lie class after class, and node i wants its own back
    place = np.empty(n_nodes, np.int32)
    place[np.concatenate(nodes)] = np.arange(n_nodes)
    return DegreeClasses(tuple(classes), jnp.asarray(place))


def _check_whole(held: int, n_nodes: int) -> None:
    if held != n_nodes:
        raise ValueError(
            f"the block has {held} nodes and the lateral term {n_nodes}: moves that are accepted as"
            " a whole need all of them in one block. Use build_program, or sample a coloured"
            " program node by node."
        )


@final
class LateralFactor(AbstractPlacedFactor):
    """Attraction along the edges of a neighbour graph, by the angle between the ends.

    Kernels, with x = s² chord² and s = `sharpness` the inverse interaction length (per unit chord):

    - `"cauchy"`: φ = log(1 + x), long-ranged;
    - `"gaussian"`: φ = -exp(-x), so σ = 1 / s;
    - `"harmonic"`: φ = x / 2 = s² (1 - u_i·u_j).

    `strength` is α; `weight` w_ij, one per undirected edge. Both directions of every edge go to the
    sampler, so that the force is the gradient of an energy.
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
        """`senders` and `receivers` are positions in `block`.

        Raises ValueError for a bad kernel, index or number.
        """
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
            raise ValueError(
                "`senders` must name at least one edge; leave the term out when there is none."
            )
        if ends.min() < 0 or ends.max() >= len(block):
            raise ValueError(
                f"edge ends must lie in [0, {len(block)}); got {ends.min()} to {ends.max()}."
            )
        # mypy takes the abstract field `block` for an argument
        ends_of_edges: list[Block] = [SelectedBlock(block, each) for each in (senders, receivers)]
        super().__init__(ends_of_edges)  # type: ignore[call-arg]
        self.block = block
        self.senders = senders
        self.receivers = receivers
        self.weight = weight
        self.strength = strength
        self.sharpness = sharpness
        self.kernel = kernel

    @override
    def to_interaction_groups(self) -> list[InteractionGroup]:
        heads = self.node_groups[0] + self.node_groups[1]
        tails = self.node_groups[1] + self.node_groups[0]
        both = np.concatenate([self.weight, self.weight])
        return [
            InteractionGroup(
                self._interaction(both, np.concatenate([self.receivers, self.senders])),
                heads,
                [tails],
            )
        ]

    @override
    def to_whole_groups(self) -> list[InteractionGroup]:
        """The same term for a program whose only block is `block`.

        Its slots are held by degree class (`WholeAttraction`) from `WHOLE_FROM` nodes on.
        """
        if len(self.block) < WHOLE_FROM:
            return self.to_interaction_groups()
        heads = np.concatenate([self.senders, self.receivers])
        tails = np.concatenate([self.receivers, self.senders])
        classes = degree_classes(
            heads, tails, np.concatenate([self.weight, self.weight]), len(self.block)
        )
        interaction = WholeAttraction(
            len(self.block), Shared(classes), *self._numbers(), self.kernel
        )
        return [InteractionGroup(interaction, self.block, [])]

    @override
    def energy(self, state: SphereState) -> Float[Array, ""]:
        here = jax.tree.map(lambda x: x[self.senders], state)
        there = jax.tree.map(lambda x: x[self.receivers][:, None], state)
        once = self._interaction(self.weight[:, None], self.receivers[:, None])
        energy, _ = once.local_energy_and_force(
            here, [there], jnp.ones((len(self.senders), 1), bool)
        )
        return jnp.sum(energy)

    def _interaction(
        self, weight: Float[np.ndarray, "slots *k"], tail: Int[np.ndarray, "slots *k"]
    ) -> LateralAttraction:
        return LateralAttraction(
            len(self.block),
            jnp.asarray(weight),
            jnp.asarray(tail, jnp.int32),
            *self._numbers(),
            self.kernel,
        )

    def _numbers(self) -> tuple[Shared[Array], Shared[Array]]:
        """α and s in the precision of the weights."""
        dtype = jnp.asarray(self.weight[:1]).dtype
        return Shared(jnp.asarray(self.strength, dtype)), Shared(jnp.asarray(self.sharpness, dtype))
