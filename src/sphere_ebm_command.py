"""Entry point of the command `sphere-ebm`, beside the package: importing that takes seconds, and may be interrupted."""

import os
import signal
import sys
from typing import NoReturn

_LINE = b"sphere-ebm: interrupted; the same command continues where it stopped\n"
_SHOW_CURSOR = b"\n\x1b[?25h"


def run() -> NoReturn:
    """Run the command and leave the process with its exit code; an interruption at any moment is one line and 130."""
    signal.signal(signal.SIGINT, _leave)
    from sphere_ebm.cli import main

    sys.exit(main())


def _leave(*_: object) -> NoReturn:
    """End the process here and now.

    An exception would not do: raised in a callback of the garbage collector it is ignored, and XLA's compiler threads
    do not survive the interpreter's orderly end. Files need no care, since a run that is killed can be continued.
    """
    # Not by print: the process may be in the middle of one.
    os.write(2, _SHOW_CURSOR + _LINE if os.isatty(2) else _LINE)
    os._exit(130)
