"""The command `sphere-ebm` in this process: its exit code and what it printed."""

import contextlib
import io
from collections.abc import Callable
from typing import NamedTuple

from sphere_ebm.cli.main import main

FEW = ("--steps", "20", "--average", "5", "--replicas", "0")
"""Options with which a map that nobody looks at takes little time."""

TWO_TEXTS = {
    "one.txt": (
        "The old clock in the hall struck seven,\nand nobody in the house had slept. It struck"
        " again.\n"
    ),
    "two.md": (
        "# A title\n\nRivers carry sand, gravel and the memory of mountains to the quiet sea. " * 2
    ),
}


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Outcome]


def run_command(*arguments: object) -> Outcome:
    with (
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ending:
            code = int(ending.code or 0)
    assert "Traceback" not in err.getvalue()
    return Outcome(code, out.getvalue(), err.getvalue())
