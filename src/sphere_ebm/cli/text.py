"""Subcommands that begin with text.

`ingest` (text to shards) and `map` (text to shards, labels and figure).
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from sphere_ebm.cli.around import add_asking, around_dict, print_around
from sphere_ebm.cli.ingested import ingest_summary, print_ingested
from sphere_ebm.cli.options import (
    add_columns,
    add_command,
    add_config_options,
    add_inputs,
    add_output,
    add_overwrite,
    add_page,
    columns_of,
    config_of,
)
from sphere_ebm.cli.output import (
    OK,
    PARTLY,
    PLAIN,
    print_run,
    printing,
    run_summary,
    say,
)
from sphere_ebm.cli.progress import following
from sphere_ebm.cli.text_options import Models, add_text_options, models_of, patching_of
from sphere_ebm.errors import LabelError, ShardError
from sphere_ebm.files.formats import MAP
from sphere_ebm.files.map_folder import read_map
from sphere_ebm.files.shards.own import KINDS, LENGTH_CORRECTED, NORM
from sphere_ebm.labelling.label import LabelRun, label
from sphere_ebm.labelling.passage import surroundings
from sphere_ebm.labelling.recipe import COMMAND
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.progress import StageProgress
from sphere_ebm.text.folder import MANIFEST, SHARDS, read_manifest
from sphere_ebm.text.ingest import IngestRun, ingest
from sphere_ebm.text.prominence import PROMINENCES

_INPUTS = (
    "Text, Markdown, source, HTML, PDF, .jsonl, .parquet and .csv files, folders (searched"
    " recursively), or globs."
)

_KEPT = (
    "column",
    "embedding_column",
    "id_column",
    "encoding",
    "max_bytes",
    "rule",
    "mean_length",
    "threshold",
    "rise",
    "max_patch_length",
    "forced_starts",
    "cut_characters",
    "entropy",
    "embedder",
    "prominence",
    "blt_model",
    "sentence_model",
)
"""Options that decide which shards a text becomes."""

_LISTS = ("include", "exclude", "keep")
"""Options that decide which texts are taken, and may be given several times."""


def add_text_commands(commands: Any) -> None:
    """Add `ingest` and `map` to the command's parser."""
    mapped = add_command(
        commands,
        "map",
        "[FILE ...] --output DIR",
        "the whole way: texts to shards, labels, a figure and a page",
        "Cut texts into patches, embed them, and place them on one sphere. Shards, labels, a"
        " figure and a page go into the output folder. A run that was stopped goes on with the"
        " same command.",
        [
            "data/texts --output map",
            "book.txt notes/ --output map --mean-length 64 --log map.log",
            "--output map --show-neighbours 'let there be light'",
        ],
    )
    add_inputs(mapped, "FILE", f"{_INPUTS} None are needed to ask a finished map.", "*")
    add_output(mapped, "Write the map into this folder.")
    add_overwrite(mapped, "what another run has left")
    add_page(mapped)
    add_asking(mapped)
    add_columns(mapped, text=False)
    kinds = dict.fromkeys((LENGTH_CORRECTED, *PROMINENCES, *KINDS))
    add_text_options(mapped, tuple(kinds))
    add_config_options(mapped)
    mapped.set_defaults(run=_map)

    ingested = add_command(
        commands,
        "ingest",
        "FILE [FILE ...] --output DIR",
        "cut texts into patches and write their shards",
        "Cut texts into patches, embed them, and write a shard for each file, for `label`.",
        ["texts/ --output shards", "rows.parquet --column body --output shards"],
    )
    add_inputs(ingested, "FILE", _INPUTS)
    add_output(ingested, "Write the shards into this folder.")
    add_overwrite(ingested, "what another run has left")
    add_columns(ingested, text=False)
    add_text_options(ingested)
    ingested.set_defaults(run=_ingest)


def _ingested(
    options: argparse.Namespace,
    below: str,
    prominence: str,
    models: Models,
    progress: StageProgress | None,
) -> IngestRun:
    """Shards in a folder below that of the output, or in the latter itself."""
    return ingest(
        options.inputs,
        options.output / below,
        patching=patching_of(options),
        mean_length=options.mean_length,
        entropy=models[0],
        embedder=models[1],
        column=options.column,
        encoding=options.encoding,
        max_bytes=options.max_bytes,
        prominence=prominence,
        include=options.include,
        exclude=options.exclude,
        id_column=options.id_column,
        keep=columns_of(options, None).colouring(options.colour_by).keep,
        overwrite=options.overwrite,
        keep_finished=os.path.lexists(options.output / MAP),
        not_searched=options.output,
        progress=progress,
    )


def _ingest(options: argparse.Namespace, errors: Console) -> int:
    try:
        models = models_of(options)
        with following(options, errors) as progress:
            kind = NORM if options.prominence is None else options.prominence
            run = _ingested(options, "", kind, models, progress)
    except (LabelError, ShardError):
        raise
    except ValueError as error:
        options.parser.error(str(error))
    _complain(run, errors)
    with printing():
        if options.json:
            print(json.dumps(ingest_summary(run), indent=1, sort_keys=True))
        elif not options.quiet:
            print_ingested(run)
            say(Console(**PLAIN), f"shards and {MANIFEST} are in {run.output}")
    return PARTLY if run.refused else OK


def _map(options: argparse.Namespace, errors: Console) -> int:
    if not options.inputs and options.show_neighbours is None:
        options.parser.error("FILE: name the texts, or ask a finished map with --show-neighbours")
    if options.show_neighbours is not None and not options.show_neighbours.strip():
        options.parser.error("--show-neighbours: give a passage to look for")
    summary: dict[str, Any] = {}
    code = _made(options, errors, summary) if options.inputs else OK
    if options.show_neighbours is not None:
        try:
            around = surroundings(
                options.output,
                options.show_neighbours,
                lambda: models_of(options)[1],
                count=options.count,
                rank=options.rank,
            )
        except (LabelError, ShardError):
            raise
        except ValueError as error:
            options.parser.error(str(error))
        summary["surroundings"] = around_dict(around)
        if not options.json:
            with printing():
                print_around(options.show_neighbours, around)
    if options.json:
        with printing():
            print(json.dumps(summary, indent=1, sort_keys=True))
    return code


def _made(options: argparse.Namespace, errors: Console, summary: dict[str, Any]) -> int:
    """Make the map, and fill its summary; returns the exit code.

    Tables whose embeddings are named are placed as they are, each row a point.
    """
    begun = time.perf_counter()
    config = config_of(options)
    rows = options.embedding_column is not None
    columns = columns_of(options, options.column if rows else None)
    kind = LENGTH_CORRECTED if options.prominence is None else options.prominence
    if not rows:
        # only what needs all patches is left to the map: shards hold everything else
        late = kind in KINDS and kind != NORM
        columns = replace(columns, prominence=kind if late else None)
        kind = NORM if late else kind
    if not (options.overwrite or rows):
        _refuse_another_map(options.output, config)
    with following(options, errors) as progress:
        try:
            run = None if rows else _ingested(options, SHARDS, kind, models_of(options), progress)
        except (LabelError, ShardError):
            raise
        except ValueError as error:
            options.parser.error(str(error))
        labels = label(
            options.inputs if run is None else run.files.values(),
            options.output,
            config,
            overwrite=options.overwrite,
            page=options.page,
            columns=columns,
            colour_by=options.colour_by,
            progress=progress,
            made_by=_recipe(options),
        )
    seconds = time.perf_counter() - begun
    summary |= run_summary(labels, seconds)
    if run is not None:
        _complain(run, errors)
        summary["ingest"] = ingest_summary(run)
    _complain(labels, errors)
    if not (options.json or options.quiet):
        with printing():
            if run is not None:
                print_ingested(run)
            print_run(labels, seconds)
    return PARTLY if labels.refused or (run is not None and run.refused) else OK


def _recipe(options: argparse.Namespace) -> dict[str, Any]:
    """The options that decide which map it is, for `config.toml`."""
    kept = {name: vars(options)[name] for name in _KEPT}
    lists = {name: vars(options)[name] or None for name in _LISTS}
    return {COMMAND: "map"} | lists | kept


def _refuse_another_map(folder: Path, config: PlacementConfig) -> None:
    """Refuse, before anything is written, a folder with a map that this run cannot continue.

    Raises LabelError.
    """
    if not os.path.lexists(folder / MAP):
        return
    same = read_map(folder)["config"] == json.loads(config.to_json())
    if not same or read_manifest(folder / SHARDS) is None:
        raise LabelError(
            f"{folder} holds another map; choose another --output, or replace it with --overwrite"
        )


def _complain(run: IngestRun | LabelRun, errors: Console) -> None:
    for warning in run.warnings:
        say(errors, f"warning: {warning}")
    for refused in run.refused:
        say(errors, f"refused: {refused.reason}")
