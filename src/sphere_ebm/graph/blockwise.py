"""The lateral graph of more points than one likes to hold: block by block, in files.

Points are cut into blocks of consecutive rows. Four passes over the blocks make of each block's
neighbours the edges at its points, by the rule of `graph_from_neighbours`:

1. `list_neighbours`: neighbours and affinities of a block, and the same pairs in order of their far
   ends, so that any other block finds those that end in it in one piece.
2. `meet`: every edge at a point of the block, found from either end, strongest first; and of each
   point the edge that is its `max_degree`-th.
3. `bound`: the edges that are among the `max_degree` strongest of both their ends, and of a point
   that loses all of them the strongest edge.
4. `settle_edges`: the edges of the block in slots, by degree class, with the weights of the whole
   graph: their sum is the number of points that have edges.

It differs from `graph_from_neighbours` where a point would lose all of its edges: there the
strongest of them stays, above the bound of the other end, instead of a chain of exchanges. And
equal edges are chosen among by a hash of their ends, not by a permutation of all edges.

Memory: one block, and 16 bytes a point.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64, UInt64

from sphere_ebm.graph.graph import affinities
from sphere_ebm.graph.index import Nearest

CLASS_ENDS = (0.5, 0.85, 1.0)
"""Where the degree classes of a block end, as shares of its points in order of degree."""

NEIGHBOURS = "neighbours"
MET = "met"
BOUNDED = "bounded"
EDGES = "edges"
"""What the passes leave of every block, in their order."""

Arrays = dict[str, np.ndarray]
"""What a pass leaves of a block."""

Reader = Callable[[str, int], Arrays]
"""`read(stage, block)`: what a pass has left; arrays may be mapped from files."""


@final
@dataclass(frozen=True)
class Blocks:
    """`points` consecutive rows in blocks of at most `most` rows, all but the last equally long."""

    points: int
    most: int

    def __post_init__(self) -> None:
        if self.points < 1 or self.most < 1:
            raise ValueError(
                f"`points` and `most` must be at least 1; got {self.points} and {self.most}."
            )

    def __len__(self) -> int:
        return -(-self.points // self.most)

    @property
    def size(self) -> int:
        """Rows of every block but the last."""
        return -(-self.points // len(self))

    def rows(self, block: int) -> slice:
        """The rows of a block."""
        return slice(block * self.size, min((block + 1) * self.size, self.points))

    def count(self, block: int) -> int:
        """How many rows a block has."""
        rows = self.rows(block)
        return rows.stop - rows.start


class Rule(NamedTuple):
    """How edges are weighted and bounded; see `graph_from_neighbours`."""

    affinity: str
    perplexity: float
    max_degree: int
    seed: int


class _Ranked(NamedTuple):
    """Edges by what decides which are stronger: weight, then cosine, then the lower draw."""

    weight: Float32[np.ndarray, " edges"]
    cosine: Float32[np.ndarray, " edges"]
    draw: UInt64[np.ndarray, " edges"]

    def at(self, rows: np.ndarray) -> "_Ranked":
        return _Ranked(*(part[rows] for part in self))

    def no_weaker(self, than: "_Ranked") -> Bool[np.ndarray, " edges"]:
        """Which edges are at least as strong as others, one by one."""
        heavier = self.weight > than.weight
        level = self.weight == than.weight
        nearer = self.cosine > than.cosine
        equal = level & (self.cosine == than.cosine)
        return heavier | (level & nearer) | (equal & (self.draw <= than.draw))


def list_neighbours(found: Nearest, blocks: Blocks, rule: Rule) -> Arrays:
    """Pass 1, of the neighbours that `NeighbourIndex.neighbours_of` has found for a block."""
    share = affinities(
        found.index, found.similarity, affinity=rule.affinity, perplexity=rule.perplexity
    ).astype(np.float32)
    far = found.index.ravel()
    # -1, where a list is short, comes first and is in no block's piece
    order = np.argsort(far, kind="stable")
    bounds = [blocks.rows(block).start for block in range(len(blocks))]
    piece = np.searchsorted(far[order], [*bounds, blocks.points])
    return {
        "index": found.index,
        "share": share,
        "cosine": np.maximum(found.similarity, np.float32(-1)),
        "order": order.astype(np.int32),
        "piece": piece.astype(np.int64),
    }


def meet(read: Reader, blocks: Blocks, block: int, rule: Rule) -> Arrays:
    """Pass 2: every edge at the points of a block, and where the bound would cut each of them."""
    heads, tails, weight, cosine = _pairs(read, blocks, block)
    # An edge that was found from both ends stands here twice: the affinities add up.
    order = np.lexsort((tails, heads))
    key = heads[order] * blocks.points + tails[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    heads = heads[order][first]
    tails = tails[order][first]
    if len(first):
        weight = np.add.reduceat(weight[order], first)
        cosine = np.maximum.reduceat(cosine[order], first)
    start = blocks.rows(block).start
    ranked = _Ranked(weight.astype(np.float32), cosine, _draws(heads + start, tails, rule.seed))
    order = np.lexsort((ranked.draw, -ranked.cosine, -ranked.weight, heads))
    ranked = ranked.at(order)
    degree = np.bincount(heads, minlength=blocks.count(block))
    begin = np.cumsum(degree) - degree
    last = np.minimum(begin + rule.max_degree - 1, max(len(heads) - 1, 0))
    crowded = degree > rule.max_degree
    cut = ranked.at(np.where(crowded, last, 0)) if len(heads) else _nothing(len(degree))
    return {
        "degree": degree.astype(np.int32),
        "tail": tails[order].astype(np.int32),
        "weight": ranked.weight,
        "cosine": ranked.cosine,
        # points with room let everything pass
        "cut_weight": np.where(crowded, cut.weight, np.float32(-1)),
        "cut_cosine": cut.cosine,
        "cut_draw": cut.draw.view(np.int64),
    }


def bound(read: Reader, blocks: Blocks, block: int, cuts: Arrays, rule: Rule) -> Arrays:
    """Pass 3: the edges of a block that both ends keep; `cuts` are those of all points."""
    met = read(MET, block)
    degree = np.asarray(met["degree"])
    start = blocks.rows(block).start
    heads = np.repeat(np.arange(start, start + len(degree)), degree)
    tails = np.asarray(met["tail"], np.int64)
    edges = _Ranked(
        np.asarray(met["weight"]), np.asarray(met["cosine"]), _draws(heads, tails, rule.seed)
    )
    ranks = _Ranked(cuts["cut_weight"], cuts["cut_cosine"], cuts["cut_draw"].view(np.uint64))
    kept = edges.no_weaker(ranks.at(heads)) & edges.no_weaker(ranks.at(tails))
    held = np.bincount(heads[kept] - start, minlength=len(degree))
    lost = np.flatnonzero((held == 0) & (degree > 0))
    strongest = (np.cumsum(degree) - degree)[lost]
    return {
        "degree": held.astype(np.int32),
        "tail": tails[kept].astype(np.int32),
        "weight": edges.weight[kept],
        # edges above the bound: the ends, and the weight
        "lost_head": (lost + start).astype(np.int64),
        "lost_tail": tails[strongest],
        "lost_weight": edges.weight[strongest],
    }


class Scale(NamedTuple):
    """What the weights of the whole graph are scaled by, and the widths of its degree classes."""

    factor: float
    widths: tuple[int, ...]


def scale_of(read: Reader, blocks: Blocks) -> Scale:
    """The scale of the whole graph: weights sum to the number of points with edges."""
    total = 0.0
    points = 0
    widths = np.ones(len(CLASS_ENDS), np.int64)
    for block in range(len(blocks)):
        heads, _, weight = _kept(read, blocks, block)
        degree = np.bincount(heads, minlength=blocks.count(block))
        # each edge is listed under both of its ends
        total += float(weight.sum(dtype=np.float64)) / 2
        points += int(np.count_nonzero(degree))
        widths = np.maximum(widths, _widths(degree, blocks.size))
    return Scale(points / total if total else 1.0, tuple(widths.tolist()))


def settle_edges(read: Reader, blocks: Blocks, block: int, scale: Scale) -> Arrays:
    """Pass 4: the edges of a block in slots, alike in shape for all blocks.

    `head_i`, `tail_i` and `weight_i` are those of class i: positions in the block, rows of the map,
    and w_ij; empty slots have weight 0 and name a point of the block. `place` brings the classes'
    rows, one class after the other, into the order of the block.
    """
    heads, tails, weight = _kept(read, blocks, block)
    size = blocks.size
    degree = np.bincount(heads, minlength=size)
    begin = np.cumsum(degree) - degree
    by_degree = np.argsort(degree, kind="stable")
    found: Arrays = {}
    rows = []
    start = 0
    for number, width in enumerate(scale.widths):
        stop = round(CLASS_ENDS[number] * size)
        # in their own order, so that neighbouring rows read neighbouring memory
        head = np.sort(by_degree[start:stop])
        slot = np.arange(width)
        filled = slot < degree[head][:, None]
        entry = np.minimum(begin[head][:, None] + slot, max(len(heads) - 1, 0))
        own = np.minimum(blocks.rows(block).start + head, blocks.points - 1)[:, None]
        listed = tails[entry] if len(tails) else np.zeros(entry.shape, np.int64)
        pull = weight[entry] if len(weight) else np.zeros(entry.shape, np.float32)
        found[f"head_{number}"] = head.astype(np.int32)
        found[f"tail_{number}"] = np.where(filled, listed, own).astype(np.int32)
        found[f"weight_{number}"] = np.where(filled, pull * scale.factor, 0).astype(np.float32)
        rows.append(head)
        start = stop
    place = np.empty(size, np.int32)
    place[np.concatenate(rows)] = np.arange(size)
    return found | {"place": place}


def cuts_of(read: Reader, blocks: Blocks) -> Arrays:
    """Where the bound cuts at every point, from the second pass: 16 bytes a point."""
    names = ("cut_weight", "cut_cosine", "cut_draw")
    parts = [read(MET, block) for block in range(len(blocks))]
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _pairs(
    read: Reader, blocks: Blocks, block: int
) -> tuple[
    Int64[np.ndarray, " pairs"],
    Int64[np.ndarray, " pairs"],
    Float32[np.ndarray, " pairs"],
    Float32[np.ndarray, " pairs"],
]:
    """Pairs with one end in the block, from either end: place in the block, row, affinity, cosine.

    The affinity is half of that of the end that found the pair.
    """
    rows = blocks.rows(block)
    own = read(NEIGHBOURS, block)
    index = np.asarray(own["index"])
    near, slot = np.nonzero(index >= 0)
    parts = [(near, index[near, slot], own["share"][near, slot], own["cosine"][near, slot])]
    for other in range(len(blocks)):
        found = read(NEIGHBOURS, other)
        first, last = found["piece"][block : block + 2].tolist()
        entry = np.asarray(found["order"][first:last])
        k = found["index"].shape[1]
        row = entry // max(k, 1)
        column = entry % max(k, 1)
        far = np.asarray(found["index"])[row, column] - rows.start
        ends = blocks.rows(other).start + row
        parts.append((far, ends, found["share"][row, column], found["cosine"][row, column]))
    heads, tails, share, cosine = (np.concatenate(part) for part in zip(*parts, strict=True))
    return heads.astype(np.int64), tails.astype(np.int64), share / 2, cosine


def _kept(
    read: Reader, blocks: Blocks, block: int
) -> tuple[Int64[np.ndarray, " edges"], Int64[np.ndarray, " edges"], Float32[np.ndarray, " edges"]]:
    """Edges of a block in order of head and tail, with those that stay above the bound."""
    rows = blocks.rows(block)
    own = read(BOUNDED, block)
    degree = np.asarray(own["degree"])
    parts = [(np.repeat(np.arange(len(degree)), degree), own["tail"], own["weight"])]
    for other in range(len(blocks)):
        found = read(BOUNDED, other)
        for near, far in (("lost_head", "lost_tail"), ("lost_tail", "lost_head")):
            inside = (found[near] >= rows.start) & (found[near] < rows.stop)
            parts.append(
                (found[near][inside] - rows.start, found[far][inside], found["lost_weight"][inside])
            )
    heads, tails, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    # two points may have chosen the same edge
    key = heads.astype(np.int64) * blocks.points + tails
    _, first = np.unique(key, return_index=True)
    return heads[first].astype(np.int64), tails[first].astype(np.int64), weight[first]


def _widths(degree: Int[np.ndarray, " points"], size: int) -> Int64[np.ndarray, " classes"]:
    """The largest degree in each class of a block of `size` rows."""
    ordered = np.sort(np.pad(degree, (0, size - len(degree))))
    ends = [max(round(share * size) - 1, 0) for share in CLASS_ENDS]
    return np.maximum(ordered[ends], 1).astype(np.int64)


def _draws(
    one: Int64[np.ndarray, " edges"], other: Int64[np.ndarray, " edges"], seed: int
) -> UInt64[np.ndarray, " edges"]:
    """A number for every edge that looks drawn at random, the same from both of its ends."""
    mixed: Any = np.random.default_rng(seed).integers(2**64, dtype=np.uint64)
    for end in (np.minimum(one, other), np.maximum(one, other)):
        # the last steps of SplitMix64 (Steele, Lea & Flood 2014)
        mixed = (mixed + end.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    # the top bit is left out, so that files may hold it as a signed number
    drawn: UInt64[np.ndarray, " edges"] = mixed >> np.uint64(1)
    return drawn


def _nothing(count: int) -> _Ranked:
    zeros = np.zeros(count, np.float32)
    return _Ranked(zeros, zeros, np.zeros(count, np.uint64))
