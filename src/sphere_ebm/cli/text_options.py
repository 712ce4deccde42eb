"""Options of the commands that begin with text: how it is read, cut and embedded."""

import argparse
from collections.abc import Sequence
from typing import Any

from sphere_ebm.cli.options import add_prominence, add_report
from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel
from sphere_ebm.text.documents import MAX_BYTES
from sphere_ebm.text.ingest import MEAN_LENGTH
from sphere_ebm.text.models import EMBEDDERS, ENTROPY_MODELS, make_models
from sphere_ebm.text.patching import RULES, Patching
from sphere_ebm.text.prominence import PROMINENCES

Models = tuple[AbstractEntropyModel, AbstractEmbedder]


def add_text_options(parser: argparse.ArgumentParser, kinds: Sequence[str] = PROMINENCES) -> None:
    """Add what `ingest` and `map` have in common: how texts are read, cut and embedded.

    `kinds` of prominence are named in the help.
    """
    add_report(parser)
    _add_reading(parser.add_argument_group("texts"))
    cuts = parser.add_argument_group("patches")
    _add_cutting(cuts)
    add_prominence(cuts, kinds, kinds[0])
    add_models(parser.add_argument_group("models"))


def _add_reading(texts: Any) -> None:
    texts.add_argument(
        "--column",
        "--text-column",
        metavar="NAME",
        help="Take texts from this column of .jsonl, .parquet and .csv files. [text, else content]",
    )
    for name, what in (("include", "Take only"), ("exclude", "Leave out")):
        texts.add_argument(
            f"--{name}",
            action="append",
            default=[],
            metavar="PATTERN",
            help=f"{what} the files of folders and globs that match this shell pattern, such as"
            " '*.md' or 'drafts/*'; may be given several times.",
        )
    texts.add_argument(
        "--encoding",
        default="utf-8",
        metavar="NAME",
        help="Text and .jsonl files are in this encoding. [utf-8]",
    )
    texts.add_argument(
        "--max-bytes",
        type=int,
        default=MAX_BYTES,
        metavar="N",
        help=f"Refuse a file that holds more bytes of text. [{MAX_BYTES}]",
    )


def _add_cutting(cuts: Any) -> None:
    cuts.add_argument(
        "--rule",
        choices=RULES,
        default="monotonic",
        help="By which rule a patch starts, see docs/text.md. [monotonic]",
    )
    cuts.add_argument(
        "--mean-length",
        type=float,
        default=MEAN_LENGTH,
        metavar="BYTES",
        help=f"Patches of a file have so many bytes on average. [{MEAN_LENGTH:g}]",
    )
    cuts.add_argument(
        "--threshold",
        type=float,
        metavar="NATS",
        help="Give the rule this threshold, instead of a mean length.",
    )
    cuts.add_argument(
        "--rise",
        type=float,
        metavar="NATS",
        help="Give the rule `both` this second threshold. [0]",
    )
    cuts.add_argument(
        "--max-patch-length",
        type=int,
        default=384,
        metavar="BYTES",
        help="Split longer patches; 0 splits none. [384]",
    )
    cuts.add_argument(
        "--forced-starts",
        action="store_true",
        help="Always start patches at bytes 1 (and 2), as BLT does.",
    )
    cuts.add_argument(
        "--cut-characters", action="store_true", help="Let patches begin inside UTF-8 characters."
    )


def add_models(models: Any) -> None:
    """Options that name the models of uncertainty and of meaning."""
    models.add_argument(
        "--entropy",
        choices=ENTROPY_MODELS,
        default="bytes",
        help="The model of the next byte, which tells where patches start. [bytes]",
    )
    models.add_argument(
        "--embedder",
        choices=EMBEDDERS,
        default="static",
        help="The model of what a patch means. [static]",
    )
    models.add_argument(
        "--blt-model",
        metavar="PATH",
        help="Folder or hub name of facebook/blt-entropy, for the models called blt.",
    )
    models.add_argument(
        "--sentence-model",
        metavar="PATH",
        help="Folder or hub name of a model, for the embedder `sentences`.",
    )


def patching_of(options: argparse.Namespace) -> Patching:
    """How the options ask to cut. Raises ValueError where they contradict each other."""
    rise = 0.0 if options.rule == "both" and options.rise is None else options.rise
    return Patching(
        options.rule,
        options.threshold,
        rise,
        options.max_patch_length or None,
        utf8_safe=not options.cut_characters,
        forced_starts=options.forced_starts,
    )


def models_of(options: argparse.Namespace) -> Models:
    """The models of uncertainty and of meaning that the options name."""
    return make_models(
        options.entropy,
        options.embedder,
        blt_model=options.blt_model,
        sentence_model=options.sentence_model,
    )


def make_embedder(options: argparse.Namespace) -> AbstractEmbedder:
    """The embedder that the options of `add_models` name."""
    return models_of(options)[1]
