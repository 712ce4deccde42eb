"""A process that dies at any moment, as far as the files can tell, without another process."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import Died
from sphere_ebm.files.folders import LOCK

_CALLS = ((os, "replace"), (os, "fsync"), (os, "rmdir"), (Path, "unlink"))


class Mortal:
    """Counts what changes files; from the call number `last` on none does, and `Died` is raised.

    That last call is carried out where `finishing`. Whatever runs between the death and the end of
    the run, cleaning up, changes nothing more, as if the process had been killed. The lock is let
    go of, as the system would.
    """

    def __init__(self, last: int | None = None, *, finishing: bool = False) -> None:
        self.calls = 0
        self.last = last
        self.finishing = finishing

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        """Count from now on, until `patch` is undone."""
        for owner, name in _CALLS:
            patch.setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **options: Any) -> Any:
            named = isinstance(args[0], (str, Path))
            if named and Path(args[0]).name == LOCK:
                return function(*args, **options)
            self.calls += 1
            if self.last is None or self.calls < self.last:
                return function(*args, **options)
            if self.calls == self.last and self.finishing:
                function(*args, **options)
            raise Died

        return counted


def assert_survives_deaths(
    run: Callable[[], object],
    monkeypatch: pytest.MonkeyPatch,
    *,
    moments: int,
    within: int,
    seed: int,
    check: Callable[[], None],
) -> None:
    """Let `run` die at random moments, one attempt after another, and then end.

    Each attempt dies within so many changes of files, so that all of them get on and none at once
    to the end. `check` is called after every death.
    """
    rng = np.random.default_rng(seed)
    for _ in range(moments):
        mortal = Mortal(int(rng.integers(1, within)), finishing=bool(rng.integers(2)))
        with monkeypatch.context() as patch:
            mortal.watch(patch)
            with suppress(Died):
                run()
        check()
    run()
