"""How long work tells how far it is: the callback that users pass, and what announces a stage."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

StageProgress = Callable[[str, int, int], None]
"""Called as progress(stage, done, total); whoever takes one says what its stages are called."""


@contextmanager
def stage(name: str, progress: StageProgress | None) -> Iterator[None]:
    """Announce one piece of work before and after it."""
    if progress is not None:
        progress(name, 0, 1)
    yield
    if progress is not None:
        progress(name, 1, 1)
