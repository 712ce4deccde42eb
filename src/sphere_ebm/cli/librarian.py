"""Subcommands of students: `train` teaches one the labels of a map, `predict` asks it."""

import argparse
import json
import math
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sphere_ebm.cli.options import add_command, add_output, add_overwrite, add_report
from sphere_ebm.cli.output import OK, PLAIN, printing, say
from sphere_ebm.cli.progress import following, working
from sphere_ebm.errors import LabelError, ShardError
from sphere_ebm.geometry.sphere import angles
from sphere_ebm.librarian.config import CONTEXTS, SIZES, STUDENTS, LibrarianConfig
from sphere_ebm.librarian.heads import Predicted
from sphere_ebm.librarian.librarian import Found, Librarian
from sphere_ebm.librarian.texts import ReadText, cut, cut_files
from sphere_ebm.librarian.train import TrainRun, train
from sphere_ebm.librarian.windows import passages_of, stacked

_STDIN = "-"
_SHOWN = 60  # characters of a passage


def add_librarian_commands(commands: Any) -> None:
    """Add `train` and `predict` to the command's parser."""
    _add_train(commands)
    _add_predict(commands)


def _add_train(commands: Any) -> None:
    trained = add_command(
        commands,
        "train",
        "LABELS --output DIR",
        "teach a student the labels of a map",
        "Teach a student to say from bytes where on a map they belong. A run that was stopped goes"
        " on with the same command.",
        [
            "labels --output student",
            "labels --output student --more new-shards --student direct",
        ],
    )
    trained.add_argument("labels", type=Path, metavar="LABELS", help="Folder of a finished map.")
    add_output(trained, "Write the student into this folder.")
    add_overwrite(trained, "another student")
    _add_choices(trained.add_argument_group("student"))
    _add_training(trained.add_argument_group("training"))
    add_report(trained)
    trained.set_defaults(run=_train)


def _add_predict(commands: Any) -> None:
    asked = add_command(
        commands,
        "predict",
        "DIR TEXT|FILE|- [...]",
        "where on the map texts belong, as a student says",
        "Print where texts belong on the map that a student was taught, and how surely. A file is"
        " cut into patches, each of which gets a place; so is what comes from standard input (-).",
        [
            "student 'let there be light'",
            "student book.txt --map labels --json",
            "student 'let there be light' --map labels --neighbours 5",
        ],
    )
    asked.add_argument("folder", type=Path, metavar="DIR", help="Folder of a student.")
    asked.add_argument(
        "inputs", nargs="+", metavar="TEXT", help="Passages, files, folders, or - once."
    )
    asked.add_argument(
        "--map",
        type=Path,
        metavar="LABELS",
        help="Let passages join this map, which the student was taught.",
    )
    asked.add_argument(
        "--neighbours",
        type=int,
        default=0,
        metavar="N",
        help="Print so many patches of the map around each passage, with --map. [0]",
    )
    asked.add_argument(
        "--last", action="store_true", help="Ask the student after its last step, not the best."
    )
    add_report(asked, "predictions")
    asked.set_defaults(run=_predict)


def _add_choices(group: Any) -> None:
    usual = LibrarianConfig()
    group.add_argument(
        "--student", choices=STUDENTS, default=usual.student, help=f"Which one. [{usual.student}]"
    )
    group.add_argument(
        "--size", choices=SIZES, default=usual.size, help=f"Of cone and conv. [{usual.size}]"
    )
    group.add_argument(
        "--context",
        type=int,
        choices=CONTEXTS,
        default=usual.context,
        help=f"Patches on either side that it sees a part of. [{usual.context}]",
    )
    group.add_argument(
        "--seed", type=int, default=usual.seed, metavar="N", help=f"Of all draws. [{usual.seed}]"
    )


def _add_training(group: Any) -> None:
    usual = LibrarianConfig()
    group.add_argument(
        "--more",
        nargs="+",
        default=[],
        metavar="SHARDS",
        help="Shards that join the map first, to learn from them too.",
    )
    group.add_argument(
        "--held-out",
        nargs="+",
        default=[],
        metavar="DOCUMENT",
        help="Judge on these documents (names, or patterns with *), not on a share of them.",
    )
    for name, kind, text in (
        ("validation", float, "Share of the documents that is held out."),
        ("epochs", int, "The texts are read so often, at most."),
        ("batch", int, "Patches in a batch."),
        ("accumulate", int, "Batches that make one step."),
        ("rows", int, "N-grams that are known."),
        ("patience", int, "Evaluations without a gain that end it."),
        ("evaluate_every", int, "Steps between evaluations; 0: an epoch."),
        ("save_every", int, "Steps between checkpoints; 0: an epoch."),
    ):
        default = vars(usual)[name]
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=kind,
            default=default,
            metavar="N" if kind is int else "SHARE",
            help=f"{text} [{default}]",
        )


def _config(options: argparse.Namespace) -> LibrarianConfig:
    """The configuration that the options ask for; ends the program for a wrong one."""
    names = [name for name in vars(LibrarianConfig()) if name in options]
    try:
        return LibrarianConfig(**{name: vars(options)[name] for name in names})
    except ValueError as error:
        parser: argparse.ArgumentParser = options.parser
        parser.error(str(error))


def _train(options: argparse.Namespace, errors: Console) -> int:
    config = _config(options)
    begun = time.perf_counter()
    with following(options, errors) as progress:
        run = train(
            options.labels,
            options.output,
            config,
            more=options.more,
            held_out=options.held_out,
            overwrite=options.overwrite,
            progress=progress,
        )
    seconds = time.perf_counter() - begun
    with printing():
        if options.json:
            print(json.dumps(_run_dict(run, seconds), indent=1, sort_keys=True))
        elif not options.quiet:
            _print_run(run, config, seconds)
    return OK


def _run_dict(run: TrainRun, seconds: float) -> dict[str, Any]:
    return {
        "output": str(run.output),
        "steps": run.steps,
        "best_step": run.best_step,
        "train": run.train,
        "validation": run.validation,
        "metrics": list(run.metrics),
        "kept": run.kept,
        "seconds": round(seconds, 3),
    }


def _print_run(run: TrainRun, config: LibrarianConfig, seconds: float) -> None:
    best = next(line for line in run.metrics if line["step"] == run.best_step)
    table = Table(title=f"student {config.student}", show_header=False)
    table.add_row("patches, to learn from", f"{run.train:,}")
    table.add_row("patches, to judge on", f"{run.validation:,}")
    kept = " (finished before)" if run.kept else ""
    table.add_row("batches, of the best student", f"{run.steps:,}, {run.best_step:,}{kept}")
    table.add_row("cosine of embeddings", f"{best['cosine']:.3f}")
    table.add_row("bits about the cell", f"{best['bits']:.2f}")
    table.add_row("angle of the cell, median", f"{best['angle']:.1f}°")
    table.add_row("shells off, mean", f"{best['shell']:.2f}")
    table.add_row("seconds", f"{seconds:.1f}")
    console = Console(**PLAIN)
    console.print(table)
    say(console, f"the student and its metrics are in {run.output}")


def _predict(options: argparse.Namespace, errors: Console) -> int:
    if options.neighbours < 0:
        options.parser.error(f"--neighbours: must be at least 0; got {options.neighbours}")
    if options.neighbours and options.map is None:
        options.parser.error("--neighbours: needs the map, by --map LABELS")
    if options.inputs.count(_STDIN) > 1:
        options.parser.error("-: standard input can be read once")
    try:
        with working("predict", options, errors):
            librarian = Librarian.load(options.folder, last=options.last)
            if options.map is not None:
                librarian = librarian.with_map(options.map)
            texts = [text for given in options.inputs for text in _texts(given)]
            passages = stacked([text.passages for text in texts])
            predicted = librarian.predict_in(passages)
            around = _around(librarian, predicted, options.neighbours)
    except (LabelError, ShardError):
        raise
    except ValueError as error:
        options.parser.error(str(error))
    rows = _rows(texts, predicted, around)
    with printing():
        if options.json:
            print(json.dumps({"passages": rows}, indent=1, sort_keys=True))
        elif not options.quiet:
            _print_rows(rows)
    return OK


def _texts(given: str) -> list[ReadText]:
    """What an input stands for: standard input, the texts of files, or a passage itself."""
    if given == _STDIN:
        octets = np.frombuffer(sys.stdin.buffer.read(), np.uint8)
        return [ReadText("standard input", cut(octets))]
    if os.path.lexists(given):
        return cut_files([given])
    return [ReadText("", passages_of([given]))]


def _around(
    librarian: Librarian, predicted: Predicted, count: int
) -> list[tuple[Found, ...]] | None:
    if not count:
        return None
    return [librarian.around(place, count) for place in predicted.direction]


def _rows(
    texts: list[ReadText], predicted: Predicted, around: list[tuple[Found, ...]] | None
) -> list[dict[str, Any]]:
    """An object for each patch."""
    theta, phi = angles(predicted.direction)
    rows: list[dict[str, Any]] = []
    for text in texts:
        held = text.passages
        for first, last, low in zip(held.first, held.last, held.low, strict=True):
            number = len(rows)
            row: dict[str, Any] = {
                "document": text.name,
                "start": int(first - low),
                "text": held.octets[first:last].tobytes().decode("utf-8", "replace"),
                "theta": float(theta[number]),
                "phi": float(phi[number]),
                "radius": float(predicted.radius[number]),
                "shell": int(predicted.shell[number]),
                "spread": float(predicted.spread[number]),
                "confidence": float(predicted.confidence[number]),
                "modes": predicted.modes[number].tolist(),
                "mode_weight": predicted.mode_weight[number].tolist(),
            }
            if around is not None:
                row["neighbours"] = [_found_dict(one) for one in around[number]]
            rows.append(row)
    return rows


def _found_dict(one: Found) -> dict[str, Any]:
    return {
        "degrees": math.degrees(one.angle),
        "document": one.document,
        "start": one.start,
        "text": one.patch.decode("utf-8", "replace"),
    }


def _print_rows(rows: list[dict[str, Any]]) -> None:
    """A line for each patch, and one for each patch of the map around it."""
    console = Console(**PLAIN)
    say(console, "theta     phi  radius  error  sure  text")
    for row in rows:
        place = f"{math.degrees(row['theta']):5.1f}° {math.degrees(row['phi']):6.1f}°"
        sure = f"{math.degrees(row['spread']):5.1f}° {row['confidence']:5.2f}"
        say(console, f"{place} {row['radius']:6.1f} {sure}  {_short(row['text'])}")
        for one in row.get("neighbours", ()):
            told = f"{one['document']}, byte {one['start']:,}"
            say(console, f"    {one['degrees']:5.1f}°  {told}: {_short(one['text'])}")


def _short(text: str) -> str:
    plain = re.sub(r"\s+", " ", text).strip()
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 3]}..."
