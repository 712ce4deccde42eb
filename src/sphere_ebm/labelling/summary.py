"""What a finished map says about itself.

`map.json`, the energy trace, the figure, the page, and quality from its label files.
"""

import csv
import importlib
import io
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int, Int32

from sphere_ebm.errors import one_line
from sphere_ebm.figures.page.region_names import Region
from sphere_ebm.files.atomic import atomic_write, sha256_of
from sphere_ebm.files.container import read_container
from sphere_ebm.files.formats import ENERGY, FIGURE, MAP, MAP_FORMAT, PAGE, PLACEMENT, RECIPE
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.shards.labels import Labels, read_labels
from sphere_ebm.geometry.shells import occupancy, radii_tell
from sphere_ebm.labelling.landmarks import choose_landmarks
from sphere_ebm.labelling.own_columns import classes_of, kept_columns, told_colour
from sphere_ebm.labelling.page import add_page, described
from sphere_ebm.labelling.recipe import COMMAND, write_recipe
from sphere_ebm.labelling.sources import Source, document_numbers
from sphere_ebm.maps.config import PlacementConfig, shells_of
from sphere_ebm.maps.placement import Placement
from sphere_ebm.progress import StageProgress, stage
from sphere_ebm.quality.report import QualityReport, measure_quality
from sphere_ebm.quality.trust import better_than_chance

QUALITY_BYTES = 2_000_000_000
"""Embeddings that quality is measured with at once, the same on every machine."""


class MapPoints(NamedTuple):
    """Where all points of a map lie."""

    direction: Float32[np.ndarray, "points 3"]
    radius: Float32[np.ndarray, " points"]
    shell: Int32[np.ndarray, " points"]
    kept_p_value: Float32[np.ndarray, " points"] | None
    """None where some label file lacks it."""

    @classmethod
    def of(cls, found: Placement | Labels) -> "MapPoints":
        """Those of a placement or a label file."""
        return cls(found.direction, found.radius, found.shell, found.kept_p_value)


def measured_points(
    files: Iterable[Path], config: PlacementConfig
) -> tuple[MapPoints, QualityReport]:
    """All points of a map and its quality, from the label files alone.

    They are read one at a time.

    Where their embeddings take more than `QUALITY_BYTES`, quality is that of as many points as do
    not, drawn at random.
    """
    shapes = {file: _embeddings_shape(file) for file in files}
    files = [file for file, (rows, _) in shapes.items() if rows] or list(shapes)[:1]
    counts = [shapes[file][0] for file in files]
    most = QUALITY_BYTES // (4 * shapes[files[0]][1])
    everything = [np.arange(count) for count in counts]
    measured = choose_landmarks(counts, most, config.seed) if sum(counts) > most else everything
    points, columns = _read(files, measured)
    embeddings, prominence, direction, radius, shell, copies = columns
    quality = measure_quality(
        embeddings,
        direction,
        radius=radius,
        prominence=prominence,
        shell=shell,
        shells=shells_of(config),
        kept_p_value=points.kept_p_value,
        copies=copies,
        order=config.radius_order,
        seed=config.seed,
    )
    return points, quality


def _read(
    files: Sequence[Path], rows: Sequence[Int[np.ndarray, " _"]]
) -> tuple[MapPoints, list[np.ndarray]]:
    """All points, and what is measured of some rows of each file: embeddings first, copies last."""
    places = []
    samples = []
    for file, chosen in zip(files, rows, strict=True):
        part = read_labels(file)
        places.append(MapPoints.of(part))
        columns = (part.embeddings, part.prominence, part.direction, part.radius, part.shell)
        copies = np.ones(len(part), np.int32) if part.copies is None else part.copies
        samples.append([column[chosen] for column in (*columns, copies)])
    return _together(places), [np.concatenate(c) for c in zip(*samples, strict=True)]


def _together(parts: Sequence[MapPoints]) -> MapPoints:
    known = [part.kept_p_value for part in parts if part.kept_p_value is not None]
    return MapPoints(
        np.concatenate([part.direction for part in parts]),
        np.concatenate([part.radius for part in parts]),
        np.concatenate([part.shell for part in parts]),
        np.concatenate(known) if len(known) == len(parts) else None,
    )


def _embeddings_shape(file: Path) -> tuple[int, int]:
    """Points and width of a label file, from its header.

    What is wrong with it comes out when it is read.
    """
    tensor = read_container(file).tensors.get("embeddings")
    return (
        (tensor.shape[0], max(tensor.shape[1], 1))
        if tensor is not None and len(tensor.shape) == 2
        else (0, 1)
    )


def final_energy(placement: Placement) -> dict[str, float]:
    """Energy of each term at the end of the run."""
    return {name: float(values[-1]) for name, values in placement.energy.items()}


def write_summary(
    journal: Journal,
    sources: Sequence[Source],
    placement: Placement,
    points: MapPoints,
    quality: QualityReport,
    finished: set[str],
    progress: StageProgress | None,
    about: Mapping[str, Any] | None = None,
    *,
    page: bool = True,
    colour_by: str | None = None,
    recipe: Mapping[str, Any] | None = None,
) -> list[Region]:
    """Options, energy trace, figure, page and, last of all, `map.json`; returns names of regions.

    `about` is what `map.json` is to say of the map besides. The figure and the page are coloured by
    `colour_by`, a column of the label files; None: by document. `recipe` is the command that makes
    the map, and its options; None: they stay as they are.
    """
    folder = journal.folder
    if recipe is not None:
        write_recipe(journal, recipe)
    if ENERGY not in finished:
        rows = io.StringIO()
        writer = csv.writer(rows, lineterminator="\n")
        writer.writerow(["step", *placement.energy])
        writer.writerows(
            zip(
                placement.step.tolist(),
                *(v.tolist() for v in placement.energy.values()),
                strict=True,
            )
        )
        atomic_write(folder / ENERGY, lambda file: file.write(rows.getvalue().encode()))
        journal.record(ENERGY, sha256_of(folder / ENERGY))
    if FIGURE not in finished:
        with stage("figure", progress):
            _draw(folder / FIGURE, sources, placement, points, quality, colour_by)
            journal.record(FIGURE, sha256_of(folder / FIGURE))
    regions = add_page(journal, [source.name for source in sources], page, progress, colour_by)
    content = _map_content(journal, sources, placement, points, quality) | dict(about or {})
    content |= told_colour(colour_by)
    content |= {} if recipe is None else {COMMAND: recipe[COMMAND]}
    content["regions"] = described(regions)
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    atomic_write(folder / MAP, lambda file: file.write(text.encode()))
    return regions


def _map_content(
    journal: Journal,
    sources: Sequence[Source],
    placement: Placement,
    points: MapPoints,
    quality: QualityReport,
) -> dict[str, Any]:
    """What `map.json` holds."""
    shells = placement.shells
    sure = placement.certainty
    return {
        "format": MAP_FORMAT,
        "id": journal.map_id,
        "version": version("sphere-ebm"),
        "config": json.loads(placement.config.to_json()),
        "points": len(points.radius),
        "fitted": len(placement),
        **({} if placement.copies is None else {"places": placement.places}),
        "steps": int(placement.step[-1]) if placement.step.size else 0,
        "converged": placement.converged,
        "energy": final_energy(placement),
        "quality": quality.to_dict(),
        "certainty": None if sure is None else sure._asdict(),
        "shells": {
            "radius": shells.radius.tolist(),
            "capacity": shells.capacity.tolist(),
            "occupancy": occupancy(points.shell, shells).tolist(),
        },
        "sources": [
            {
                "file": s.table.source.name,
                **({} if s.table.text_file is None else {"text": one_line(s.table.text_file)}),
                "sha256": s.digest,
                "labels": s.name,
                "patches": len(s.table),
                **({"joined": True} if s.joined else {}),
            }
            for s in sources
        ],
        "files": {
            name: journal.finished[name]
            for name in (*(s.name for s in sources), PLACEMENT, ENERGY, FIGURE, PAGE, RECIPE)
            if name in journal.finished
        },
    }


def _draw(
    path: Path,
    sources: Sequence[Source],
    placement: Placement,
    points: MapPoints,
    quality: QualityReport,
    colour_by: str | None,
) -> None:
    from sphere_ebm.figures.map import save_figure

    names = [name for s in sources for name in s.table.named_documents]
    title = (
        f"{len(names)} documents on one sphere" if len(names) > 1 else "One document on a sphere"
    )
    group = document_numbers(sources)
    if colour_by is not None:
        files = [path.parent / source.name for source in sources]
        group, names = classes_of(kept_columns(files)[colour_by])
    p_value = points.kept_p_value
    chance = None if p_value is None or not len(p_value) else ~better_than_chance(p_value)
    # the figure divides by the number of points it draws; the energy is that of the fitted ones
    share = len(points.radius) / max(placement.places, 1)
    figure = draw_map(
        points.direction,
        points.radius,
        document=group,
        document_names=names,
        shell=points.shell,
        shells=placement.shells,
        radius_tells=radii_tell(placement.prominence),
        chance=chance,
        energy={name: values * share for name, values in placement.energy.items()},
        steps=placement.step,
        quality={f"recall@{k}": v for k, v in quality.recall.items()}
        | {f"trustworthiness@{k}": v for k, v in list(quality.trustworthiness.items())[:1]}
        | ({} if chance is None else {"no better than chance": float(chance.mean())}),
        title=title,
        groups_are="documents" if colour_by is None else f"classes of {colour_by}",
    )
    save_figure(figure, path)


def expect_figure() -> None:
    """Import matplotlib in a thread, which takes as long as to draw, while the processors compute.

    What goes wrong there is raised where the figure is drawn.
    """

    def imported() -> None:
        with suppress(Exception):
            importlib.import_module("sphere_ebm.figures.map")

    threading.Thread(target=imported, daemon=True).start()


def draw_map(*given: Any, **named: Any) -> Any:
    """`plot_map`; matplotlib is imported when the first figure is expected, or drawn."""
    from sphere_ebm.figures.map import plot_map

    return plot_map(*given, **named)
