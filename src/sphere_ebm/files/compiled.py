"""Functions that Numba compiles, kept on the disk where that can be written."""

import functools
import inspect
from typing import Any, final

from sphere_ebm.errors import require


@final
class Compiled:
    """A function that Numba compiles when it is first called, or first needed by another one.

    Numba is imported then and not before: a third of a second that a command which calls none of
    these functions need not wait. Calls raise `MissingPackageError` without the package.
    """

    def __init__(self, function: Any, extra: str) -> None:
        # Without the type checks that the test suite puts around every function: they cannot be
        # compiled.
        self._plain = inspect.unwrap(function)
        self._extra = extra
        functools.update_wrapper(self, self._plain)

    @functools.cached_property
    def _dispatcher(self) -> Any:
        numba = require("numba", self._extra, "this part of the package")
        try:
            return numba.njit(cache=True, nogil=True, error_model="numpy")(self._plain)
        except RuntimeError:  # neither the package's folder nor the user's cache can be written
            return numba.njit(nogil=True, error_model="numpy")(self._plain)

    @property
    def _numba_type_(self) -> Any:
        """What Numba asks of a global name: a compiled function that another may call."""
        return self._dispatcher._numba_type_

    def __call__(self, *given: Any) -> Any:
        """What the compiled function returns. Raises MissingPackageError without Numba."""
        return self._dispatcher(*given)


def compiled(function: Any, extra: str = "text") -> Any:
    """`function`, compiled when it is first called; `extra` names who installs Numba."""
    return Compiled(function, extra)
