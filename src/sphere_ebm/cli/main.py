"""The command `sphere-ebm`: parses, calls the library, prints. Nothing else."""

import argparse
import errno
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sphere_ebm import __version__
from sphere_ebm.cli.ask import add_ask
from sphere_ebm.cli.finished import add_finished_commands
from sphere_ebm.cli.living import add_living_commands
from sphere_ebm.cli.options import (
    add_config_options,
    add_inputs,
    add_output,
    add_page,
    add_pooling,
    add_report,
    config_of,
)
from sphere_ebm.cli.output import (
    INTERRUPTED,
    NOTHING,
    OK,
    PARTLY,
    PLAIN,
    UNREAD,
    UnprintedError,
    add_quality,
    escape_unknown_characters,
    label_facts,
    print_run,
    printing,
    progress_bars,
    run_summary,
    say,
)
from sphere_ebm.cli.text import add_text_commands
from sphere_ebm.errors import (
    LabelError,
    MissingPackageError,
    NonFiniteEnergyError,
    ShardError,
    one_line,
)
from sphere_ebm.files.shards.layouts import LABEL_FORMAT, PLACEMENT_FORMAT
from sphere_ebm.files.shards.summary import ShardSummary, inspect_shard
from sphere_ebm.heuristics.compare import METHODS
from sphere_ebm.labelling.compare import COMPARISON_FIGURE, COMPARISON_TABLE, compare_shards
from sphere_ebm.labelling.engines import ENGINES, make_engine
from sphere_ebm.labelling.label import label, measure_map

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
# Columns of `compare`: heading, measure, decimals; narrow enough for eighty characters.
_COMPARED = (
    ("grav.", "energy gravity", 2),
    ("lat.", "energy lateral", 2),
    ("osm.", "energy osmotic", 2),
    ("H", "energy", 2),
    ("r@15", "recall@15", 3),
    ("r@50", "recall@50", 3),
    ("trust", "trustworthiness@15", 3),
    ("shells", "shell deviation", 3),
    ("rho", "prominence rho", 3),
    ("s", "seconds", 1),
)

_EXIT_CODES = (
    "exit codes: 0 all labelled; 1 nobody read the output; 2 wrong usage; 3 nothing could be"
    " labelled; 4 some inputs were refused (all others are labelled); 130 interrupted (the same"
    " command continues)."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    escape_unknown_characters()
    parser = _parser()
    options = parser.parse_args(arguments)
    errors = Console(stderr=True, **PLAIN)
    try:
        return _run(options, errors)
    except KeyboardInterrupt:
        say(errors, "sphere-ebm: interrupted; the same command continues where it stopped")
        return INTERRUPTED
    except BrokenPipeError:
        return _unread()
    except UnprintedError as error:
        say(errors, f"sphere-ebm: standard output cannot be written ({error}), files can")
        return _unread()


def _run(options: argparse.Namespace, errors: Console) -> int:
    try:
        return int(options.run(options, errors))
    except BrokenPipeError:
        raise
    except (LabelError, ShardError, NonFiniteEnergyError, MissingPackageError, OSError) as error:
        with printing():
            return _failed(error, options, errors)


def _unread() -> int:
    """What the interpreter still flushes at its end goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return UNREAD


def _failed(error: Exception, options: argparse.Namespace, errors: Console) -> int:
    """Say why nothing was done.

    A line each on standard error, and one object on standard output with --json.
    """
    refused = error.refused if isinstance(error, LabelError) else ()
    text = (
        _cannot_write(options.output, error)
        if isinstance(error, OSError) and vars(options).get("output") is not None
        else str(error)
    )
    for one in refused:
        say(errors, f"refused: {one.reason}")
    say(errors, f"sphere-ebm: {text}")
    if options.json:
        print(
            json.dumps(
                {"error": text, "refused": {str(one.source): one.reason for one in refused}},
                indent=1,
            )
        )
    return NOTHING


def _cannot_write(folder: Path, error: OSError) -> str:
    cure = "check the folder and repeat the command"
    if error.errno in _FULL:
        cure = "make room and repeat the command: what is finished is kept"
    elif error.errno in _FORBIDDEN:
        cure = "make it writable, or choose another --output"
    elif error.errno in (errno.EEXIST, errno.ENOTDIR):
        cure = "choose another --output"
    return f"cannot write into {folder} ({error.strerror or error}); {cure}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sphere-ebm", description="Maps of embeddings on a sphere.", epilog=_EXIT_CODES
    )
    parser.add_argument("--version", action="version", version=f"sphere-ebm {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_label(commands)
    add_living_commands(commands, _EXIT_CODES)
    _add_compare(commands)
    add_text_commands(commands, _EXIT_CODES)
    add_ask(commands)
    _add_readers(commands)
    add_finished_commands(commands)
    return parser


def _add_label(commands: Any) -> None:
    labels = commands.add_parser(
        "label", help="place shards on one sphere and write their labels", epilog=_EXIT_CODES
    )
    add_inputs(labels, "INPUT", "shard files, folders (searched recursively), globs")
    add_output(labels, "folder for the labels")
    add_pooling(labels)
    labels.add_argument(
        "--sidecar-edges", action="store_true", help="add the edges of *.hypergraph.db sidecars"
    )
    labels.add_argument(
        "--landmarks",
        type=int,
        metavar="N",
        help=(
            "fit at most N points, drawn from all shards, and let the others join their map shard"
            " by shard [as many as suit the machine's memory]"
        ),
    )
    labels.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="shards that join at a time [1]"
    )
    labels.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="where shards join: here, or on Ray [local]",
    )
    labels.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="of a Ray cluster that runs already [one of its own]",
    )
    labels.add_argument(
        "--overwrite", action="store_true", help="replace another map in the output folder"
    )
    add_page(labels)
    add_report(labels)
    add_config_options(labels.add_argument_group("configuration of the placement"))
    labels.set_defaults(run=_label, parser=labels)


def _add_compare(commands: Any) -> None:
    compared = commands.add_parser(
        "compare",
        help="place the same shards by heuristics and by Langevin, and measure all",
        epilog=_EXIT_CODES,
    )
    add_inputs(compared, "INPUT", "shard files, folders (recursive), globs")
    add_output(compared, "folder for table and figure")
    compared.add_argument(
        "--methods", metavar="NAME,...", help=f"of: {', '.join(METHODS)}; default: all"
    )
    add_pooling(compared)
    add_report(compared, "table")
    add_config_options(
        compared.add_argument_group("configuration of Hamiltonian, shells and Langevin runs"),
        {"start"},
    )
    compared.set_defaults(run=_compare, parser=compared)


def _add_readers(commands: Any) -> None:
    """Add the commands that write nothing."""
    inspect = commands.add_parser("inspect", help="what is in a shard or label file")
    inspect.add_argument("file", type=Path, metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="print one JSON object")
    inspect.set_defaults(run=_inspect)

    quality = commands.add_parser(
        "quality", help="check the files of a finished map and measure it again"
    )
    quality.add_argument("folder", type=Path, metavar="DIR")
    quality.add_argument("--json", action="store_true", help="print one JSON object")
    quality.set_defaults(run=_quality)


def _label(options: argparse.Namespace, errors: Console) -> int:
    config = config_of(options)
    try:
        engine = make_engine(options.engine, options.jobs, options.ray_address)
        if options.landmarks is not None and options.landmarks < 1:
            raise ValueError(f"`landmarks` must be at least 1; got {options.landmarks}.")
    except (ValueError, MissingPackageError) as error:
        options.parser.error(str(error))
    begun = time.perf_counter()
    with progress_bars(not (options.quiet or options.json)) as progress:
        run = label(
            options.inputs,
            options.output,
            config,
            pooling=options.pooling,
            sidecar_edges=options.sidecar_edges,
            overwrite=options.overwrite,
            landmarks=options.landmarks,
            engine=engine,
            page=options.page,
            progress=progress,
        )
    seconds = time.perf_counter() - begun
    for warning in run.warnings:
        say(errors, f"warning: {warning}")
    for refused in run.refused:
        say(errors, f"refused: {refused.reason}")
    with printing():
        if options.json:
            print(json.dumps(run_summary(run, seconds), indent=1, sort_keys=True))
        elif not options.quiet:
            print_run(run, seconds)
    return PARTLY if run.refused else OK


def _compare(options: argparse.Namespace, errors: Console) -> int:
    config = config_of(options)
    methods = (
        None if options.methods is None else [name.strip() for name in options.methods.split(",")]
    )
    unknown = [name for name in methods or () if name not in METHODS]
    if unknown:
        options.parser.error(
            f"--methods: no {', '.join(map(repr, unknown))}; choose of {', '.join(METHODS)}"
        )
    with progress_bars(not (options.quiet or options.json)) as progress:
        done = compare_shards(
            options.inputs,
            options.output,
            config,
            methods=methods,
            pooling=options.pooling,
            progress=progress,
        )
    for refused in done.refused:
        say(errors, f"refused: {refused.reason}")
    rows = {one.method: one.row() for one in done.compared}
    with printing():
        if options.json:
            reasons = {str(one.source): one.reason for one in done.refused}
            print(json.dumps({"methods": rows, "refused": reasons}, indent=1))
        elif not options.quiet:
            _print_comparison(rows, done.points)
            files = f"{COMPARISON_TABLE} and {COMPARISON_FIGURE}"
            say(Console(**PLAIN), f"{files} are in {options.output}")
    return PARTLY if done.refused else OK


def _print_comparison(rows: dict[str, dict[str, float]], points: int) -> None:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("method", no_wrap=True)
    for heading, _, _ in _COMPARED:
        table.add_column(heading, justify="right", no_wrap=True)
    for method, row in rows.items():
        table.add_row(
            method,
            *(_short(row[name], digits) if name in row else "" for _, name, digits in _COMPARED),
        )
    say(
        Console(**PLAIN),
        f"{points:,} points; energies per point; shells: mean of |count - capacity| / capacity",
    )
    Console(**PLAIN).print(table)


def _short(value: float, digits: int) -> str:
    """At most six characters: with `digits` decimals, with none, or in powers of ten."""
    texts = [f"{value:.{digits}f}", f"{value:.0f}"]
    return next((text for text in texts if len(text) <= 6), f"{value:.0e}")


def _inspect(options: argparse.Namespace, errors: Console) -> int:
    summary = inspect_shard(options.file)
    with printing():
        if options.json:
            print(json.dumps(_summary_dict(summary), indent=1))
        else:
            _print_summary(summary)
    return OK if summary.problem is None else NOTHING


def _summary_dict(summary: ShardSummary) -> dict[str, Any]:
    return {
        "file": str(summary.path),
        "layout": summary.layout,
        "patches": summary.patches,
        "width": summary.dim,
        "documents": list(summary.documents),
        "tensors": {
            info.name: {"dtype": info.dtype, "shape": list(info.shape)} for info in summary.tensors
        },
        "metadata": summary.metadata,
        "warnings": list(summary.warnings),
        "problem": None if summary.problem is None else str(summary.problem),
    } | label_facts(summary.labels)


def _print_summary(summary: ShardSummary) -> None:
    console = Console(**PLAIN)
    own = {LABEL_FORMAT: "labels, format ", PLACEMENT_FORMAT: "a placement, format "}
    kind = own.get(summary.layout or "", "layout ")
    say(console, f"{summary.path}: {kind}{summary.layout or 'unknown'}")
    if summary.patches is not None:
        facts = [f"{summary.patches:,} patches"]
        facts += [] if summary.dim is None else [f"width {summary.dim}"]
        facts += [f"documents: {', '.join(summary.documents)}"] if summary.documents else []
        say(console, ", ".join(facts))
    told = label_facts(summary.labels)
    ranges = told.get("columns", {})
    table = Table("tensor", "dtype", "shape", *(["least, median, greatest"] if ranges else []))
    for info in summary.tensors:
        shape = " x ".join(map(str, info.shape)) or "scalar"
        numbers = ", ".join(f"{value:.4g}" for value in ranges.get(info.name, {}).values())
        cells = [one_line(info.name), one_line(info.dtype), shape, *([numbers] if ranges else [])]
        table.add_row(*cells)
    console.print(table)
    if "chance_share" in told:
        say(console, f"points no better than chance: {told['chance_share']:.1%}")
    for key, value in sorted(summary.metadata.items()):
        say(console, f"{key}: {value if len(value) <= 120 else value[:117] + '...'}")
    for warning in summary.warnings:
        say(console, f"warning: {warning}")
    if summary.problem is not None:
        say(console, f"cannot be used: {summary.problem}")


def _quality(options: argparse.Namespace, errors: Console) -> int:
    report = measure_map(options.folder)
    with printing():
        if options.json:
            print(json.dumps(report.to_dict(), indent=1, sort_keys=True))
            return OK
        table = Table(title=one_line(str(options.folder)), show_header=False)
        table.add_row("points", f"{report.points:,}")
        add_quality(table, report)
        Console(**PLAIN).print(table)
    return OK
