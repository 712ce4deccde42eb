"""Which edges of a graph stay when no point may have more than so many."""

from collections import deque
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float, Int


class Edges(NamedTuple):
    """Undirected edges, each once, in order of (sender, receiver).

    The cosine decides between edges of equal weight, and a draw where that is equal, too.
    """

    senders: Int[np.ndarray, " edges"]
    receivers: Int[np.ndarray, " edges"]
    weight: Float[np.ndarray, " edges"]
    cosine: Float[np.ndarray, " edges"]


@final
class DegreeBound:
    """Which edges stay (`kept`), by the rule of `graph_from_neighbours`.

    Only points above the bound have their edges sorted at once; those of others are when an
    exchange comes by.

    The chain of exchanges is an augmenting path, found breadth first. Where there is none, the full
    points that the search reached (`exhausted`) have only leaves, and neither these leaves nor the
    point have neighbours elsewhere: they are more than `max_degree` for each full point, so that no
    bounded subgraph covers them (Las Vergnas 1978; Amahashi & Kano 1982). No later exchange can
    enter such a region, hence it is searched once.
    """

    def __init__(
        self,
        n_points: int,
        edges: Edges,
        max_degree: int,
        seed: int = 0,
    ) -> None:
        self.max_degree = max_degree
        self.draw = np.random.default_rng(seed).permutation(len(edges.senders))
        self.exhausted = set[int]()
        self.senders, self.receivers, self.weight, self.cosine = edges
        sent, received = (np.bincount(ends, minlength=n_points) for ends in edges[:2])
        # first the plain rule: an edge must be among the strongest of both its ends
        self.kept = np.ones(len(edges.senders), bool)
        self.kept[self._beyond(sent + received > max_degree)] = False
        kept = [np.bincount(ends[self.kept], minlength=n_points) for ends in edges[:2]]
        self.degree = kept[0] + kept[1]
        isolated = np.flatnonzero((self.degree == 0) & (sent + received > 0))
        if not isolated.size:
            return
        # Where each point's edges are: those it sends lie together, since edges are sorted by
        # sender, and those it receives lie together in `incoming`. `sent` and `received` become
        # the places where they begin.
        self.rows: dict[int, tuple[Int[np.ndarray, " here"], Int[np.ndarray, " here"]]] = {}
        self.sent, self.received = (
            np.concatenate([[0], np.cumsum(count)]) for count in (sent, received)
        )
        self.incoming = np.argsort(edges.receivers, kind="stable")
        # who lost the strongest edge is served first, before room is taken by weaker ones
        best = np.array([self._row(point)[0][0] for point in isolated.tolist()])
        for point in isolated[
            np.lexsort((self.draw[best], -self.cosine[best], -self.weight[best]))
        ].tolist():
            if self.degree[point] == 0:
                self._reconnect(point)

    def _beyond(self, above: Bool[np.ndarray, " points"]) -> Int[np.ndarray, " cut"]:
        """Edges that are not among the `max_degree` strongest of an end that has more."""
        # Only edges with a crowded end can go, a small part of all; each is listed once for every
        # crowded end that it has.
        out, into = (np.flatnonzero(above[ends]) for ends in (self.senders, self.receivers))
        heads = np.concatenate([self.senders[out], self.receivers[into]])
        edge = np.concatenate([out, into])
        # Sorted by end and, within each, from the strongest to the weakest: an edge's rank at its
        # end is its place in this order less the place where the end's edges begin.
        order = np.lexsort((self.draw[edge], -self.cosine[edge], -self.weight[edge], heads))
        count = np.bincount(heads, minlength=1)
        rank = np.arange(len(heads)) - (np.cumsum(count) - count)[heads[order]]
        return edge[order[rank >= self.max_degree]]

    def _row(self, point: int) -> tuple[Int[np.ndarray, " here"], Int[np.ndarray, " here"]]:
        """Edges at a point, kept or not, and their other ends, the strongest first."""
        if point not in self.rows:
            out = np.arange(self.sent[point], self.sent[point + 1])
            into = self.incoming[self.received[point] : self.received[point + 1]]
            edge = np.concatenate([out, into])
            other = np.concatenate([self.receivers[out], self.senders[into]])
            order = np.lexsort((self.draw[edge], -self.cosine[edge], -self.weight[edge]))
            self.rows[point] = edge[order], other[order]
        return self.rows[point]

    def _reconnect(self, point: int) -> None:
        """Gives an isolated point an edge.

        It comes by the shortest chain of exchanges, or goes above the bound where there is none.
        """
        # How a leaf was reached: the hub that could give it up, the edge it would lose, the edge
        # the hub would gain instead, and the point at the other end of that.
        exchange: dict[int, tuple[int, int, int, int]] = {}
        queue = deque([point])
        full = set[int]()
        while queue:
            here = queue.popleft()
            if self._attach(here):
                # `here` no longer needs its old hub, whose place goes to the point before it in
                # the chain, and so on back to where the search began
                while here != point:
                    hub, lost, gained, taker = exchange[here]
                    self._switch(lost, here, hub, False)
                    self._switch(gained, taker, hub, True)
                    here = taker
                return
            for gained, hub in zip(*map(np.ndarray.tolist, self._row(here)), strict=True):
                if hub in full or hub in self.exhausted:
                    continue
                full.add(hub)
                for lost, leaf in zip(*map(np.ndarray.tolist, self._row(hub)), strict=True):
                    if self.kept[lost] and leaf not in exchange:
                        exchange[leaf] = (hub, lost, gained, here)
                        queue.append(leaf)
        # no chain exists: the bound gives way for the strongest edge
        self.exhausted |= full
        edges, others = self._row(point)
        self._switch(int(edges[0]), point, int(others[0]), True)

    def _attach(self, point: int) -> bool:
        """Keep one more edge of `point`, if that is possible.

        Some other end must have room, or be able to give up an edge and isolate nobody.
        """
        row = zip(*map(np.ndarray.tolist, self._row(point)), strict=True)
        options = [
            (edge, hub) for edge, hub in row if hub not in self.exhausted and not self.kept[edge]
        ]
        for edge, hub in options:
            if self.degree[hub] < self.max_degree:
                self._switch(edge, point, hub, True)
                return True
        # nobody has room: a hub may drop an edge to a point that has others, its weakest such
        for edge, hub in options:
            edges, others = self._row(hub)
            spare = np.flatnonzero(self.kept[edges] & (self.degree[others] > 1))
            if spare.size:
                self._switch(int(edges[spare[-1]]), hub, int(others[spare[-1]]), False)
                self._switch(edge, point, hub, True)
                return True
        return False

    def _switch(self, edge: int, one: int, other: int, kept: bool) -> None:
        """Keep an edge, or drop it, and count it at both its ends."""
        self.kept[edge] = kept
        self.degree[[one, other]] += 1 if kept else -1
