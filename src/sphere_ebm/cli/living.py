"""Subcommands for a map that is there: `join`, `update` and `register`."""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sphere_ebm.cli.options import (
    add_columns,
    add_command,
    add_inputs,
    add_joining,
    add_output,
    add_overwrite,
    add_pooling,
    add_report,
    columns_or_none,
)
from sphere_ebm.cli.output import OK, PARTLY, PLAIN, add_quality, say
from sphere_ebm.cli.progress import following
from sphere_ebm.errors import MissingPackageError, one_line
from sphere_ebm.labelling.adding import JoinRun, join_map
from sphere_ebm.labelling.engines import make_engine
from sphere_ebm.labelling.registering import Registration, register_map
from sphere_ebm.labelling.updating import UpdateRun, update_map
from sphere_ebm.maps.anchors import STRENGTH
from sphere_ebm.maps.growth import Drift

_INPUTS = "Shard files, folders (searched recursively), or globs."


def add_living_commands(commands: Any) -> None:
    """Add `join`, `update` and `register` to the command's parser."""
    joined = add_command(
        commands,
        "join",
        "MAP INPUT [INPUT ...]",
        "place new shards on a finished map, which does not move",
        "Place new shards on a finished map, which does not move: their label files appear"
        " beside those that are there. Inputs that are on the map already are passed over.",
        ["labels new.safetensors", "labels more/ --jobs 4"],
    )
    joined.add_argument("map", type=Path, metavar="MAP", help="Folder of the map.")
    add_inputs(joined, "INPUT", _INPUTS)
    add_pooling(joined)
    add_columns(joined)
    add_joining(joined, "where shards join")
    add_report(joined)
    joined.set_defaults(run=_join)
    _add_update(commands)
    _add_register(commands)


def _add_update(commands: Any) -> None:
    updated = add_command(
        commands,
        "update",
        "MAP [INPUT ...] --output DIR",
        "a new map of an older one and new shards; old points all but keep their places",
        "Fit the points of a finished map and those of new shards together, into a new folder."
        " Old points are anchored where they are, and the summary tells how far they moved."
        " Without inputs, points that joined the older map are fitted.",
        ["labels new.safetensors --output grown", "labels edited/ --replace --output grown"],
    )
    updated.add_argument(
        "map", type=Path, metavar="MAP", help="Folder of the older map, which is only read."
    )
    add_inputs(updated, "INPUT", _INPUTS, "*")
    add_output(updated, "Write the new map into this folder.")
    add_overwrite(updated)
    fit = updated.add_argument_group("fit")
    fit.add_argument(
        "--strength",
        type=float,
        default=STRENGTH,
        metavar="LAMBDA",
        help="How firmly old points are anchored: more moves them less, and makes less room."
        f" [{STRENGTH:g}]",
    )
    fit.add_argument(
        "--steps",
        type=int,
        metavar="N",
        help="The fit takes at most so many steps. [as many as the older map's]",
    )
    fit.add_argument(
        "--replace",
        action="store_true",
        help="An input with the name of a source on the map takes its place: it has changed.",
    )
    add_pooling(fit)
    add_columns(updated)
    add_report(updated)
    updated.set_defaults(run=_update)


def _add_register(commands: Any) -> None:
    registered = add_command(
        commands,
        "register",
        "MAP ONTO",
        "turn or reflect a map onto an older one of the same shards",
        "Find the rotation or reflection that brings a map best onto an older one, and tell how"
        " far the points that both hold lie apart in it. With --output the turned map is written.",
        ["fresh labels", "fresh labels --output turned"],
    )
    registered.add_argument("map", type=Path, metavar="MAP", help="Folder of the map to turn.")
    registered.add_argument("onto", type=Path, metavar="ONTO", help="Folder of the older map.")
    registered.add_argument(
        "--output", "-o", type=Path, metavar="DIR", help="Write the turned map into this folder."
    )
    add_overwrite(registered)
    add_report(registered)
    registered.set_defaults(run=_register)


def _join(options: argparse.Namespace, errors: Console) -> int:
    try:
        engine = make_engine(options.engine, options.jobs, options.ray_address)
    except (ValueError, MissingPackageError) as error:
        options.parser.error(str(error))
    with following(options, errors) as progress:
        run = join_map(
            options.map,
            options.inputs,
            pooling=options.pooling,
            engine=engine,
            columns=columns_or_none(options),
            colour_by=options.colour_by,
            progress=progress,
        )
    _say_problems(run.warnings, run.refused, errors)
    if options.json:
        print(json.dumps(_join_summary(run), indent=1, sort_keys=True))
    elif not options.quiet:
        table = Table(title=f"map {run.map_id[:8]}", show_header=False)
        table.add_row("joined", f"{run.added:,} points in {len(run.files)} files")
        if run.present:
            table.add_row("on the map already", f"{len(run.present)} inputs")
        table.add_row("points", f"{run.points:,}")
        add_quality(table, run.quality)
        Console(**PLAIN).print(table)
        say(Console(**PLAIN), f"labels of what joined are in {run.folder}")
    return PARTLY if run.refused else OK


def _join_summary(run: JoinRun) -> dict[str, Any]:
    return {
        "map": run.map_id,
        "output": str(run.folder),
        "joined": run.added,
        "points": run.points,
        "present": [str(path) for path in run.present],
        "labels": {str(source): str(path) for source, path in run.files.items()},
        "quality": run.quality.to_dict(),
        "refused": {str(refused.source): refused.reason for refused in run.refused},
        "warnings": list(run.warnings),
    }


def _update(options: argparse.Namespace, errors: Console) -> int:
    if not (math.isfinite(options.strength) and options.strength >= 0):
        options.parser.error(f"--strength must be a number >= 0; got {options.strength}")
    if options.steps is not None and options.steps < 0:
        options.parser.error(f"--steps must be at least 0; got {options.steps}")
    begun = time.perf_counter()
    with following(options, errors) as progress:
        done = update_map(
            options.map,
            options.inputs,
            options.output,
            strength=options.strength,
            replace=options.replace,
            steps=options.steps,
            pooling=options.pooling,
            columns=columns_or_none(options),
            colour_by=options.colour_by,
            overwrite=options.overwrite,
            progress=progress,
        )
    seconds = time.perf_counter() - begun
    _say_problems(done.run.warnings, done.run.refused, errors)
    if options.json:
        print(json.dumps(_update_summary(done, seconds), indent=1, sort_keys=True))
    elif not options.quiet:
        _print_update(done, seconds)
    return PARTLY if done.run.refused else OK


def _update_summary(done: UpdateRun, seconds: float) -> dict[str, Any]:
    run = done.run
    return {
        "map": run.map_id,
        "parent": done.parent,
        "output": str(run.output),
        "points": run.points,
        "added": list(done.added),
        "replaced": list(done.replaced),
        "present": [str(path) for path in done.present],
        "moved_degrees": _drift(done.drift),
        "moved_by_document": {name: _drift(one) for name, one in done.by_document.items()},
        "moved_most": [one._asdict() for one in done.farthest],
        "quality": run.quality.to_dict(),
        "labels": {str(source): str(path) for source, path in run.files.items()},
        "refused": {str(refused.source): refused.reason for refused in run.refused},
        "warnings": list(run.warnings),
        "kept": run.kept,
        "seconds": round(seconds, 3),
    }


def _drift(drift: Drift) -> dict[str, float] | None:
    """JSON knows no nan: None where no point was held."""
    return None if math.isnan(drift.median) else drift._asdict()


def _print_update(done: UpdateRun, seconds: float) -> None:
    run = done.run
    console = Console(**PLAIN)
    table = Table(title=f"map {run.map_id[:8]}, grown from {done.parent[:8]}", show_header=False)
    table.add_row("points", f"{run.points:,}")
    table.add_row("files added, replaced", f"{len(done.added)}, {len(done.replaced)}")
    if done.present:
        table.add_row("on the map already", f"{len(done.present)} inputs")
    add_quality(table, run.quality)
    table.add_row("seconds", f"{seconds:.1f}")
    console.print(table)
    moved = Table(title="how far old points moved, degrees")
    for heading in ("document", "median", "p90"):
        moved.add_column(heading, justify="left" if heading == "document" else "right")
    for name, drift in [("all", done.drift), *done.by_document.items()]:
        if not math.isnan(drift.median):
            moved.add_row(one_line(name), f"{drift.median:.2f}", f"{drift.p90:.2f}")
    console.print(moved)
    most = ", ".join(f"{one.document} {one.patch} ({one.degrees:.1f}°)" for one in done.farthest)
    say(console, f"moved most (document, patch): {most or 'nothing was held'}")
    say(console, f"labels, map.json and the figure are in {run.output}")


def _register(options: argparse.Namespace, errors: Console) -> int:
    with following(options, errors) as progress:
        done = register_map(
            options.map,
            options.onto,
            options.output,
            overwrite=options.overwrite,
            progress=progress,
        )
    if options.json:
        print(json.dumps(_register_summary(done), indent=1, sort_keys=True))
    elif not options.quiet:
        console = Console(**PLAIN)
        kind = "rotated and reflected" if done.reflected else "rotated"
        say(console, f"{done.shared:,} shared points; the map is {kind} onto the older one")
        for when, drift in (("before", done.before), ("after", done.residual)):
            text = f"{drift.median:.2f}° in the median, {drift.p90:.2f}° at p90"
            say(console, f"apart {when}: {text}")
        if done.output is not None:
            say(console, f"the turned map is in {done.output}")
    return OK


def _register_summary(done: Registration) -> dict[str, Any]:
    return {
        "frame": done.frame.tolist(),
        "reflected": done.reflected,
        "shared": done.shared,
        "apart_degrees": done.residual._asdict(),
        "apart_before_degrees": done.before._asdict(),
        "output": None if done.output is None else str(done.output),
    }


def _say_problems(warnings: Any, refused: Any, errors: Console) -> None:
    for warning in warnings:
        say(errors, f"warning: {warning}")
    for one in refused:
        say(errors, f"refused: {one.reason}")
