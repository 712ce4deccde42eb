"""The subcommand `evaluate`: how well a student has learned the labels, and its model card."""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from sphere_ebm.cli.options import add_command, add_report
from sphere_ebm.cli.output import OK, PLAIN, printing, say
from sphere_ebm.cli.progress import following
from sphere_ebm.librarian.card import findings, write_card
from sphere_ebm.librarian.evaluate import evaluate
from sphere_ebm.librarian.librarian import Librarian
from sphere_ebm.librarian.report import FIGURES, Report, as_json, shown
from sphere_ebm.librarian.rivals import NAMES
from sphere_ebm.librarian.split import Split

# Headings of the printed table, narrow enough for eighty characters.
_PRINTED = {
    "median_angle": "angle",
    "near": "<11.5°",
    "top": "top 1%",
    "bits": "bits",
    "nbr15": "nbr15",
    "shell_error": "shells",
}


def add_evaluate(commands: Any) -> None:
    """Add `evaluate` to the command's parser."""
    judged = add_command(
        commands,
        "evaluate",
        "DIR LABELS",
        "judge a student by labels of documents that it has not seen",
        "Judge a student by labels of documents that it has not seen, beside chance, ridge"
        " regression, the true neighbours and another run of the map. README.md (the model card)"
        " and evaluation.json go into the student's folder.",
        ["student labels", "student new-labels --map labels --against chance knn"],
    )
    judged.add_argument("student", type=Path, metavar="DIR", help="Folder of the student.")
    judged.add_argument(
        "labels",
        type=Path,
        metavar="LABELS",
        help="Folder with labels of the student's map. Documents that it was trained on are passed"
        " over; where no others are left, it is judged by those that training was stopped on.",
    )
    group = judged.add_argument_group("judging")
    group.add_argument(
        "--map",
        type=Path,
        metavar="LABELS",
        help="Folder of the map, where it is not that of the labels. [the labels]",
    )
    group.add_argument(
        "--against",
        nargs="*",
        choices=NAMES,
        default=list(NAMES),
        help=f"Rivals. [{' '.join(NAMES)}]",
    )
    group.add_argument(
        "--other",
        type=Path,
        metavar="LABELS",
        help="Folder of another seed's map of the same shards, for `seed`. [a replica of the map]",
    )
    add_report(judged, "report")
    judged.set_defaults(run=_evaluate)


def _evaluate(options: argparse.Namespace, errors: Console) -> int:
    librarian = Librarian.load(options.student)
    with following(options, errors) as progress:
        report = evaluate(
            librarian,
            options.labels,
            against=options.against,
            split=Split.load(options.student),
            of_map=options.map,
            other=options.other,
            progress=progress,
        )
    card, numbers = write_card(options.student, report, librarian.config)
    with printing():
        if options.json:
            print(as_json(report), end="")
        elif not options.quiet:
            _print_report(report)
            say(Console(**PLAIN), f"the model card is {card}, its numbers {numbers}")
    return OK


def _print_report(report: Report) -> None:
    """The table, and below it what held and what did not."""
    console = Console(**PLAIN)
    seen = "unseen" if report.unseen else "validation"
    table = Table("", *_PRINTED.values(), title=f"{report.patches:,} patches, {seen} documents")
    for who, cells in report.figures.items():
        row = [shown(cells.get(name), FIGURES[name].digits) for name in _PRINTED]
        table.add_row(who, *row)
    console.print(table)
    for one in findings(report):
        say(console, f"{'yes' if one.held else 'no '}  {one.claim} ({one.figures})")
    for note in report.notes:
        say(console, f"note: {note}")
