"""The subcommand `train-sequence`: models of the next vector, compared with baselines."""

import argparse
import json
from typing import Any

from rich.console import Console
from rich.table import Table

from sphere_ebm.cli.options import (
    add_command,
    add_inputs,
    add_output,
    add_overwrite,
    add_pooling,
    add_report,
)
from sphere_ebm.cli.output import OK, PARTLY, PLAIN, printing, say
from sphere_ebm.cli.progress import following
from sphere_ebm.librarian.sequence.compare import SequenceRun, compare_sequences
from sphere_ebm.librarian.sequence.config import MODELS, SIZES, SequenceConfig
from sphere_ebm.librarian.sequence.measure import Interval
from sphere_ebm.librarian.sequence.report import CARD
from sphere_ebm.librarian.sequence.rows import STANDARD, Row

_DEFAULTS = SequenceConfig()
# narrow enough for eighty characters
_HEADINGS = ("cosine", "over", "MRR", "over", "rank")
_NUMBERS = {
    "seed": "Documents are divided, models begin and windows are ordered by this number.",
    "epochs": "At most so many passes over the training documents.",
    "batch": "A step sees windows of about so many vectors together.",
    "learning_rate": "The greatest step size.",
    "patience": "End after so many epochs without a better validation.",
}


def add_sequence(commands: Any) -> None:
    """Add `train-sequence` to the command's parser."""
    trained = add_command(
        commands,
        "train-sequence",
        "SHARDS [SHARDS ...] --output DIR",
        "train models of the next vector of a document, and compare them with baselines",
        "Train models that predict the next vector of a document from those before it, and"
        " compare them with baselines on the same targets. Models, measures, a table and a card"
        " with the verdict go into the output folder. A run that was stopped goes on with the"
        " same command.",
        [
            "shards --output sequence",
            "fit --test other --output sequence --models gru amn",
        ],
    )
    add_inputs(trained, "SHARDS", "Shard files, folders (searched recursively), or globs.")
    add_output(trained, "Write models and comparison into this folder.")
    add_overwrite(trained, "another comparison")
    documents = trained.add_argument_group("documents")
    documents.add_argument(
        "--test",
        nargs="+",
        default=[],
        metavar="SHARDS",
        help="Test on the documents of these shards. [a tenth of the documents]",
    )
    documents.add_argument(
        "--alone",
        action="store_true",
        help="Embed the patches again, each by its own tokens, so that neighbours share none.",
    )
    add_pooling(documents)
    _add_models(trained.add_argument_group("models"))
    add_report(trained, "comparison")
    trained.set_defaults(run=_train_sequence)


def _add_models(group: Any) -> None:
    group.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=list(MODELS),
        metavar="NAME",
        help=f"Train these alone, of {', '.join(MODELS)}. [all]",
    )
    group.add_argument(
        "--context",
        nargs="+",
        type=int,
        default=list(_DEFAULTS.contexts),
        metavar="N",
        help="Models see so many vectors before the one that they predict. [5 100]",
    )
    group.add_argument(
        "--size", choices=SIZES, default="small", help="For two cores, or in full. [small]"
    )
    for name, text in _NUMBERS.items():
        value = vars(_DEFAULTS)[name]
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(value),
            default=value,
            metavar="N",
            help=f"{text} [{value:g}]",
        )


def _train_sequence(options: argparse.Namespace, errors: Console) -> int:
    try:
        config = SequenceConfig(
            models=tuple(options.models),
            contexts=tuple(options.context),
            size=options.size,
            **{name: vars(options)[name] for name in _NUMBERS},
        )
    except ValueError as error:
        options.parser.error(str(error))
    with following(options, errors) as progress:
        run = compare_sequences(
            options.inputs,
            options.output,
            config,
            test=options.test,
            alone=options.alone,
            pooling=options.pooling,
            overwrite=options.overwrite,
            progress=progress,
        )
    for refused in run.refused:
        say(errors, f"refused: {refused.reason}")
    with printing():
        if options.json:
            print(json.dumps(_summary(run), indent=1, sort_keys=True))
        elif not options.quiet:
            _print_run(run)
    return PARTLY if run.refused else OK


def _summary(run: SequenceRun) -> dict[str, Any]:
    return {
        "output": str(run.output),
        "documents": run.documents,
        "targets": run.targets,
        "rows": [row.to_dict() for row in run.rows],
        "verdict": run.said,
        "refused": {str(refused.source): refused.reason for refused in run.refused},
        "kept": run.kept,
    }


def _print_run(run: SequenceRun) -> None:
    console = Console(**PLAIN)
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("model, context", no_wrap=True)
    for heading in _HEADINGS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in run.rows:
        table.add_row(*_cells(row))
    console.print(table)
    say(console, "over: 95 % of the paired difference from the weighted means of that context")
    for sentence in run.said:
        say(console, sentence)
    kept = f" ({run.kept} finished models kept)" if run.kept else ""
    say(console, f"{run.targets:,} targets; models and {CARD} are in {run.output}{kept}")


def _cells(row: Row) -> list[str]:
    over = row.over[row.measured.context]
    same = row.measured.model == STANDARD
    return [
        row.measured.name,
        f"{row.cosine.mean:.4f}",
        "" if same else _range(over["cosine"]),
        f"{row.mrr.mean:.4f}",
        "" if same else _range(over["mrr"]),
        f"{row.median_rank:,.0f}",
    ]


def _range(interval: Interval) -> str:
    return f"{interval.low:+.4f} {interval.high:+.4f}"
