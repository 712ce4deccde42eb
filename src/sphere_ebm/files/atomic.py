"""Files that are either whole or not there.

Atomic writing, hashing, removal of what a killed run left behind.
"""

import hashlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_TEMPORARY = re.compile(r"\.sphere-[0-9a-f]{16}\.tmp")
_CHUNK = 1 << 20


def atomic_write(path: Path, writer: Callable[[BinaryIO], object]) -> None:
    """Call `writer` on a new file that takes the place of `path` only once it is complete.

    It is complete when it is on the disk.

    Temporary file in the same folder, fsync, rename, fsync of the folder. On any exception, an
    interrupt included, the temporary is removed and an older file at `path` is untouched.

    Raises:
        OSError: from the file system; and whatever `writer` raises.
    """
    # The target's name is not part of the temporary's: together they could exceed the file system's
    # limit.
    temporary = path.parent / f".sphere-{secrets.token_hex(8)}.tmp"
    try:
        with open(temporary, "xb") as file:
            writer(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _fsync_folder(path.parent)


def _fsync_folder(folder: Path) -> None:
    # Windows cannot open a folder; there the rename alone has to do.
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(*paths: Path) -> str:
    """SHA-256 (hex) of the files' bytes one after another, as `cat FILES | sha256sum` gives it.

    Files are read in blocks, so that their size does not matter.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def clean_leftovers(folder: Path) -> tuple[Path, ...]:
    """Remove the temporaries that a killed `atomic_write` left in `folder` (not below it).

    Returns what was removed.

    Only for a folder in which no other run is writing: its temporaries look the same.
    """
    stale = tuple(
        sorted(p for p in folder.iterdir() if _TEMPORARY.fullmatch(p.name) and p.is_file())
    )
    for path in stale:
        path.unlink(missing_ok=True)
    return stale
