"""What was typed, and what a TOML file says beside it, to the options of a command."""

import argparse
import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, final

from typing_extensions import override

from sphere_ebm.errors import one_line
from sphere_ebm.labelling.recipe import COMMAND

_CLOSE = 0.6


@final
class CommandParser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, and in a second one where help is.

    Descriptions and examples keep their lines.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **given})

    @override
    def error(self, message: str) -> NoReturn:
        """End the program for wrong usage."""
        self.exit(2, f"{self.prog}: {one_line(message)}\nsee {self.prog} --help\n")


def parse(
    parser: argparse.ArgumentParser,
    commands: dict[str, argparse.ArgumentParser],
    arguments: Sequence[str],
) -> argparse.Namespace:
    """The options of the command that was typed; ends the program for wrong usage.

    What a file given by `--config` says takes the place of defaults.
    """
    chosen = commands.get(arguments[0]) if arguments else None
    file = None if chosen is None else _config_of(arguments[1:])
    if chosen is not None and file is not None:
        take_file(chosen, file)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        options.parser.error(_unknown(options.parser, unknown[0]))
    if options.config != file:
        options.parser.error("--config: write the option in full, and once")
    return options


def _config_of(arguments: Sequence[str]) -> Path | None:
    """The file that `--config` names, before anything else is known about the arguments."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--config", nargs="?", type=Path)
    found: Path | None = finder.parse_known_args(arguments)[0].config
    return found


def _unknown(parser: argparse.ArgumentParser, argument: str) -> str:
    if not argument.startswith("-"):
        return f"{argument!r} is one argument too many"
    name = argument.partition("=")[0]
    known = [text for action in parser._actions for text in action.option_strings]
    return f"there is no option {name}{_meant(name, known)}"


def _meant(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, 1, _CLOSE)
    return f"; did you mean {close[0]}?" if close else ""


def take_file(parser: argparse.ArgumentParser, file: Path) -> None:
    """Make what a TOML file says the defaults of a command; ends the program for a wrong file.

    Its keys are the names of options, `page` for `--no-page`, and of what is given without a name
    (`inputs`, `map`, `folder`); hyphens and underscores are the same. `command`, if it is there,
    names the command that the file is for.
    """
    name = parser.prog.rpartition(" ")[2]
    known = {one.dest: one for one in parser._actions if one.dest not in ("help", "config")}
    for key, value in _content(parser, file).items():
        dest = key.replace("-", "_")
        if dest == COMMAND and COMMAND not in known:
            if value != name:
                parser.error(f"{file}: is for the command {value!r}, not for {name!r}")
            continue
        if dest not in known:
            parser.error(f"{file}: {name} has no option `{key}`{_meant(dest, [*known])}")
        action = known[dest]
        try:
            action.default = _value(action, value)
        except ValueError as error:
            parser.error(f"{file}: `{key}` {error}")
        action.required = False
        if not action.option_strings:
            action.nargs = "*" if action.nargs in ("*", "+") else "?"


def _content(parser: argparse.ArgumentParser, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        parser.error(f"--config: {file} cannot be read ({error.strerror or error})")
    except ValueError as error:
        parser.error(f"--config: {file} is no TOML file ({error})")


def _value(action: argparse.Action, value: Any) -> Any:
    """What an option would hold if `value` had been typed.

    Raises ValueError with the end of a sentence about the value.
    """
    if action.nargs == 0:
        return _checked(value, bool, "true or false")
    many = action.nargs in ("*", "+")
    repeated = isinstance(action, argparse._AppendAction)
    if not (many or repeated):
        return _single(action, value)
    parts = _checked(value, list, "a list")
    return [
        [_single(action, one) for one in _checked(part, list, "a list of lists")]
        if many and repeated
        else _single(action, part)
        for part in parts
    ]


def _single(action: argparse.Action, value: Any) -> Any:
    if action.type is int:
        return _checked(value, int, "an integer")
    if action.type is float:
        return float(_checked(value, (int, float), "a number"))
    text = _checked(value, str, "a text")
    if action.choices is not None and text not in action.choices:
        raise ValueError(f"must be one of {', '.join(map(str, action.choices))}; got {text!r}")
    return Path(text) if action.type is Path else text


def _checked(value: Any, kind: Any, described: str) -> Any:
    # true and false are integers to Python
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"must be {described}; got {value!r}")
    return value
