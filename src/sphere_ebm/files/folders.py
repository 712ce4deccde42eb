"""A folder that one run works in at a time.

What is locked is a file in the folder, by `filelock`, so that the system lets go of it when the
process ends, however it ends. The file is removed while it is still locked. Whoever opened it just
before that locks a file without a name, which `filelock` notices and takes for a refusal; whoever
comes after that makes a new one. So two runs never hold the folder together, and a finished map has
no lock file among its own. (A file outside of the folder that is never removed would do as well,
but it would not be seen by another machine that works in the same folder, or by another user.) On
Windows a file that is open cannot be removed: there `filelock` itself removes it after it let go.

A killed run leaves the file behind, unlocked; the run that takes over removes it. So that runs of
other users can try its lock, too, everybody may open the file, whatever the umask.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from sphere_ebm.errors import LabelError

LOCK = ".sphere-lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`, made when missing, for one run.

    What was made and is left empty by a run that fails is removed again. Where files cannot be
    locked (some network file systems), or none can be made, nothing is held.

    Raises:
        LabelError: another run holds the folder, or may hold it: the lock file of another user
            cannot be opened.
        OSError: the folder cannot be made.
    """
    with made(folder), _held(folder / LOCK):
        yield


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, in a folder that is there."""
    folder = path.parent
    # Without flock, filelock would rely on the file's existence, which outlives a killed process.
    lock = FileLock(path, blocking=False, mode=0o666, fallback_to_soft=False)
    existed = path.exists()
    try:
        lock.acquire()
    except Timeout as error:
        raise LabelError(
            f"another run is working in {folder}; wait for it, or choose another --output"
        ) from error
    except OSError as error:
        if _is_closed(folder, error):
            raise LabelError(
                f"another run may be working in {folder}: {path} cannot be opened"
                f" ({error.strerror}); wait for it, have that file removed if its run was killed,"
                " or choose another --output"
            ) from error
        if not existed:
            # The attempt has made a file that it could not lock.
            with suppress(OSError):
                path.unlink()
    try:
        yield
    finally:
        # What is not held may be another run's.
        if lock.is_locked:
            with suppress(OSError):
                path.unlink()
        lock.release()


@contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make `folder` with its parents where missing; those are removed where work in it fails.

    Only empty ones are: what the work leaves behind, and whatever else came to lie there, stays.

    Raises:
        OSError: the folder cannot be made.
    """
    missing = [one for one in (folder, *folder.parents) if not os.path.lexists(one)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):
            for one in missing:
                one.rmdir()
        raise


def _is_closed(folder: Path, error: OSError) -> bool:
    """Whether the lock file is what may not be opened.

    In a folder that cannot be written nothing can be spoilt: there the run fails by itself.
    """
    forbidden = error.errno in (errno.EACCES, errno.EPERM)
    return forbidden and os.access(folder, os.W_OK | os.X_OK)
