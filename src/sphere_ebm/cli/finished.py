"""Subcommands that make something more of a finished map: `page` and `export`."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from sphere_ebm.cli.options import add_command, add_report
from sphere_ebm.cli.output import OK, PLAIN, say
from sphere_ebm.cli.progress import working
from sphere_ebm.files.formats import PAGE
from sphere_ebm.labelling.export import EXPORT_FORMATS, export_map
from sphere_ebm.labelling.page import page_of_folder


def add_finished_commands(commands: Any) -> None:
    """Add `page` and `export` to the command's parser."""
    page = add_command(
        commands,
        "page",
        "DIR",
        f"write {PAGE} into the folder of a finished map, to explore in a browser",
        f"Write {PAGE} into the folder of a finished map, to explore in a browser.",
        ["labels", "labels --colour-by genre", "labels --colour-by year years.csv"],
    )
    page.add_argument("folder", type=Path, metavar="DIR", help="Folder of the map.")
    page.add_argument(
        "--colour-by",
        nargs="+",
        action="append",
        default=[],
        metavar=("COLUMN", "FILE"),
        help=(
            "Colour points by a column of numbers or words: one that the map has kept, or of these"
            " .parquet, .csv, .tsv, .jsonl, .npz or .safetensors files, in the order of the map."
            " May be repeated."
        ),
    )
    add_report(page)
    page.set_defaults(run=_page)

    export = add_command(
        commands,
        "export",
        "DIR --output FILE",
        "write a finished map as one table for other tools",
        "Write a finished map as one table, a row per point, for other tools.",
        ["labels --output points.parquet", "labels --to csv --output points.csv"],
    )
    export.add_argument("folder", type=Path, metavar="DIR", help="Folder of the map.")
    export.add_argument(
        "--to", choices=EXPORT_FORMATS, default="parquet", help="Write this format. [parquet]"
    )
    export.add_argument(
        "--output", "-o", type=Path, required=True, metavar="FILE", help="Write this file."
    )
    export.add_argument(
        "--embeddings", action="store_true", help="Add the embeddings, in Parquet alone."
    )
    add_report(export)
    export.set_defaults(run=_export)


def _page(options: argparse.Namespace, errors: Console) -> int:
    columns = {name: [Path(file) for file in files] for name, *files in options.colour_by}
    with working("page", options, errors):
        path = page_of_folder(options.folder, columns)
    if options.json:
        print(json.dumps({"page": str(path), "bytes": path.stat().st_size}, indent=1))
    elif not options.quiet:
        say(Console(**PLAIN), f"{path}: open it in a browser")
    return OK


def _export(options: argparse.Namespace, errors: Console) -> int:
    if options.embeddings and options.to != "parquet":
        options.parser.error("--embeddings: only --to parquet holds them")
    with working("export", options, errors):
        points = export_map(
            options.folder, options.output, options.to, embeddings=options.embeddings
        )
    size = options.output.stat().st_size
    if options.json:
        told = {"file": str(options.output), "points": points, "bytes": size}
        print(json.dumps(told, indent=1))
    elif not options.quiet:
        say(Console(**PLAIN), f"{options.output}: {points:,} points, {size:,} bytes")
    return OK
