"""Command-line options of a `PlacementConfig`: one for each field, explained by its docstring."""

import argparse
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from sphere_ebm.maps.config import PlacementConfig


def add_config_options(group: Any, left_out: Collection[str] = ()) -> None:
    """One option for every field of PlacementConfig but some.

    The help text is the field's line in its docstring.
    """
    texts = _field_texts(PlacementConfig.__doc__ or "")
    hints = typing.get_type_hints(PlacementConfig)
    for field in (
        field for field in dataclasses.fields(PlacementConfig) if field.name not in left_out
    ):
        kind = hints[field.name]
        alternatives = [t for t in typing.get_args(kind) if t is not type(None)]
        choices = None
        if isinstance(kind, types.UnionType):
            kind = alternatives[0]
        elif typing.get_origin(kind) is Literal:
            kind = str
            choices = alternatives
        default = "" if field.default is None else f" [{field.default}]"
        group.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            choices=choices,
            # the help text names long choices; argparse would not break their line
            metavar=None if choices and len(",".join(choices)) < 40 else kind.__name__.upper(),
            default=field.default,
            help=(texts.get(field.name, "") + default).replace("%", "%%"),
        )


def add_inputs(parser: argparse.ArgumentParser, metavar: str, help: str, least: str = "+") -> None:
    """What a command reads: as many `inputs` as `least`, a `nargs` of argparse, wants."""
    parser.add_argument("inputs", nargs=least, metavar=metavar, help=help)


def add_output(parser: argparse.ArgumentParser, help: str) -> None:
    """The option `--output`, without which a command that writes does not run."""
    parser.add_argument("--output", "-o", required=True, type=Path, metavar="DIR", help=help)


def add_page(parser: argparse.ArgumentParser) -> None:
    """The option by which no page is written."""
    parser.add_argument(
        "--no-page",
        dest="page",
        action="store_false",
        help="do not write map.html, the map to explore in a browser",
    )


def add_pooling(parser: argparse.ArgumentParser) -> None:
    """The option `--pooling` of commands that read shards."""
    parser.add_argument(
        "--pooling", choices=("mean", "first", "max"), default="mean", help="tokens to patches"
    )


def add_report(parser: argparse.ArgumentParser, printed: str = "summary") -> None:
    """Options for how much is printed, and how."""
    parser.add_argument("--quiet", "-q", action="store_true", help="no progress, no table")
    parser.add_argument(
        "--json", action="store_true", help=f"print the {printed} as one JSON object"
    )


def _field_texts(docstring: str) -> dict[str, str]:
    """Field name -> its description, from the `name: text` or `a, b: text` lines of a docstring."""
    # cleandoc: from Python 3.13 on the compiler strips the indentation itself
    entries = re.findall(
        r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", inspect.cleandoc(docstring), flags=re.MULTILINE
    )
    return {
        name: " ".join(text.replace("`", "").split())
        for names, text in entries
        for name in names.split(", ")
    }


def config_of(options: argparse.Namespace) -> PlacementConfig:
    """The configuration that the options ask for; ends the program for a wrong one."""
    names = [field.name for field in dataclasses.fields(PlacementConfig) if field.name in options]
    try:
        return PlacementConfig(**{name: vars(options)[name] for name in names})
    except ValueError as error:
        parser: argparse.ArgumentParser = options.parser
        parser.error(str(error))
