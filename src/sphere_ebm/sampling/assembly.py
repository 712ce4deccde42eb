"""THRML's program of one free block, and perhaps a clamped one, built by array operations.

THRML lists, for every node of a block, the entries of every interaction group whose head it is, in
their order, and pads the lists to the longest of them. That is a stable sort by head node, then one
gather for each array:

- slot j of node i holds the j-th entry e with head i;
- an interaction's array x becomes x[e], a tail becomes the position of its node in the block;
- empty slots hold x[0], position 0 and `active` False.

What comes out is the program that `thrml.FactorSamplingProgram` builds, bit for bit
(tests/sampling/test_assembly.py). Its class and fields are THRML's own. Where this cannot be known,
THRML's builder is used: for groups over nodes that were not taken from the block by position, and
for a THRML whose programs have another layout, which is found out by building a small program both
ways.

With `programs.py`, `clamped.py` and `devices.py` this is all that knows THRML's internals.

Source: `thrml.BlockSamplingProgram.__init__` of THRML 0.1.4.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Shaped
from scipy.sparse import csr_array
from thrml import (
    AbstractConditionalSampler,
    AbstractNode,
    Block,
    BlockGibbsSpec,
    FactorSamplingProgram,
    InteractionGroup,
)

from sphere_ebm.hamiltonian.blocks import SelectedBlock

_PROGRAM_FIELDS = (
    "gibbs_spec",
    "samplers",
    "per_block_interactions",
    "per_block_interaction_active",
    "per_block_interaction_global_inds",
    "per_block_interaction_global_slices",
)
_SPEC_FIELDS = frozenset(
    {
        "all_block_sds",
        "block_to_global_slice_spec",
        "blocks",
        "clamped_blocks",
        "free_blocks",
        "global_sd_order",
        "node_global_location_map",
        "node_shape_dtypes",
        "node_shape_struct",
        "sampling_order",
        "sd_index_map",
        "superblocks",
    }
)


@final
class OneBlockSpec(BlockGibbsSpec):
    """THRML's specification of one free block and no clamped ones.

    Nodes get their places when one is asked for.

    Its fields equal those of `BlockGibbsSpec([block], [], node_shape_dtypes)`. The nodes of `block`
    must differ and be made without arguments. Cost: O(1), and O(nodes) in Python at the first look
    at `node_global_location_map`.
    """

    def __init__(self, block: Block, node_shape_dtypes: Mapping[type[AbstractNode], Any]):
        super().__init__([Block([block.node_type()])], [], node_shape_dtypes)
        self.blocks = [block]
        self.free_blocks = [block]
        self.superblocks = [(block,)]
        del (
            self.node_global_location_map
        )  # of the node that stood in; the property below takes over

    @functools.cached_property
    def node_global_location_map(  # type: ignore[override]
        self,
    ) -> dict[AbstractNode, tuple[int, int]]:
        """A node's place in the global state: the only array, and its position in the block."""
        return {node: (0, i) for i, node in enumerate(self.blocks[0])}


@final
class ClampedSpec(BlockGibbsSpec):
    """THRML's specification of one free and one clamped block, as `OneBlockSpec` of one free."""

    def __init__(
        self, free: Block, clamped: Block, node_shape_dtypes: Mapping[type[AbstractNode], Any]
    ):
        stand_in = [Block([block.node_type()]) for block in (free, clamped)]
        super().__init__([stand_in[0]], [stand_in[1]], node_shape_dtypes)
        self.blocks = [free, clamped]
        self.free_blocks = [free]
        self.clamped_blocks = [clamped]
        self.superblocks = [(free,)]
        del self.node_global_location_map

    @functools.cached_property
    def node_global_location_map(  # type: ignore[override]
        self,
    ) -> dict[AbstractNode, tuple[int, int]]:
        """A node's place in the global state, which holds the free block first."""
        nodes = itertools.chain(*self.blocks)
        return {node: (0, i) for i, node in enumerate(nodes)}


def clamped_spec(
    free: Block,
    clamped: Block,
    node_shape_dtypes: Mapping[type[AbstractNode], Any],
    *,
    distinct: bool = False,
) -> BlockGibbsSpec:
    """The specification of a free and a clamped block; see `one_block_spec`."""
    usual = len(free) and len(clamped) and free.node_type in node_shape_dtypes
    if distinct and usual and layout_is_known():
        return ClampedSpec(free, clamped, node_shape_dtypes)
    return BlockGibbsSpec([free], [clamped], node_shape_dtypes)


def one_block_spec(
    block: Block, node_shape_dtypes: Mapping[type[AbstractNode], Any], *, distinct: bool = False
) -> BlockGibbsSpec:
    """The specification of the single free `block`.

    It is made without loops when the nodes are known to be `distinct` and THRML has the layout that
    this file knows; otherwise it is THRML's own, O(nodes) in Python. Raises what THRML raises:
    ValueError for no nodes or nodes of an unknown type, RuntimeError for a node that is listed
    twice.
    """
    if distinct and len(block) and block.node_type in node_shape_dtypes and layout_is_known():
        return OneBlockSpec(block, node_shape_dtypes)
    return BlockGibbsSpec([block], [], node_shape_dtypes)


def program_of_groups(
    spec: BlockGibbsSpec, sampler: AbstractConditionalSampler, groups: Sequence[InteractionGroup]
) -> FactorSamplingProgram:
    """`FactorSamplingProgram(spec, [sampler], [], groups)` of one free block, one clamped at most.

    Cost: O(entries + nodes · largest degree) in NumPy when every group lists its nodes as a block
    itself or as a `SelectedBlock` of one; otherwise THRML's loops in Python. Raises what THRML
    raises.
    """
    if len(spec.free_blocks) == 1 and len(spec.clamped_blocks) < 2 and layout_is_known():
        placed = [_placed(group, *spec.free_blocks, *spec.clamped_blocks) for group in groups]
        known = [group for group in placed if group is not None]
        if len(known) == len(placed):
            return _assembled(spec, [sampler], known)
    return FactorSamplingProgram(spec, [sampler], [], list(groups))


class _Placed(NamedTuple):
    """An interaction group whose nodes are positions in the block."""

    interaction: Any
    heads: Int[np.ndarray, " entries"]
    tails: list[Int[np.ndarray, " entries"]]


@final
class _Slots:
    """Which entries of a group fill the slots of which node.

    `order` lists the entries by head node, in their order within each; `active` says which slots
    they fill.
    """

    def __init__(self, heads: Int[np.ndarray, " entries"], n_nodes: int):
        entries = len(heads)
        starts = np.arange(
            entries + 1, dtype=np.int32 if entries < np.iinfo(np.int32).max else np.int64
        )
        # a matrix with one number in each row, at the head: its columns list the rows in their
        # order, in O(entries)
        columns = csr_array(
            (np.ones(entries, np.int8), heads, starts), shape=(entries, n_nodes)
        ).tocsc()
        degree = np.diff(columns.indptr)
        self.order = columns.indices
        self.active = _unfilled((n_nodes, int(degree.max())), np.dtype(bool))
        np.less(
            np.arange(self.active.shape[1], dtype=degree.dtype), degree[:, None], out=self.active
        )
        self._seen: list[tuple[np.ndarray, np.ndarray]] = []

    def padded(
        self, values: Shaped[np.ndarray, "entries *rest"], padding: Any, dtype: Any
    ) -> Shaped[Array, "nodes k *rest"]:
        """`values` in the slots of their nodes, `padding` in empty ones."""
        rows = _unfilled(self.active.shape + values.shape[1:], np.dtype(dtype))
        rows[...] = padding
        rows[self.active] = self._ordered(values)
        return jax.device_put(rows)

    def _ordered(
        self, values: Shaped[np.ndarray, "entries *rest"]
    ) -> Shaped[np.ndarray, "entries *rest"]:
        """`values` by head node; those of integers are kept.

        The lateral term's tails are also in its interaction, and to compare them is cheaper than to
        gather them again.
        """
        if values.dtype.kind != "i":
            return values[self.order]
        for known, ordered in self._seen:
            if known.dtype == values.dtype and np.array_equal(known, values):
                return ordered
        self._seen.append((values, values[self.order]))
        return self._seen[-1][1]


def _placed(group: InteractionGroup, block: Block, clamped: Block | None = None) -> _Placed | None:
    heads = _positions(group.head_nodes, block)
    tails = [_everywhere(tail, block, clamped) for tail in group.tail_nodes]
    known = [tail for tail in tails if tail is not None]
    return (
        None
        if heads is None or len(known) < len(tails)
        else _Placed(group.interaction, heads, known)
    )


def _everywhere(
    nodes: Block, block: Block, clamped: Block | None
) -> Int[np.ndarray, " entries"] | None:
    """Positions in the global state, which holds the free block first."""
    free = _positions(nodes, block)
    if free is not None or clamped is None:
        return free
    held = _positions(nodes, clamped)
    return None if held is None else held + len(block)


def _positions(nodes: Block, block: Block) -> Int[np.ndarray, " entries"] | None:
    """Positions of `nodes` in `block`, or None when only a look at every node would tell."""
    if nodes is block:
        return np.arange(len(block), dtype=np.int32)
    if not isinstance(nodes, SelectedBlock) or nodes.origin is not block:
        return None
    index = nodes.index
    # indices beyond the block, negative ones among them, are for Python to interpret
    return index if index.size and index.min() >= 0 and index.max() < len(block) else None


def _assembled(
    spec: BlockGibbsSpec, samplers: list[Any], groups: Sequence[_Placed]
) -> FactorSamplingProgram:
    """The program itself: an empty one of THRML's, with its lists replaced."""
    whole = [(group, _Slots(group.heads, len(spec.free_blocks[0]))) for group in groups]
    integer = jnp.result_type(int)
    fields = (
        spec,
        samplers,
        [
            [
                jax.tree.map(functools.partial(_per_slot, slots), group.interaction)
                for group, slots in whole
            ]
        ],
        [[jax.device_put(slots.active) for _, slots in whole]],
        [[[0] * len(group.tails) for group, _ in whole]],
        [[[slots.padded(tail, 0, integer) for tail in group.tails] for group, slots in whole]],
    )
    return jax.tree.unflatten(_structure(FactorSamplingProgram), fields)


def _per_slot(slots: _Slots, leaf: Any) -> Any:
    """An interaction's array row by row in its slots; anything else as it is."""
    if not eqx.is_array(leaf):
        return leaf
    if _is_plain(leaf):
        values = np.asarray(leaf)
        return slots.padded(values, values[0], values.dtype)
    entries = np.arange(len(slots.order), dtype=slots.order.dtype)
    return jnp.take(leaf, slots.padded(entries, 0, jnp.result_type(int)), axis=0)


def _is_plain(leaf: Any) -> bool:
    """Whether NumPy keeps all there is to know of a JAX array.

    It does not for tracers, keys, weak types and chosen devices.
    """
    return (
        isinstance(leaf, jax.Array)
        and not isinstance(leaf, jax.core.Tracer)
        and not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended)
        and not leaf.weak_type
        and not leaf.committed
    )


def _unfilled(shape: tuple[int, ...], dtype: np.dtype) -> Shaped[np.ndarray, "..."]:
    """Memory on a boundary of 64 bytes.

    `jax.device_put` takes it over on a CPU without a copy.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


@final
class _ProbeNode(AbstractNode):
    """A node of the small programs by which THRML's layout is known."""


_PROBE_SHAPES: dict[type[AbstractNode], Any] = {_ProbeNode: jax.ShapeDtypeStruct((), jnp.float32)}


@functools.lru_cache(maxsize=4)
def _structure(program_class: type[FactorSamplingProgram]) -> Any:
    """How JAX puts a program together from its fields."""
    nobody: Any = None
    empty = program_class(
        BlockGibbsSpec([Block([_ProbeNode()])], [], _PROBE_SHAPES), [nobody], [], []
    )
    return jax.tree.structure(empty, is_leaf=lambda node: node is not empty)


def layout_is_known() -> bool:
    """Whether the installed THRML builds, for a small graph, what this file builds."""
    return _layout_is_known(FactorSamplingProgram, BlockGibbsSpec)


@functools.lru_cache(maxsize=4)
def _layout_is_known(
    program_class: type[FactorSamplingProgram], spec_class: type[BlockGibbsSpec]
) -> bool:
    """Three nodes, one without entries, and heads out of order, built both ways."""
    block = Block([_ProbeNode() for _ in range(3)])
    nobody: Any = None
    heads, tails = (
        SelectedBlock(block, np.asarray(index)) for index in ([2, 0, 2, 2], [0, 2, 2, 0])
    )
    groups = [
        InteractionGroup(jnp.arange(3, dtype=jnp.int32), block, [block]),
        InteractionGroup(("value", jnp.arange(5, 9, dtype=jnp.int32)), heads, [tails, heads]),
    ]
    try:
        if tuple(field.name for field in dataclasses.fields(program_class)) != _PROGRAM_FIELDS:
            return False
        theirs = program_class(spec_class([block], [], _PROBE_SHAPES), [nobody], [], groups)
        known = [placed for group in groups if (placed := _placed(group, block)) is not None]
        if set(vars(theirs.gibbs_spec)) != _SPEC_FIELDS or not _agree(
            _assembled(OneBlockSpec(block, _PROBE_SHAPES), [nobody], known), theirs
        ):
            return False
        clamped = Block([_ProbeNode() for _ in range(2)])
        outside = SelectedBlock(clamped, np.asarray([1, 0, 1, 1]))
        across = InteractionGroup(jnp.arange(4, dtype=jnp.int32), heads, [outside])
        beside = _placed(across, block, clamped)
        theirs = program_class(
            spec_class([block], [clamped], _PROBE_SHAPES), [nobody], [], [across]
        )
        return beside is not None and _agree(
            _assembled(ClampedSpec(block, clamped, _PROBE_SHAPES), [nobody], [beside]), theirs
        )
    except Exception:  # whatever an unknown THRML raises, it is unknown
        return False


def _agree(ours: Any, theirs: Any) -> bool:
    """Same structure, same arrays to the bit, same specification."""
    structures: list[Any] = [jax.tree.structure(ours), jax.tree.structure(theirs)]
    if structures[0] != structures[1]:
        return False
    return all(
        _same_leaf(a, b)
        for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True)
    )


def _same_leaf(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, BlockGibbsSpec):
        return all(getattr(ours, name) == value for name, value in vars(theirs).items())
    if eqx.is_array(theirs):
        return jax.typeof(ours) == jax.typeof(theirs) and np.array_equal(ours, theirs)
    return bool(ours == theirs)
