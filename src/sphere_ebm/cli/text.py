"""Subcommands that begin with text.

`ingest` (text to shards) and `map` (text to shards, labels and figure).
"""

import argparse
import json
import math
import os
import re
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sphere_ebm.cli.options import (
    add_config_options,
    add_inputs,
    add_output,
    add_page,
    add_report,
    config_of,
)
from sphere_ebm.cli.output import (
    OK,
    PARTLY,
    PLAIN,
    print_run,
    printing,
    progress_bars,
    run_summary,
    say,
)
from sphere_ebm.errors import LabelError, ShardError
from sphere_ebm.files.formats import MAP
from sphere_ebm.files.map_folder import read_map
from sphere_ebm.labelling.label import LabelRun, label
from sphere_ebm.labelling.passage import Neighbour, Surroundings, surroundings
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.progress import StageProgress
from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel
from sphere_ebm.text.documents import MAX_BYTES
from sphere_ebm.text.folder import MANIFEST, SHARDS, read_manifest
from sphere_ebm.text.ingest import MEAN_LENGTH, IngestRun, ingest
from sphere_ebm.text.models import EMBEDDERS, ENTROPY_MODELS, make_models
from sphere_ebm.text.patching import RULES, Patching

_INPUTS = "text, Markdown, source, .jsonl and .parquet files, folders (searched recursively), globs"
_SHOWN = 90  # characters of a neighbour's text

Models = tuple[AbstractEntropyModel, AbstractEmbedder]


def add_text_commands(commands: Any, exit_codes: str) -> None:
    """Add `ingest` and `map` to the command's parser."""
    ingested = commands.add_parser(
        "ingest", help="cut texts into patches, write their shards", epilog=exit_codes
    )
    add_inputs(ingested, "FILE", _INPUTS)
    add_output(ingested, "folder for the shards")
    _add_common_options(ingested)
    ingested.set_defaults(run=_ingest, parser=ingested)

    mapped = commands.add_parser(
        "map", help="the whole way: texts to shards, labels and a figure", epilog=exit_codes
    )
    add_inputs(mapped, "FILE", f"{_INPUTS}; none: ask a map that is there already", "*")
    add_output(mapped, "folder for labels and figure")
    mapped.add_argument(
        "--show-neighbours", metavar="TEXT", help="print what lies around this passage on the map"
    )
    add_page(mapped)
    _add_common_options(mapped)
    add_config_options(mapped.add_argument_group("configuration of the placement"))
    mapped.set_defaults(run=_map, parser=mapped)


def _add_common_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what another run has left in the folder"
    )
    add_report(parser)
    _add_reading(parser.add_argument_group("texts"))
    _add_cutting(parser.add_argument_group("patches"))
    add_models(parser.add_argument_group("models"))


def _add_reading(texts: Any) -> None:
    texts.add_argument(
        "--column", metavar="NAME", help="text column of .jsonl and .parquet [text, else content]"
    )
    texts.add_argument(
        "--encoding", default="utf-8", metavar="NAME", help="of text and .jsonl files [utf-8]"
    )
    texts.add_argument(
        "--max-bytes",
        type=int,
        default=MAX_BYTES,
        metavar="N",
        help=f"of text in one file [{MAX_BYTES}]",
    )


def _add_cutting(cuts: Any) -> None:
    cuts.add_argument(
        "--rule", choices=RULES, default="monotonic", help="where a patch starts [monotonic]"
    )
    cuts.add_argument(
        "--mean-length",
        type=float,
        default=MEAN_LENGTH,
        metavar="BYTES",
        help=f"of a file's patches [{MEAN_LENGTH:g}]",
    )
    cuts.add_argument(
        "--threshold", type=float, metavar="NATS", help="of the rule, instead of a mean length"
    )
    cuts.add_argument(
        "--rise", type=float, metavar="NATS", help="the second threshold of the rule both [0]"
    )
    cuts.add_argument(
        "--max-patch-length",
        type=int,
        default=384,
        metavar="BYTES",
        help="longer patches are split; 0: never [384]",
    )
    cuts.add_argument(
        "--forced-starts", action="store_true", help="always start at bytes 1 (and 2), as BLT does"
    )
    cuts.add_argument(
        "--cut-characters", action="store_true", help="let patches begin inside UTF-8 characters"
    )


def add_models(models: Any) -> None:
    """Options that name the models of uncertainty and of meaning."""
    models.add_argument(
        "--entropy", choices=ENTROPY_MODELS, default="bytes", help="of the next byte [bytes]"
    )
    models.add_argument(
        "--embedder", choices=EMBEDDERS, default="static", help="of patches [static]"
    )
    models.add_argument(
        "--blt-model", metavar="PATH", help="folder or hub name of facebook/blt-entropy, for blt"
    )
    models.add_argument(
        "--sentence-model", metavar="PATH", help="folder or hub name, for sentences"
    )


def _patching(options: argparse.Namespace) -> Patching:
    rise = 0.0 if options.rule == "both" and options.rise is None else options.rise
    return Patching(
        options.rule,
        options.threshold,
        rise,
        options.max_patch_length or None,
        utf8_safe=not options.cut_characters,
        forced_starts=options.forced_starts,
    )


def _models(options: argparse.Namespace) -> Models:
    return make_models(
        options.entropy,
        options.embedder,
        blt_model=options.blt_model,
        sentence_model=options.sentence_model,
    )


def make_embedder(options: argparse.Namespace) -> AbstractEmbedder:
    """The embedder that the options of `add_models` name."""
    return _models(options)[1]


def _ingested(
    options: argparse.Namespace,
    output: Path,
    models: Models,
    progress: StageProgress | None,
) -> IngestRun:
    return ingest(
        options.inputs,
        output,
        patching=_patching(options),
        mean_length=options.mean_length,
        entropy=models[0],
        embedder=models[1],
        column=options.column,
        encoding=options.encoding,
        max_bytes=options.max_bytes,
        overwrite=options.overwrite,
        keep_finished=os.path.lexists(options.output / MAP),
        not_searched=options.output,
        progress=progress,
    )


def _ingest(options: argparse.Namespace, errors: Console) -> int:
    try:
        models = _models(options)
        with progress_bars(not (options.quiet or options.json)) as progress:
            run = _ingested(options, options.output, models, progress)
    except (LabelError, ShardError):
        raise
    except ValueError as error:
        options.parser.error(str(error))
    _complain(run, errors)
    with printing():
        if options.json:
            print(json.dumps(_summary(run), indent=1, sort_keys=True))
        elif not options.quiet:
            _print_ingested(run)
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
                options.output, options.show_neighbours, lambda: _models(options)[1]
            )
        except (LabelError, ShardError):
            raise
        except ValueError as error:
            options.parser.error(str(error))
        summary["surroundings"] = _around_dict(around)
        if not options.json:
            with printing():
                _print_around(options.show_neighbours, around)
    if options.json:
        with printing():
            print(json.dumps(summary, indent=1, sort_keys=True))
    return code


def _made(options: argparse.Namespace, errors: Console, summary: dict[str, Any]) -> int:
    """Make the map, and fill its summary; returns the exit code."""
    begun = time.perf_counter()
    config = config_of(options)
    if not options.overwrite:
        _refuse_another_map(options.output, config)
    with progress_bars(not (options.quiet or options.json)) as progress:
        try:
            run = _ingested(options, options.output / SHARDS, _models(options), progress)
        except (LabelError, ShardError):
            raise
        except ValueError as error:
            options.parser.error(str(error))
        labels = label(
            run.files.values(),
            options.output,
            config,
            overwrite=options.overwrite,
            page=options.page,
            progress=progress,
        )
    seconds = time.perf_counter() - begun
    _complain(run, errors)
    _complain(labels, errors)
    summary |= {**run_summary(labels, seconds), "ingest": _summary(run)}
    if not (options.json or options.quiet):
        with printing():
            _print_ingested(run)
            print_run(labels, seconds)
    return PARTLY if run.refused or labels.refused else OK


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


def _summary(run: IngestRun) -> dict[str, Any]:
    return {
        "output": str(run.output),
        "shards": {str(source): str(path) for source, path in run.files.items()},
        "statistics": run.statistics.to_dict(),
        "bits_per_byte": run.bits_per_byte,
        "refused": {str(refused.source): refused.reason for refused in run.refused},
        "warnings": list(run.warnings),
        "kept": run.kept,
    }


def _print_ingested(run: IngestRun) -> None:
    found = run.statistics
    table = Table(title="patches", show_header=False)
    kept = f" ({run.kept} finished files kept)" if run.kept else ""
    table.add_row(
        "patches", f"{found.patches:,} of {found.bytes:,} bytes in {_files(len(run.files))}{kept}"
    )
    table.add_row(
        "mean length",
        f"{found.mean:.1f} bytes, median {found.p50:.0f}, 95 % at most {found.p95:.0f}",
    )
    table.add_row(
        "by bytes", ", ".join(f"{name}: {count:,}" for name, count in found.size_classes.items())
    )
    table.add_row("myelination ratio", f"{found.myelination_ratio:.3f}")
    names = {"model": "this model", "bzip2": "bzip2", "xz": "xz"}
    bits = ", ".join(f"{names[name]} {value:.2f}" for name, value in run.bits_per_byte.items())
    table.add_row("bits per byte", bits)
    Console(**PLAIN).print(table)


def _files(count: int) -> str:
    return f"{count:,} file" if count == 1 else f"{count:,} files"


def _around_dict(around: Surroundings) -> dict[str, Any]:
    return {
        "direction": [float(x) for x in around.direction],
        "found": None if around.found is None else _neighbour_dict(around.found),
        "neighbours": [_neighbour_dict(one) for one in around.neighbours],
    }


def _neighbour_dict(one: Neighbour) -> dict[str, Any]:
    text = one.patch.decode("utf-8", "replace")
    return {
        "degrees": math.degrees(one.angle),
        "document": one.document,
        "start": one.start,
        "text": text,
    }


def _print_around(passage: str, around: Surroundings) -> None:
    """A line for each neighbour.

    Degrees, document, first byte, and the patch in brackets with what surrounds it.
    """
    console = Console(**PLAIN)
    place = (
        "placed as a newcomer"
        if around.found is None
        else f"{around.found.document}, byte {around.found.start:,}"
    )
    asked = passage if len(passage) <= _SHOWN else f"{passage[:_SHOWN]}..."
    say(console, f"around {asked!r} ({place}):")
    stems = max((len(one.document) for one in around.neighbours), default=0)
    starts = max((len(f"{one.start:,}") for one in around.neighbours), default=0)
    for one in around.neighbours:
        where = f"{one.document:{stems}} {one.start:{starts},}"
        say(console, f"{math.degrees(one.angle):6.2f}°  {where}  {_excerpt(one)}")


def _excerpt(one: Neighbour) -> str:
    """The patch in brackets with what surrounds it, white space single.

    `_SHOWN` characters in all.
    """
    texts = (part.decode("utf-8", "ignore") for part in (one.before, one.patch, one.after))
    before, patch, after = (re.sub(r"\s+", " ", text) for text in texts)
    room = (_SHOWN - min(len(patch), _SHOWN // 2)) // 2
    patch, after = (patch, after) if len(patch) <= _SHOWN // 2 else (f"{patch[: _SHOWN // 2]}…", "")
    return f"{before[-room:]:>{room}}[{patch}]{after[:room]}"
