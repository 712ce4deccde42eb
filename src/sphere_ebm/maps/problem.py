"""What a placement and an equilibrium study start from.

Ideal radii, the neighbour graph and notes about both.
"""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64
from numpy.typing import ArrayLike

from sphere_ebm.geometry.shells import Shells, ideal_radii
from sphere_ebm.graph.graph import NeighbourGraph, add_edges, graph_from_neighbours
from sphere_ebm.graph.index import nearest_neighbours
from sphere_ebm.graph.neighbours import Neighbours
from sphere_ebm.maps.checks import ExtraEdges, checked_prominence
from sphere_ebm.maps.config import PlacementConfig, shells_of
from sphere_ebm.progress import StageProgress

_NAMED = 5
"""Zero rows whose numbers a note tells."""


@final
@dataclass(frozen=True, eq=False)
class Problem:
    """The Hamiltonian's data for one set of points.

    What `config` makes of embeddings and prominence.
    """

    config: PlacementConfig
    prominence: Float64[np.ndarray, " points"]
    shells: Shells
    ideal_radius: Float32[np.ndarray, " points"]
    graph: NeighbourGraph
    notes: tuple[str, ...]
    nearest: Int32[np.ndarray, "points neighbours"]
    """The neighbours that the graph was made of, see `Neighbours.index`."""


def pose(
    embeddings: Float32[np.ndarray, "points width"],
    prominence: ArrayLike | None,
    config: PlacementConfig,
    extra_edges: ExtraEdges | None = None,
    progress: StageProgress | None = None,
    temperature: float | None = None,
    neighbours: Neighbours | None = None,
    rows: Int64[np.ndarray, " points"] | None = None,
) -> Problem:
    """Rank prominence, lay out shells and search neighbours, for checked embeddings and edges.

    `temperature` is the one that the map will end at; None: `config.temperature_end`. `neighbours`
    take the place of a search. `rows` are the numbers by which notes call the points; None: 0, 1,
    ...

    Raises ValueError for a prominence of the wrong shape or not finite, for edges between points
    that are none, and for neighbours of another number of points.
    """
    order, order_notes = checked_prominence(prominence, embeddings)
    shells = shells_of(config)
    ideal = ideal_radii(order, shells, config.radius_order, seed=config.seed)
    graph, nearest, graph_notes = _graph(embeddings, config, extra_edges, progress, neighbours)
    graph_notes += _zero_notes(embeddings, rows)
    final = config.temperature_end if temperature is None else temperature
    notes = (*graph_notes, *order_notes, *_radius_notes(config, shells, final))
    return Problem(config, order, shells, ideal, graph, notes, nearest)


def _graph(
    embeddings: Float32[np.ndarray, "points width"],
    config: PlacementConfig,
    extra_edges: ExtraEdges | None,
    progress: StageProgress | None,
    given: Neighbours | None,
) -> tuple[NeighbourGraph, Int32[np.ndarray, "points neighbours"], tuple[str, ...]]:
    if given is None:
        found = nearest_neighbours(
            embeddings,
            config.neighbours,
            search=config.neighbour_search,
            seed=config.seed,
            progress=(
                None
                if progress is None
                else lambda done, total: progress("neighbours", done, total)
            ),
        )
    elif len(given.index) == len(embeddings):
        nearest = slice(config.neighbours)
        found = Neighbours(given.index[:, nearest], given.similarity[:, nearest], given.note)
    else:
        raise ValueError(
            f"`neighbours` must be those of {len(embeddings)} points; got {len(given.index)}."
        )
    graph = graph_from_neighbours(
        found,
        affinity=config.affinity,
        perplexity=config.perplexity,
        max_degree=config.max_degree,
        seed=config.seed,
    )
    if extra_edges is not None:
        graph = add_edges(graph, *extra_edges, max_degree=config.max_degree, seed=config.seed)
    return graph, found.index, () if found.note is None else (found.note,)


def _zero_notes(
    embeddings: Float32[np.ndarray, "points width"], rows: Int64[np.ndarray, " points"] | None
) -> tuple[str, ...]:
    zero = np.flatnonzero(~embeddings.any(axis=1))
    if not len(zero):
        return ()
    numbers = zero if rows is None else rows[zero]
    named = ", ".join(map(str, numbers[:_NAMED])) + (", ..." if len(zero) > _NAMED else "")
    return (
        f"{len(zero)} of {len(embeddings)} embeddings are zero vectors: no direction, no"
        f" lateral edges (rows {named})",
    )


def _radius_notes(config: PlacementConfig, shells: Shells, temperature: float) -> tuple[str, ...]:
    """A note when the law spreads radii over more than half of the smallest shell.

    They spread by sqrt(T / κ) either way.
    """
    spread = math.sqrt(temperature / config.radius_stiffness)
    if spread <= 0.5 * float(np.diff(shells.edges).min()):
        return ()
    return (
        (
            "radii spread over more than a shell at the final temperature: raise radius_stiffness"
            " or lower it"
        ),
    )
