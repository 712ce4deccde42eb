"""Subcommands that make something more of a finished map: `page` and `export`."""

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from sphere_ebm.cli.output import OK, PLAIN, say
from sphere_ebm.files.formats import PAGE
from sphere_ebm.labelling.export import EXPORT_FORMATS, export_map
from sphere_ebm.labelling.page import page_of_folder


def add_finished_commands(commands: Any) -> None:
    """Add `page` and `export` to the command's parser."""
    page = commands.add_parser(
        "page", help=f"write {PAGE} into the folder of a finished map, to explore in a browser"
    )
    page.add_argument("folder", type=Path, metavar="DIR")
    page.add_argument(
        "--colour-by",
        nargs="+",
        action="append",
        default=[],
        metavar=("COLUMN", "FILE"),
        help=(
            "a column of numbers to colour points by, and the .parquet, .csv, .npz or .safetensors"
            " files that hold it, in the order of the map; may be repeated"
        ),
    )
    page.add_argument("--json", action="store_true", help="print one JSON object")
    page.set_defaults(run=_page, parser=page)

    export = commands.add_parser("export", help="write a finished map as one table for other tools")
    export.add_argument("folder", type=Path, metavar="DIR")
    export.add_argument("--to", choices=EXPORT_FORMATS, default="parquet", help="[parquet]")
    export.add_argument(
        "--output", "-o", type=Path, required=True, metavar="FILE", help="file to write"
    )
    export.add_argument("--embeddings", action="store_true", help="with the embeddings, in Parquet")
    export.add_argument("--json", action="store_true", help="print one JSON object")
    export.set_defaults(run=_export, parser=export)


def _page(options: argparse.Namespace, errors: Console) -> int:
    if any(len(given) < 2 for given in options.colour_by):
        options.parser.error("--colour-by: name the column, then the files that hold it")
    columns = {name: [Path(file) for file in files] for name, *files in options.colour_by}
    path = page_of_folder(options.folder, columns)
    if options.json:
        print(json.dumps({"page": str(path), "bytes": path.stat().st_size}, indent=1))
    else:
        say(Console(**PLAIN), f"{path}: open it in a browser")
    return OK


def _export(options: argparse.Namespace, errors: Console) -> int:
    if options.embeddings and options.to != "parquet":
        options.parser.error("--embeddings: only --to parquet holds them")
    points = export_map(options.folder, options.output, options.to, embeddings=options.embeddings)
    size = options.output.stat().st_size
    if options.json:
        told = {"file": str(options.output), "points": points, "bytes": size}
        print(json.dumps(told, indent=1))
    else:
        say(Console(**PLAIN), f"{options.output}: {points:,} points, {size:,} bytes")
    return OK
