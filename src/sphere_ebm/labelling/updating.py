"""`update_map`: a new map of an older one's points and new ones; the old all but keep their places.

The older map's folder is only read. The new one is a map as `label` makes it, with the same files,
that knows its parent; a run that dies continues with the same command and ends with the same bytes.
"""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float32, Int64

from sphere_ebm.errors import LabelError, Refused
from sphere_ebm.files.folders import locked
from sphere_ebm.files.formats import MAP_FORMAT, PAGE, PLACEMENT
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.shards.labels import Labels
from sphere_ebm.files.shards.own import DENSITY, TableColumns
from sphere_ebm.files.shards.pooling import Pooling
from sphere_ebm.labelling.columns import label_metadata, write_all_labels
from sphere_ebm.labelling.fitting import fitted_placement
from sphere_ebm.labelling.folder import claim
from sphere_ebm.labelling.label import LabelRun, Written
from sphere_ebm.labelling.landmarks import most_fitted
from sphere_ebm.labelling.levels import follow_pyramid
from sphere_ebm.labelling.moved import Moved, moved_by_document, moved_farthest
from sphere_ebm.labelling.older import (
    OldMap,
    check_joinable,
    identity,
    read_old_map,
    renamed,
    unseen,
)
from sphere_ebm.labelling.own_columns import (
    COLOUR,
    colour_of_map,
    column_options,
    columns_of_map,
    columns_to_read,
    forget_colours,
    kept_in_map,
    not_kept,
    told_colour,
)
from sphere_ebm.labelling.recipe import COMMAND
from sphere_ebm.labelling.sources import (
    Source,
    check_sources,
    nothing_usable,
    offsets,
    planned_files,
    read_sources,
    sharing,
    stacked,
    with_prominence,
)
from sphere_ebm.labelling.summary import MapPoints, write_summary
from sphere_ebm.maps.anchors import STRENGTH
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.density import density_among
from sphere_ebm.maps.frozen_map import FrozenMap
from sphere_ebm.maps.growth import Drift, Points, degrees_moved, growing, refit
from sphere_ebm.maps.loading import load_placement
from sphere_ebm.maps.placement import Placement
from sphere_ebm.progress import StageProgress, stage


@final
@dataclass(frozen=True)
class UpdateRun:
    """What `update_map` did.

    `run` is the new map, its `files` those of the inputs. `drift` tells how far its held points
    moved from their places on the older map, `by_document` the same for each document, `farthest`
    which moved most. `added` and `replaced` are label files of the new map; `present` inputs that
    were on the older one already.
    """

    run: LabelRun
    parent: str
    drift: Drift
    by_document: dict[str, Drift]
    farthest: tuple[Moved, ...]
    added: tuple[str, ...]
    replaced: tuple[str, ...]
    present: tuple[Path, ...]


def update_map(
    folder: Path | str,
    inputs: Path | str | Iterable[Path | str],
    output: Path | str,
    *,
    strength: float = STRENGTH,
    replace: bool = False,
    steps: int | None = None,
    pooling: Pooling = "mean",
    columns: TableColumns | None = None,
    colour_by: str | None = None,
    overwrite: bool = False,
    progress: StageProgress | None = None,
) -> UpdateRun:
    """Fit the points of the map in `folder` and those of new shards together, into `output`.

    Points that were fitted, or placed on a map of landmarks, are anchored where they are; new ones,
    and those that joined the older map since, are free. See `sphere_ebm.maps.growth`.

    Args:
        folder: of the older map, which is only read: neither its files nor the shards that it was
            made from are needed afterwards.
        inputs: new shards: files, folders (searched recursively) and globs; none, where points have
            joined the older map and are to be fitted. Those that are on it already, which is known
            by their hash, are passed over.
        output: folder for the new map.
        strength: λ of the anchors; the greater, the less old points move, and make room.
        replace: an input with the file name of a source on the map takes that source's place; its
            patches whose embedding has not changed are held where they were.
        steps: of the fit; None: as many as the older map's.
        pooling: as for `label`.
        columns: as for `label`; None: those that the older map was made with.
        colour_by: as for `label`; None: as the older map is coloured.
        overwrite: as for `label`.
        progress: as for `label`.

    Raises:
        LabelError: as `label`; nothing is to be added; there are too many points to fit all; a name
            to replace is that of several sources.
        ShardError: a file of the older map is missing or has changed.
    """
    if not (np.isfinite(strength) and strength >= 0):
        raise ValueError(f"`strength` must be a finite number >= 0; got {strength}.")
    folder = Path(folder)
    output = Path(output)
    old = read_old_map(folder)
    if output.exists() and output.samefile(folder):
        raise LabelError(f"{output} is the older map, which an update leaves alone; choose another")
    given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    read = columns_to_read(old.held, columns, colour_by)
    sources, refused = _read(old, given, pooling, read, progress)
    found, present = unseen(old, sources)
    check_joinable(old, found)
    plan = _plan(old, found, replace, read.prominence == DENSITY)
    how = {"strength": float(strength), "pooling": pooling, "replaced": list(plan.replaced)}
    how |= kept_in_map(read) | told_colour(colour_by or colour_of_map(old.held))
    config = growing(old.config)
    config = config if steps is None else dataclasses.replace(config, steps=steps)
    run = _run(old, plan, config, output, how, overwrite, progress, refused)
    degrees = degrees_moved(plan.start, run.placement.direction)
    return UpdateRun(
        run,
        old.map_id,
        Drift.of(degrees[plan.held]),
        moved_by_document(plan.sources, plan.held, degrees),
        moved_farthest(plan.sources, plan.held, degrees),
        plan.added,
        plan.replaced,
        tuple(present),
    )


def _read(
    old: OldMap,
    given: list[Path | str],
    pooling: Pooling,
    columns: TableColumns,
    progress: StageProgress | None,
) -> tuple[list[Source], list[Refused]]:
    """Usable sources of the inputs, and those that are refused. Raises LabelError for none."""
    if not given:
        return [], []
    needed = not_kept(old.held, columns)
    sources, refused = read_sources(given, pooling, progress, None, columns, needed)
    if not sources:
        raise nothing_usable(refused)
    check_sources(sources, refused)
    return sources, refused


class _Plan(NamedTuple):
    """What the new map is of: sources in their order, and where each point starts."""

    sources: list[Source]
    embeddings: Float32[np.ndarray, "points width"]
    prominence: Float32[np.ndarray, " points"]
    start: Float32[np.ndarray, "points 3"]
    unsure: Float32[np.ndarray, " points"]
    held: Bool[np.ndarray, " points"]
    added: tuple[str, ...]
    replaced: tuple[str, ...]


def _plan(old: OldMap, found: Sequence[Source], replace: bool, by_density: bool) -> _Plan:
    """Sources of the older map that stay, in their order, then new ones.

    `by_density` tells that radii order the density of points, which new ones are given here.

    Raises LabelError where nothing is to be done, or there are too many points.
    """
    former = _former(old, found) if replace else {}
    stay = [i for i in range(len(old.sources)) if i not in former.values()]
    kept = [old.sources[i] for i in stay]
    new = renamed(found, [source.name for source in kept])
    if not new and not any(source.joined for source in kept):
        raise LabelError(f"all inputs are on the map in {old.folder} already: nothing to update")
    _check_size([*kept, *new])
    frozen = FrozenMap(load_placement(old.folder)) if new else None
    if frozen is not None and by_density:
        neighbours = old.config.neighbours
        new = with_prominence(new, density_among(frozen.index, stacked(new)[0], neighbours))
    sources = [*(dataclasses.replace(source, joined=False) for source in kept), *new]
    embeddings, prominence = stacked(sources)
    start = [old.labels[i].direction for i in stay]
    unsure = [old.labels[i].angle_std for i in stay]
    held = [np.full(len(source.table), not source.joined) for source in kept]
    if frozen is not None:
        placed = frozen.place(*stacked(new))
        start.append(placed.direction)
        unsure.append(placed.angle_std)
        held.append(np.zeros(len(placed), bool))
    starts = np.concatenate(start)
    spreads = np.concatenate(unsure)
    holds = np.concatenate(held)
    begins = offsets(sources)[len(stay) :]
    for number, position in former.items():
        rows, before = _unchanged(new[number], old.labels[position])
        starts[begins[number] + rows] = old.labels[position].direction[before]
        spreads[begins[number] + rows] = old.labels[position].angle_std[before]
        holds[begins[number] + rows] = not old.sources[position].joined
    added = tuple(source.name for i, source in enumerate(new) if i not in former)
    replaced = tuple(source.name for i, source in enumerate(new) if i in former)
    shared = sharing(sources, embeddings)
    return _Plan(shared, embeddings, prominence, starts, spreads, holds, added, replaced)


def _former(old: OldMap, found: Sequence[Source]) -> dict[int, int]:
    """Which new source takes the place of which source of the map, by their file names.

    Raises LabelError for a name that several sources have.
    """
    by_name: dict[str, list[int]] = {}
    for i, source in enumerate(old.sources):
        by_name.setdefault(source.table.source.name, []).append(i)
    former: dict[int, int] = {}
    for number, source in enumerate(found):
        name = source.table.source.name
        same = by_name.get(name, [])
        if len(same) > 1 or (same and same[0] in former.values()):
            raise LabelError(
                f"{name} cannot be replaced: several sources have this name; update without"
                " --replace, or make a new map"
            )
        if same:
            former[number] = same[0]
    return former


def _unchanged(
    new: Source, before: Labels
) -> tuple[Int64[np.ndarray, " rows"], Int64[np.ndarray, " rows"]]:
    """Rows of a replaced document whose embedding it had before, and the rows these were.

    Of equal embeddings each is taken once, in order.
    """
    places: dict[bytes, list[int]] = {}
    for row, embedding in enumerate(before.embeddings):
        places.setdefault(embedding.tobytes(), []).append(row)
    pairs = [
        (row, places[key].pop(0))
        for row, key in enumerate(row.tobytes() for row in new.table.embeddings)
        if places.get(key)
    ]
    rows = np.asarray([row for row, _ in pairs], np.int64)
    return rows, np.asarray([there for _, there in pairs], np.int64)


def _check_size(sources: Sequence[Source]) -> None:
    points = sum(len(source.table) for source in sources)
    width = max((source.width for source in sources if len(source.table)), default=1)
    if points > most_fitted(width):
        raise LabelError(
            f"an update fits all of {points} points, and this machine's memory suits"
            f" {most_fitted(width)}; let new points join instead (sphere-ebm join)"
        )


def _run(
    old: OldMap,
    plan: _Plan,
    config: PlacementConfig,
    output: Path,
    how: dict[str, Any],
    overwrite: bool,
    progress: StageProgress | None,
    refused: Sequence[Refused],
) -> LabelRun:
    """Fit the plan and write its map, as `label` does."""
    points = Points(plan.embeddings, plan.prominence, plan.start, plan.unsure, plan.held)

    def fit(checkpoint: Path) -> Placement:
        if progress is not None:
            progress("neighbours", 0, 1)
            progress("steps", 0, 1)
        strength = how["strength"]
        return refit(points, config, strength=strength, progress=progress, checkpoint=checkpoint)

    with locked(output):
        planned = planned_files(plan.sources, PAGE in old.held["files"])
        claimed = claim(output, _map_id(old, plan, config, how), planned, overwrite)
        placement = fitted_placement(claimed, plan.embeddings, fit, joined=False)
        journal = claimed.take_over()
        forget_colours(journal, colour_of_map(how))
        before = journal.whole()
        written = _write(journal, old, plan, placement, how, before, progress)
        journal.close()
        follow_pyramid(output, old.folder)
    return LabelRun.of(output, journal.map_id, placement, written, plan.sources, before, refused)


def _write(
    journal: Journal,
    old: OldMap,
    plan: _Plan,
    placement: Placement,
    how: dict[str, Any],
    before: set[str],
    progress: StageProgress | None,
) -> Written:
    """Write all labels but those of `before`, and the summary."""
    with stage("quality", progress):
        quality = placement.quality()
    metadata = label_metadata(journal.map_id, placement, quality) | {"parent": old.map_id}
    told = [metadata] * len(plan.sources)
    write_all_labels(journal, plan.sources, placement, told, before, progress)
    regions = write_summary(
        journal,
        plan.sources,
        placement,
        MapPoints.of(placement),
        quality,
        before,
        progress,
        {"parent": _parent(old, plan, placement, how), **kept_in_map(columns_of_map(how))},
        page=PAGE in old.held["files"],
        colour_by=colour_of_map(how),
        recipe=_recipe(plan, placement.config, how),
    )
    named = {*plan.added, *plan.replaced}
    files = {s.table.source: journal.folder / s.name for s in plan.sources if s.name in named}
    return Written(files, len(placement), quality, regions)


def _map_id(old: OldMap, plan: _Plan, config: PlacementConfig, how: dict[str, Any]) -> str:
    """Identity of the new map: everything that its files are a function of."""
    content = {
        "format": MAP_FORMAT,
        "version": version("sphere-ebm"),
        "config": json.loads(config.to_json()),
        "parent": [old.map_id, _contents(old), [[s.name, s.digest] for s in old.sources]],
        "files": [[s.name, s.digest] for s in plan.sources],
        **how,
    }
    return identity({name: value for name, value in content.items() if name != COLOUR})


def _recipe(plan: _Plan, config: PlacementConfig, how: dict[str, Any]) -> dict[str, Any]:
    """The options of `sphere-ebm update` that the map's bytes depend on."""
    return {
        COMMAND: "update",
        "strength": how["strength"],
        "steps": config.steps,
        "replace": bool(plan.replaced),
        "pooling": how["pooling"],
        **column_options(columns_of_map(how)),
        COLOUR: colour_of_map(how),
    }


def _contents(old: OldMap) -> dict[str, str]:
    """The files that an update reads of the older map, with their hashes."""
    read = {PLACEMENT, *(source.name for source in old.sources)}
    return {name: digest for name, digest in old.held["files"].items() if name in read}


def _parent(old: OldMap, plan: _Plan, placement: Placement, how: dict[str, Any]) -> dict[str, Any]:
    """What `map.json` tells about the older map, and how far its points moved."""
    moved = degrees_moved(plan.start, placement.direction)[plan.held]
    return {
        "id": old.map_id,
        "added": list(plan.added),
        "replaced": list(plan.replaced),
        "strength": how["strength"],
        "held": int(plan.held.sum()),
        "moved_degrees": Drift.of(moved)._asdict() if len(moved) else None,
    }
