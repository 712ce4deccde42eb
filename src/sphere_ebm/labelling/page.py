"""The page of a map's folder: `map.html`, and the names of regions in `map.json`."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sphere_ebm.errors import LabelError
from sphere_ebm.figures.page import PagePoints, Region, named_regions, points_of_labels, write_page
from sphere_ebm.files.atomic import atomic_write
from sphere_ebm.files.folders import locked
from sphere_ebm.files.formats import MAP, PAGE
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.map_folder import label_files, read_map
from sphere_ebm.files.shards.own import OwnColumn
from sphere_ebm.labelling.own_columns import colour_of_map, joined_column
from sphere_ebm.progress import StageProgress, stage

MOST_REGIONS = 64
"""Names of regions in `map.json`; the page holds all of them."""


def add_page(
    journal: Journal,
    names: Sequence[str],
    page: bool,
    progress: StageProgress | None = None,
    colour_by: str | None = None,
) -> list[Region]:
    """Name the regions of a map whose label files are finished, and write its page if asked to.

    A page that the journal has under its hash stays. Whoever writes a map's folder calls this
    before `map.json` is written, where `PAGE` is among the files that the journal knows.

    Args:
        journal: of the folder that is written.
        names: of the label files, in the order of the map.
        page: whether to write `map.html`.
        progress: called as progress("page", done, total).
        colour_by: the column of the label files that points are coloured by at first.
    """
    due = page and not journal.holds(PAGE)
    with stage("page", progress):
        points = points_of_labels([journal.folder / name for name in names], neighbours=due)
        points = dataclasses.replace(points, colour_by=colour_by)
        regions = named_regions(points)
        if due:
            path = journal.folder / PAGE
            journal.record(PAGE, write_page(path, points, title=title_of(points), regions=regions))
    return regions


def page_of_folder(folder: Path | str, columns: Mapping[str, Sequence[Path]] | None = None) -> Path:
    """Write the page of a finished map, and tell `map.json` of it; returns the page's path.

    Args:
        folder: of the map.
        columns: what to colour points by, the first of it when the page opens: names of columns,
            and for each the files that hold it, whose rows one after another are the map's points;
            no files for a column that the map has kept. None: as the map is coloured.

    Raises:
        LabelError: there is no finished map, another run works there, or a `map.html` that is not
            the map's own is in the way.
        ShardError: a label file is missing or damaged, or a column does not suit the map.
        MissingPackageError: a column is in Parquet, and pyarrow is not installed.
        OSError: the page cannot be written.
    """
    folder = Path(folder)
    read_map(folder)
    with locked(folder):
        held = read_map(folder)
        path = folder / PAGE
        if path.exists() and PAGE not in held["files"]:
            raise LabelError(f"{path} is in the way; move it away, and repeat the command")
        points = points_of_labels(label_files(folder, held))
        own = {
            name: joined_column(name, paths, len(points)) if paths else _kept(folder, points, name)
            for name, paths in (columns or {}).items()
        }
        colour_by = next(iter(own), colour_of_map(held))
        points = dataclasses.replace(points, own=points.own | own, colour_by=colour_by)
        regions = named_regions(points)
        held["files"][PAGE] = write_page(path, points, title=title_of(points), regions=regions)
        held["regions"] = described(regions)
        text = json.dumps(held, indent=1, sort_keys=True, allow_nan=False) + "\n"
        atomic_write(folder / MAP, lambda file: file.write(text.encode()))
    return path


def _kept(folder: Path, points: PagePoints, name: str) -> OwnColumn:
    """A column that the map has kept. Raises LabelError for one that it has not."""
    if name not in points.own:
        there = f"it has kept {', '.join(points.own)}" if points.own else "it has kept none"
        raise LabelError(
            f"the map in {folder} has no column {name!r} ({there}); name the files that hold it"
        )
    return points.own[name]


def title_of(points: PagePoints) -> str:
    """What stands over the map, on the page as on the figure."""
    count = len(points.documents)
    return f"{count} documents on one sphere" if count > 1 else "One document on a sphere"


def described(regions: Sequence[Region]) -> list[dict[str, Any]]:
    """The coarsest and most populous regions, as `map.json` tells them."""
    return [
        {
            "name": region.name,
            "level": region.level,
            "direction": [round(c, 6) for c in region.direction],
            "points": region.points,
        }
        for region in regions[:MOST_REGIONS]
    ]
