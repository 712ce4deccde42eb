"""Functions that Numba compiles, kept on the disk where that can be written."""

import inspect
from typing import Any

from sphere_ebm.errors import require


def compiled(function: Any, extra: str = "text") -> Any:
    """`function`, compiled when it is first called; `extra` names who installs Numba.

    Without the type checks that the test suite puts around every function: they cannot be compiled.

    Raises:
        MissingPackageError: without the package `numba`.
    """
    numba = require("numba", extra, "this part of the package")
    plain = inspect.unwrap(function)
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(plain)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(nogil=True, error_model="numpy")(plain)
