"""Entry point of the command `sphere-ebm`.

Importing this module costs next to nothing, since the package imports what it holds only when it is
asked for. `run` first sees to interruptions and only then imports the command itself, with JAX and
all, which takes seconds.
"""

import gc
import os
import signal
import sys
import warnings
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_LINE = b"sphere-ebm: interrupted; the same command continues where it stopped\n"
_SHOW_CURSOR = b"\n\x1b[?25h"

CACHE_BYTES = 64 * 2**20
"""What compiled programs of earlier runs may take when a run begins; one run adds less than 1 MB.
"""

_CACHE = "JAX_COMPILATION_CACHE_DIR"
_SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
_ZSTD = b"\x28\xb5\x2f\xfd"


_logs: list[int] = []


def run() -> NoReturn:
    """Run the command and leave the process with its exit code.

    An interruption from here on is one line and 130, a request to end (SIGTERM) the same line and
    143. Before, while Python starts and imports this module, they are Python's own.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    # What is imported stays. To look through it for garbage, over and over, takes half a second.
    gc.disable()
    keep_programs()
    from sphere_ebm.cli.main import main

    gc.freeze()
    gc.enable()
    sys.exit(main())


def keep_programs() -> None:
    """Let JAX keep what it compiles in the user's cache folder, for the next run.

    To be called before it compiles.

    A folder (or none: an empty value) that the user has named in JAX_COMPILATION_CACHE_DIR is left
    as it is. Without a folder that belongs to the user and can be written, nothing is kept. JAX
    bounds its cache only under a lock that runs wait for, and does not write a file in one go, so
    both are seen to here: a run that meets a file which another is writing, or cannot write one,
    compiles as if there were none.
    """
    if _CACHE in os.environ:
        return
    import platformdirs

    from sphere_ebm.files.machine import visible_cpus

    try:
        # `opinion`: on Windows no folder `Cache` in that of the package
        home = platformdirs.user_cache_path("sphere_ebm", appauthor=False, opinion=False)
        # XLA cuts work by the number of CPUs, and other cuts round differently: a program compiled
        # beside other CPUs is another one, though JAX's key is the same
        folder = home / f"jax-{visible_cpus()}-cpus"
        # programs are run as they are: nobody else may put one there
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK) or not _belongs_to_the_user(folder):
            return
        _tidy(folder)
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return
    # not by the environment, which JAX reads only once, when it is imported
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    if _SHORTEST not in os.environ:
        # JAX's default leaves out what takes less than a second to compile: nearly everything
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    warnings.filterwarnings(
        "ignore", message="Error (reading|writing) persistent compilation cache entry"
    )


def _belongs_to_the_user(folder: Path) -> bool:
    # Windows has no numbers of users; there the folder lies in the user's own profile.
    return sys.platform == "win32" or folder.stat().st_uid == os.getuid()


def _tidy(folder: Path) -> None:
    """Remove what a killed run left half-written, and the longest unused beyond the bound.

    JAX never replaces a file that is half-written.
    """
    taken = 0
    used = _last_used(folder)
    for path in sorted(used, key=lambda path: -used[path]):
        # Another run may be tidying, too.
        with suppress(OSError):
            taken += path.stat().st_size
            if taken > CACHE_BYTES or not _is_whole(path):
                path.unlink()


def _last_used(folder: Path) -> dict[Path, float]:
    """Files and the time of their last use, as far as the file system notes it."""
    used = {}
    for path in folder.iterdir():
        with suppress(OSError):
            status = path.stat()
            used[path] = max(status.st_atime, status.st_mtime)
    return used


def _is_whole(path: Path) -> bool:
    """Whether a compressed file ends where it should.

    What `zstandard` compressed (if installed) is taken as it is.
    """
    data = path.read_bytes()
    try:
        return data.startswith(_ZSTD) or len(zlib.decompress(data)) > 0
    except zlib.error:
        return False


def log_the_end(descriptor: int | None) -> None:
    """Write the line of an interruption into this open file, too; None: no longer."""
    _logs[:] = [] if descriptor is None else [descriptor]


def _leave(number: int, frame: object) -> NoReturn:
    """End the process here and now, with the exit code that shells give to the signal `number`.

    An exception would not do: raised in a callback of the garbage collector it is ignored, and
    XLA's compiler threads do not survive the interpreter's orderly end. Files need no care, since a
    run that is killed can be continued.
    """
    # Not by print: the process may be in the middle of one.
    os.write(2, _SHOW_CURSOR + _LINE if os.isatty(2) else _LINE)
    for descriptor in _logs:
        with suppress(OSError):
            os.write(descriptor, _LINE)
    os._exit(128 + number)
