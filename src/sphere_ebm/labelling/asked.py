"""What a run of `label` is asked for: points of inputs, and the identity of their map."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int64

from sphere_ebm.errors import LabelError, Refused
from sphere_ebm.files.formats import MAP_FORMAT
from sphere_ebm.files.shards.lengths import corrected, length_curve
from sphere_ebm.files.shards.own import DENSITY, LENGTH_CORRECTED, TableColumns
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.hamiltonian.fields.evaluators import MAX_PYRAMID_ROWS, grid_rows
from sphere_ebm.labelling.landmarks import choose_landmarks, most_fitted
from sphere_ebm.labelling.own_columns import (
    column_options,
    kept_in_map,
)
from sphere_ebm.labelling.recipe import COMMAND
from sphere_ebm.labelling.sources import (
    Source,
    check_sources,
    nothing_usable,
    read_sources,
    reread,
    sharing,
    stacked,
    take_sidecar_edges,
    with_prominence,
)
from sphere_ebm.labelling.sweeping import SWEPT
from sphere_ebm.maps.checks import ExtraEdges
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.density import local_density
from sphere_ebm.progress import StageProgress


class Asked(NamedTuple):
    """What is to be mapped.

    `chosen`: rows of each source that are fitted, None where all are; `embeddings` and `prominence`
    are those of the fitted points. `edges`: of sidecars. `columns`: what was read of tables.
    `sweeps`: how many there will be; 0 where all points are fitted.
    """

    sources: list[Source]
    refused: Sequence[Refused]
    edges: ExtraEdges | None
    chosen: list[Int64[np.ndarray, " _"]] | None
    embeddings: Float32[np.ndarray, "points width"]
    prominence: Float32[np.ndarray, " points"]
    columns: TableColumns
    sweeps: int


def read_asked(
    given: Sequence[Path | str],
    config: PlacementConfig,
    pooling: Pooling,
    sidecar_edges: bool,
    landmarks: int | None,
    sweeps: int,
    columns: TableColumns,
    progress: StageProgress | None,
) -> Asked:
    """Read the inputs, and choose landmarks where not all points can be fitted."""
    most = most_fitted if landmarks is None else lambda width: landmarks
    sources, refused = read_sources(given, pooling, progress, most, columns)
    check_sources(sources, refused)
    edges = take_sidecar_edges(sources, refused) if sidecar_edges else None
    if not sources:
        raise nothing_usable(refused)
    chosen = _landmarks(sources, config, edges, most, sweeps)
    sweeps = 0 if chosen is None else sweeps
    if columns.prominence == DENSITY:
        sources = _by_density(sources, config, chosen is None)
    if columns.prominence == LENGTH_CORRECTED:
        sources, columns = _less_lengths(sources, columns)
    sources, embeddings, prominence = _fitted_points(sources, chosen, pooling)
    return Asked(sources, refused, edges, chosen, embeddings, prominence, columns, sweeps)


def _by_density(sources: list[Source], config: PlacementConfig, whole: bool) -> list[Source]:
    """Sources whose radii order the density of their points among all of them."""
    if not whole:
        raise LabelError(
            f"--prominence {DENSITY} needs a map that fits all of its points, and"
            f" {sum(len(source.table) for source in sources)} are too many; raise the number of"
            " landmarks, or let the radii order something else"
        )
    return with_prominence(sources, local_density(stacked(sources)[0], config))


def _less_lengths(
    sources: list[Source], columns: TableColumns
) -> tuple[list[Source], TableColumns]:
    """Sources whose prominences are less what lengths explain of them, and how they are read."""
    if any(source.table.own.by_row and not source.whole for source in sources):
        raise LabelError(
            f"--prominence {LENGTH_CORRECTED} of rows needs a map that fits all of its points;"
            " raise the number of landmarks, or let the radii order something else"
        )
    filled = [source.table for source in sources if len(source.table)]
    curve = length_curve(filled) if filled else None
    columns = dataclasses.replace(columns, length_curve=curve)
    return [
        dataclasses.replace(
            source,
            item=dataclasses.replace(source.item, columns=columns),
            table=corrected(source.table, curve),
        )
        for source in sources
    ], columns


def _landmarks(
    sources: Sequence[Source],
    config: PlacementConfig,
    edges: ExtraEdges | None,
    most: Callable[[int], int],
    sweeps: int,
) -> list[Int64[np.ndarray, " _"]] | None:
    """Rows of each source that are fitted; None where all are."""
    if all(source.whole for source in sources):
        return None
    counts = [len(source.table) for source in sources]
    number = most(max(source.width for source in sources if len(source.table)))
    if edges is not None:
        raise LabelError(
            f"edges of sidecars need a map that fits all of its points, and {sum(counts)} are more"
            f" than {number}; raise the number of landmarks, or label without sidecars"
        )
    sharpness = config.sharpness(sum(counts) if sweeps else number)
    if (rows := grid_rows(sharpness)) > MAX_PYRAMID_ROWS:
        raise LabelError(
            "points cannot join a map with an interaction length of"
            f" {1 / sharpness:.4g}, whose field needs {rows} rows of a grid and may"
            f" have {MAX_PYRAMID_ROWS}; raise --interaction-length or --landmarks"
        )
    return choose_landmarks(counts, number, config.seed)


def _fitted_points(
    sources: Sequence[Source], chosen: Sequence[Int64[np.ndarray, " _"]] | None, pooling: Pooling
) -> tuple[list[Source], Float32[np.ndarray, "points width"], Float32[np.ndarray, " points"]]:
    """Sources, embeddings and prominence of the points that are fitted.

    Sources that held embeddings now share this memory.
    """
    if chosen is None:
        embeddings, prominence = stacked(sources)
        return sharing(sources, embeddings), embeddings, prominence
    tables = (reread(source.item, source.digest, pooling) for source in sources)
    taken = [
        table.embeddings[rows] for table, rows in zip(tables, chosen, strict=True) if len(rows)
    ]
    prominence = np.concatenate(
        [s.table.prominence[rows] for s, rows in zip(sources, chosen, strict=True)]
    )
    return list(sources), np.concatenate(taken), prominence


def map_id_of(asked: Asked, config: PlacementConfig, pooling: str) -> str:
    """Identity of the map: what was asked for, of which inputs, by which version.

    What rounds otherwise (the machine, its number of CPUs, JAX) is no part of it: a finished map is
    known again wherever its folder is taken. What must not be mixed, checkpoints, hold these.
    """
    edges = asked.edges
    chosen = asked.chosen
    drawn = (
        None if edges is None else hashlib.sha256(b"".join(x.tobytes() for x in edges)).hexdigest()
    )
    content = {
        "format": MAP_FORMAT,
        "version": version("sphere-ebm"),
        "config": json.loads(config.to_json()),
        "pooling": pooling,
        "edges": drawn,
        "landmarks": None if chosen is None else [len(rows) for rows in chosen],
        "files": [[s.name, [part.name for part in s.item.parts], s.digest] for s in asked.sources],
        **kept_in_map(asked.columns),
        **({SWEPT: asked.sweeps} if asked.sweeps else {}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def asked_options(asked: Asked, pooling: Pooling) -> dict[str, Any]:
    """The options of `sphere-ebm label` that the map's bytes depend on, but for its placement's."""
    chosen = asked.chosen
    return {
        COMMAND: "label",
        "pooling": pooling,
        "sidecar_edges": asked.edges is not None,
        "landmarks": None if chosen is None else sum(len(rows) for rows in chosen),
        "sweeps": None if chosen is None else asked.sweeps,
        **column_options(asked.columns),
        "prominence": asked.columns.prominence,
    }
