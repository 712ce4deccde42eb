"""Functions that Numba compiles, kept on the disk where that can be written."""

import inspect
from functools import partial
from typing import Any

from sphere_ebm.errors import MissingPackageError, require


def compiled(function: Any, extra: str = "text") -> Any:
    """`function`, compiled when it is first called; `extra` names who installs Numba.

    Without the type checks that the test suite puts around every function: they cannot be compiled.

    Without the package `numba` the function raises `MissingPackageError` when it is called, and not
    before: the command names what students are made of even where none can be asked.
    """
    try:
        numba = _numba(extra)
    except MissingPackageError:
        return partial(_numba, extra)
    plain = inspect.unwrap(function)
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(plain)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(nogil=True, error_model="numpy")(plain)


def _numba(extra: str, *_: Any) -> Any:
    """The package, whatever a function that needs it is called with."""
    return require("numba", extra, "this part of the package")
