"""Functions that Numba compiles, and what they do where it is missing."""

import subprocess
import sys

import numpy as np
import pytest

from sphere_ebm.errors import MissingPackageError
from sphere_ebm.files.compiled import compiled

OF_EXTRAS = ("faiss", "numba", "optax", "pandas", "pyarrow", "pypdf", "ray", "resiliparse", "torch")
"""Packages without which the command must still say what it can do."""


def doubled(numbers: np.ndarray) -> float:
    total = 0.0
    for number in numbers:
        total += 2 * number
    return total


def test_a_compiled_function_does_what_the_plain_one_does() -> None:
    pytest.importorskip("numba")
    numbers = np.arange(5.0)
    fast = compiled(doubled)
    assert fast is not doubled
    assert fast(numbers) == doubled(numbers) == 20.0


@compiled
def _halved(number: float) -> float:
    return number / 2


@compiled
def _halves(numbers: np.ndarray) -> float:
    total = 0.0
    for number in numbers:
        total += _halved(number)
    return total


def test_compiled_functions_call_each_other() -> None:
    pytest.importorskip("numba")
    assert _halves(np.arange(5.0)) == 5.0


def test_the_command_does_not_wait_for_numba() -> None:
    code = "import sys, sphere_ebm.cli.main; print('numba' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"


def test_without_numba_a_function_says_so_when_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    fast = compiled(doubled, extra="librarian")
    with pytest.raises(MissingPackageError, match="`numba`"):
        fast(np.arange(5.0))


def test_the_command_starts_without_the_packages_of_extras() -> None:
    blocked = f"import sys; sys.modules.update(dict.fromkeys({OF_EXTRAS!r}))"
    called = "from sphere_ebm.cli.main import main; main(['--help'])"
    told = subprocess.run(
        [sys.executable, "-c", f"{blocked}; {called}"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert "evaluate" in told.stdout
