"""The subcommand `ask`: passages of a map for a query, within a budget."""

import argparse
import json
import math
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from sphere_ebm.cli.options import add_command, add_report
from sphere_ebm.cli.output import OK, PLAIN, say
from sphere_ebm.cli.progress import working
from sphere_ebm.cli.text_options import add_models, make_embedder
from sphere_ebm.errors import LabelError, ShardError
from sphere_ebm.labelling.ask import UNITS, Answer, Quoted, ask
from sphere_ebm.retrieval.budgets import TOTAL, BudgetConfig

# smallest and largest pieces, in bytes and in patches of 32 bytes
_PIECES = {"bytes": (64, 400), "points": (2, 12)}


def add_ask(commands: Any) -> None:
    """Add `ask` to the command's parser."""
    asked = add_command(
        commands,
        "ask",
        "MAP TEXT",
        "print what to read of a finished map for a query, within a budget",
        "Print passages of a finished map that are worth reading for a query, within a budget.",
        ["map 'let there be light' --budget 4000", "map 'a sad end' --unit points --budget 40"],
    )
    asked.add_argument("folder", type=Path, metavar="MAP", help="Folder of a map made from text.")
    asked.add_argument("query", metavar="TEXT", help="What to look for.")
    budget = asked.add_argument_group("budget")
    budget.add_argument(
        "--budget", type=int, default=TOTAL, metavar="N", help=f"Spend so many units. [{TOTAL}]"
    )
    budget.add_argument(
        "--unit", choices=UNITS, default="bytes", help="What the budget counts. [bytes]"
    )
    budget.add_argument(
        "--smallest",
        type=int,
        metavar="N",
        help="A piece has at least so many units. [64 bytes, or 2 points]",
    )
    budget.add_argument(
        "--largest",
        type=int,
        metavar="N",
        help="The piece around the most relevant patch has so many units. [400 bytes, or 12"
        " points]",
    )
    budget.add_argument(
        "--by-region",
        action="store_true",
        help="Divide the budget over cells of the map first.",
    )
    add_report(asked, "answer")
    add_models(asked.add_argument_group("models"))
    asked.set_defaults(run=_ask)


def _ask(options: argparse.Namespace, errors: Console) -> int:
    smallest, largest = _PIECES[options.unit]
    try:
        config = BudgetConfig(
            total=options.budget,
            smallest=smallest if options.smallest is None else options.smallest,
            largest=largest if options.largest is None else options.largest,
        )
        with working("ask", options, errors):
            answer = ask(
                options.folder,
                options.query,
                lambda: make_embedder(options),
                config,
                unit=options.unit,
                by_region=options.by_region,
            )
    except (LabelError, ShardError):
        raise
    except ValueError as error:
        options.parser.error(str(error))
    if options.json:
        print(json.dumps(_answer_dict(options, answer), indent=1, sort_keys=True))
    elif not options.quiet:
        _print_answer(options, answer)
    return OK


def _answer_dict(options: argparse.Namespace, answer: Answer) -> dict[str, Any]:
    return {
        "query": options.query,
        "budget": options.budget,
        "unit": options.unit,
        "spent": answer.spent,
        "passages": [_quoted_dict(one) for one in answer.passages],
    }


def _quoted_dict(one: Quoted) -> dict[str, Any]:
    return {
        "document": one.document,
        "start": one.start,
        "text": one.patch.decode("utf-8", "replace"),
        "units": one.units,
        "score": one.score,
        "theta": one.theta,
        "phi": one.phi,
        "radius": one.radius,
    }


def _print_answer(options: argparse.Namespace, answer: Answer) -> None:
    """A heading for each passage, its text below it, and last what was spent.

    Score, document, first byte, and the place on the map in degrees from the pole and in azimuth.
    """
    console = Console(**PLAIN)
    for one in answer.passages:
        place = f"{math.degrees(one.theta):.1f}°, {math.degrees(one.phi):.1f}°"
        say(console, f"{one.score:.3f}  {one.document}, byte {one.start:,}  ({place})")
        say(console, "    " + re.sub(r"\s+", " ", one.patch.decode("utf-8", "replace")).strip())
    passages = "passage" if len(answer.passages) == 1 else "passages"
    count = f"{len(answer.passages)} {passages}"
    say(console, f"{count}, {answer.spent:,.0f} of {options.budget:,} {options.unit}")
