"""Options that several commands share, those of a `PlacementConfig` among them.

There is one for each of its fields, explained by its docstring.
"""

import argparse
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from sphere_ebm.files.shards.own import ALL_FOUND, TableColumns
from sphere_ebm.labelling.engines import ENGINES
from sphere_ebm.maps.config import PlacementConfig

_EXIT_CODES = (
    "exit codes: 0 all done; 1 nobody read the output; 2 wrong usage; 3 nothing could be done; 4"
    " some inputs were refused (all others are done); 130 interrupted, 143 asked to end (the same"
    " command continues)."
)
_WIDTH = 78
_SECTIONS = {
    "Graph": "map: which points are neighbours",
    "Energy": "map: energy",
    "Shells": "map: radii",
    "Dynamics": "map: steps",
    "Certainty": "map: certainty",
}
"""Heading of the help for each section of PlacementConfig's docstring."""


def add_command(
    commands: Any, name: str, operands: str, help: str, text: str, examples: Sequence[str]
) -> Any:
    """A subcommand: what it needs and does, and examples to copy, for its help."""
    lines = ["examples:", *(f"  sphere-ebm {name} {one}" for one in examples), ""]
    return commands.add_parser(
        name,
        help=help,
        usage=f"sphere-ebm {name} {operands} [OPTIONS]",
        description=textwrap.fill(text, _WIDTH),
        epilog="\n".join([*lines, textwrap.fill(_EXIT_CODES, _WIDTH)]),
    )


def add_config_options(parser: argparse.ArgumentParser, left_out: Collection[str] = ()) -> None:
    """One option for every field of PlacementConfig but some, in a group for each of its sections.

    The help text is the field's line in its docstring.
    """
    texts = _field_texts(PlacementConfig.__doc__ or "")
    hints = typing.get_type_hints(PlacementConfig)
    defaults = {field.name: field.default for field in dataclasses.fields(PlacementConfig)}
    for section, fields in texts.items():
        group = parser.add_argument_group(_SECTIONS[section])
        for name, text in fields.items():
            if name not in left_out:
                _add_field(group, name, hints[name], defaults[name], text)


def _add_field(group: Any, name: str, kind: Any, default: Any, text: str) -> None:
    alternatives = [t for t in typing.get_args(kind) if t is not type(None)]
    choices = None
    if isinstance(kind, types.UnionType):
        kind = alternatives[0]
    elif typing.get_origin(kind) is Literal:
        kind = str
        choices = alternatives
    shown = "" if default is None else f" [{default}]"
    group.add_argument(
        f"--{name.replace('_', '-')}",
        type=kind,
        choices=choices,
        # the help text names long choices; argparse would not break their line
        metavar=None if choices and len(",".join(choices)) < 40 else kind.__name__.upper(),
        default=default,
        help=(text + shown).replace("%", "%%"),
    )


def add_inputs(parser: argparse.ArgumentParser, metavar: str, help: str, least: str = "+") -> None:
    """What a command reads: as many `inputs` as `least`, a `nargs` of argparse, wants."""
    parser.add_argument("inputs", nargs=least, metavar=metavar, help=help)


def add_output(parser: argparse.ArgumentParser, help: str) -> None:
    """The option `--output`, without which a command that writes does not run."""
    parser.add_argument("--output", "-o", required=True, type=Path, metavar="DIR", help=help)


def add_overwrite(parser: argparse.ArgumentParser, what: str = "another map") -> None:
    """The option `--overwrite`, without which nothing of other runs is replaced."""
    parser.add_argument(
        "--overwrite", action="store_true", help=f"Replace {what} in the output folder."
    )


def add_page(parser: argparse.ArgumentParser) -> None:
    """The option by which no page is written."""
    parser.add_argument(
        "--no-page",
        dest="page",
        action="store_false",
        help="Do not write map.html, the map to explore in a browser.",
    )


def add_pooling(parser: Any) -> None:
    """The option `--pooling` of commands that read shards."""
    parser.add_argument(
        "--pooling",
        choices=("mean", "first", "max"),
        default="mean",
        help="How the tokens of a patch become one embedding, in shards of tokens. [mean]",
    )


def add_columns(parser: argparse.ArgumentParser, text: bool = True) -> None:
    """Options that say which columns of a table become what; without `text` that one is left."""
    group = parser.add_argument_group("columns of tables")
    group.add_argument(
        "--embedding-column",
        metavar="NAME",
        help="Take embeddings from this column of .parquet, .csv, .tsv, .jsonl and .npz files;"
        " each row is a point. [embeddings, else embedding]",
    )
    if text:
        group.add_argument(
            "--text-column", metavar="NAME", help="This column says what each row is, to be read."
        )
    group.add_argument(
        "--id-column",
        metavar="NAME",
        help="This column names the rows. [they are counted from 0]",
    )
    group.add_argument(
        "--keep",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="Keep these columns of numbers or words in label files, page and export.",
    )
    group.add_argument(
        "--colour-by",
        metavar="COLUMN",
        help="Keep this column, and colour figure and page by it. [the document]",
    )


def add_prominence(group: Any, kinds: Sequence[str], default: str) -> None:
    """The option `--prominence`: what the radii order, by a kind or by a column."""
    group.add_argument(
        "--prominence",
        metavar="KIND",
        help=f"The radius orders this: {', '.join(kinds)}, or a column of numbers, by its name; see"
        f" docs/text.md. [{default}]",
    )


def columns_of(options: argparse.Namespace, text: str | None) -> TableColumns:
    """The columns that the options ask for; `text` is that of the texts."""
    prominence = vars(options).get("prominence")
    kept = tuple(options.keep)
    return TableColumns(options.embedding_column, text, options.id_column, kept, prominence)


def columns_or_none(options: argparse.Namespace) -> TableColumns | None:
    """The same; None where nothing is asked for, and a map's own are meant."""
    found = columns_of(options, options.text_column)
    return None if found == ALL_FOUND else found


def add_joining(parser: argparse.ArgumentParser, title: str) -> Any:
    """Options of commands that let shards join a map; returns their group."""
    group = parser.add_argument_group(title)
    group.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="Work on so many shards at a time. [1]"
    )
    group.add_argument(
        "--engine",
        choices=ENGINES,
        default="local",
        help="Work on shards on this machine, or on Ray. [local]",
    )
    group.add_argument(
        "--ray-address",
        metavar="ADDRESS",
        help="Use the Ray cluster that runs at this address, instead of one of its own.",
    )
    return group


def add_report(parser: argparse.ArgumentParser, printed: str = "summary") -> None:
    """Options of every command: how much is told, where, and where its options may stand."""
    group = parser.add_argument_group("what is told, and options from a file")
    group.add_argument(
        "--quiet", "-q", action="store_true", help="Print neither progress nor a result."
    )
    group.add_argument(
        "--json", action="store_true", help=f"Print the {printed} as one JSON object."
    )
    group.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="Add progress, warnings and errors to this file, each line with its time.",
    )
    group.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="Take options from this TOML file, such as the config.toml in the folder of a map."
        " What is typed counts more.",
    )
    parser.set_defaults(parser=parser)


def _field_texts(docstring: str) -> dict[str, dict[str, str]]:
    """For each section of a docstring: field name -> its description.

    From `name: text` or `a, b: text` lines.
    """
    # cleandoc: from Python 3.13 on the compiler strips the indentation itself
    sections = re.findall(
        r"^(\w+):\n((?: {4}.*\n?)+)", inspect.cleandoc(docstring), flags=re.MULTILINE
    )
    return {title: dict(_fields(body)) for title, body in sections}


def _fields(body: str) -> Iterator[tuple[str, str]]:
    entries = re.findall(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {8}.*)*)", body, flags=re.MULTILINE)
    for names, text in entries:
        for name in names.split(", "):
            yield name, " ".join(text.replace("`", "").split())


def config_of(options: argparse.Namespace) -> PlacementConfig:
    """The configuration that the options ask for; ends the program for a wrong one."""
    names = [field.name for field in dataclasses.fields(PlacementConfig) if field.name in options]
    try:
        return PlacementConfig(**{name: vars(options)[name] for name in names})
    except ValueError as error:
        parser: argparse.ArgumentParser = options.parser
        parser.error(str(error))
