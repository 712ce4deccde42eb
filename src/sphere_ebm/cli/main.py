"""The command `sphere-ebm`: parses, calls the library, prints. Nothing else."""

import argparse
import errno
import json
import os
import shlex
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sphere_ebm import __version__
from sphere_ebm.cli.ask import add_ask
from sphere_ebm.cli.entry import log_the_end
from sphere_ebm.cli.finished import add_finished_commands
from sphere_ebm.cli.judging import add_evaluate
from sphere_ebm.cli.librarian import add_librarian_commands
from sphere_ebm.cli.living import add_living_commands
from sphere_ebm.cli.options import (
    add_columns,
    add_command,
    add_config_options,
    add_inputs,
    add_joining,
    add_output,
    add_overwrite,
    add_page,
    add_pooling,
    add_prominence,
    add_report,
    columns_of,
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
    escape_unknown_characters,
    print_run,
    printing,
    run_summary,
    say,
)
from sphere_ebm.cli.parser import CommandParser, parse
from sphere_ebm.cli.progress import Logbook, errors_and_log, following
from sphere_ebm.cli.readers import add_readers
from sphere_ebm.cli.sequence import add_sequence
from sphere_ebm.cli.text import add_text_commands
from sphere_ebm.errors import (
    LabelError,
    MissingPackageError,
    NonFiniteEnergyError,
    ShardError,
    one_line,
)
from sphere_ebm.files.shards.own import KINDS
from sphere_ebm.heuristics.compare import METHODS
from sphere_ebm.labelling.compare import COMPARISON_FIGURE, COMPARISON_TABLE, compare_shards
from sphere_ebm.labelling.engines import make_engine
from sphere_ebm.labelling.label import label
from sphere_ebm.maps.sweeps import SWEEPS

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    escape_unknown_characters()
    typed = sys.argv[1:] if arguments is None else list(arguments)
    options = parse(*_parser(), typed)
    options.logbook = _logbook(options)
    if options.logbook is None:
        return _ended(options, Console(stderr=True, **PLAIN))
    with closing(options.logbook) as logbook:
        logbook.write(f"sphere-ebm {one_line(shlex.join(typed))}")
        code = _ended(options, errors_and_log(logbook))
        logbook.write(f"ended with exit code {code}")
        log_the_end(None)
    return code


def _logbook(options: argparse.Namespace) -> Logbook | None:
    """The log that is asked for; it hears of an interruption, too."""
    if options.log is None:
        return None
    try:
        logbook = Logbook(options.log)
    except OSError as error:
        options.parser.error(f"--log: {options.log} cannot be written ({error.strerror})")
    log_the_end(logbook.fileno())
    return logbook


def _ended(options: argparse.Namespace, errors: Console) -> int:
    """Run the command to whatever end; returns the exit code."""
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


def _parser() -> tuple[CommandParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and that of each command by its name."""
    parser = CommandParser(
        prog="sphere-ebm",
        description="Maps of embeddings on a sphere.",
        epilog="sphere-ebm COMMAND --help explains a command.",
    )
    parser.add_argument(
        "--version",
        action="version",
        version=f"sphere-ebm {__version__}",
        help="Print the version and end.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", title="commands")
    add_text_commands(commands)
    _add_label(commands)
    add_living_commands(commands)
    add_ask(commands)
    add_evaluate(commands)
    add_librarian_commands(commands)
    add_finished_commands(commands)
    add_readers(commands)
    _add_compare(commands)
    add_sequence(commands)
    return parser, dict(commands.choices)


def _add_label(commands: Any) -> None:
    labels = add_command(
        commands,
        "label",
        "INPUT [INPUT ...] --output DIR",
        "place shards on one sphere and write their labels",
        "Place the points of all shards on one sphere, and write labels, a figure and a page"
        " into the output folder. A run that was stopped goes on with the same command.",
        [
            "data --output labels",
            "'in/*.safetensors' --output labels --steps 400 --seed 1",
            "huge --output labels --landmarks 50000 --jobs 4 --log log",
            "data --config labels/config.toml --output again",
            "books.parquet --keep year --colour-by genre --output labels",
        ],
    )
    add_inputs(labels, "INPUT", "Shard files, folders (searched recursively), or globs.")
    add_output(labels, "Write the map into this folder.")
    add_overwrite(labels)
    add_page(labels)
    shards = labels.add_argument_group("shards")
    add_pooling(shards)
    add_prominence(shards, KINDS, "what is stored as `prominence`, else norm")
    shards.add_argument(
        "--sidecar-edges",
        action="store_true",
        help="Add the edges of *.hypergraph.db sidecars to the lateral graph.",
    )
    add_columns(labels)
    _add_landmarks(labels)
    add_report(labels)
    add_config_options(labels)
    labels.set_defaults(run=_label)


def _add_landmarks(labels: argparse.ArgumentParser) -> None:
    many = add_joining(labels, "more points than fit at once")
    many.add_argument(
        "--landmarks",
        type=int,
        metavar="N",
        help=(
            "Fit at most N points, drawn from all shards, and let the others find their places"
            " around them. [as many as suit the machine's memory]"
        ),
    )
    many.add_argument(
        "--sweeps",
        type=int,
        default=SWEEPS,
        metavar="N",
        help=(
            "Where there are landmarks, move all points N times, block by block; with 0 the others"
            f" join the landmarks' map, which does not move. [{SWEEPS}]"
        ),
    )


def _add_compare(commands: Any) -> None:
    compared = add_command(
        commands,
        "compare",
        "INPUT [INPUT ...] --output DIR",
        "place the same shards by heuristics and by Langevin dynamics, and measure all",
        "Place the same shards by every heuristic and by Langevin dynamics, measure all of them"
        " alike, and write a table and a figure into the output folder.",
        ["data/luke.safetensors --output comparison"],
    )
    add_inputs(compared, "INPUT", "Shard files, folders (searched recursively), or globs.")
    add_output(compared, "Write table and figure into this folder.")
    compared.add_argument(
        "--methods",
        metavar="NAME,...",
        help=f"Compare these alone, of {', '.join(METHODS)}. [all]",
    )
    add_pooling(compared)
    add_report(compared, "table")
    add_config_options(compared, {"start"})
    compared.set_defaults(run=_compare)


def _label(options: argparse.Namespace, errors: Console) -> int:
    config = config_of(options)
    try:
        engine = make_engine(options.engine, options.jobs, options.ray_address)
        if options.landmarks is not None and options.landmarks < 1:
            raise ValueError(f"`landmarks` must be at least 1; got {options.landmarks}.")
        if options.sweeps < 0:
            raise ValueError(f"`sweeps` must be at least 0; got {options.sweeps}.")
    except (ValueError, MissingPackageError) as error:
        options.parser.error(str(error))
    begun = time.perf_counter()
    with following(options, errors) as progress:
        run = label(
            options.inputs,
            options.output,
            config,
            pooling=options.pooling,
            sidecar_edges=options.sidecar_edges,
            overwrite=options.overwrite,
            landmarks=options.landmarks,
            sweeps=options.sweeps,
            engine=engine,
            page=options.page,
            columns=columns_of(options, options.text_column),
            colour_by=options.colour_by,
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
    with following(options, errors) as progress:
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
