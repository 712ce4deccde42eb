"""A folder that one run works in at a time."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sphere_ebm.errors import LabelError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold `folder`, made when missing, for one run.

    The lock goes with the process, however it ends.

    Raises LabelError while another run holds it. Where folders cannot be locked (Windows, some
    network file systems) nothing is held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise LabelError(
            f"another run is working in {folder}; wait for it, or choose another --output"
        ) from error
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(descriptor)
