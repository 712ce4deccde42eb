"""What the suite does before its tests."""

import os
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from conftest import DEAREST, DIVIDED, LONG, TINY, is_known, put_as_it_is, tidy, unit_of_work


def test_half_written_programs_are_removed_however_old_they_are(tmp_path: Path) -> None:
    program = zlib.compress(bytes(range(256)))
    kept = {"new-cache": program, "other-cache": b"\x28\xb5", "half-atime": b"\x78"}
    lost = {"half-cache": program[:-1], "begun-cache": program[:1], "empty-cache": b""}
    for name, data in (kept | lost).items():
        (tmp_path / name).write_bytes(data)
    for name in lost:
        os.utime(tmp_path / name, (1e9, 1e9))
    tidy(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(kept)
    tidy(tmp_path / "missing")


def test_a_flag_that_xla_does_not_know_is_not_given_to_it() -> None:
    assert is_known("xla_cpu_enable_fast_math")
    assert not is_known("xla_cpu_no_such_flag")


def test_what_is_put_on_the_device_is_a_copy_and_of_the_type_that_jax_gives() -> None:
    given = np.zeros(4096, np.float32)
    held = put_as_it_is(given)
    given += 1
    assert not np.any(held)
    assert put_as_it_is(held) is held
    assert jnp.asarray(1.0).weak_type
    assert jnp.asarray(np.zeros(3)).dtype == np.float32
    assert not jnp.asarray(np.zeros(3)).weak_type


def test_the_files_and_rooms_that_are_treated_apart_are_there() -> None:
    here = Path(__file__).parent
    assert {*DEAREST, *DIVIDED, *LONG} <= {path.name for path in here.rglob("test_*.py")}
    assert set(TINY) <= {path.name for path in here.iterdir() if path.is_dir()}


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("tests/maps/test_a.py::test_x", "tests/maps/test_a.py::test_y[1-2]", True),
        ("tests/maps/test_a.py::test_x", "tests/text/test_a.py::test_x", False),
        ("test_laws.py::test_x[float32-MALA-a]", "test_laws.py::test_x[float32-MALA-b]", True),
        (
            "test_laws.py::test_x[float32-MALA-a]",
            "test_laws.py::test_x[float64-MALA-a]",
            False,
        ),
        ("test_laws.py::test_x", "test_laws.py::test_y", True),
        (
            "tests/heuristics/test_compare.py::test_x",
            "tests/heuristics/test_comparison_figure.py::test_y",
            True,
        ),
        ("test_notebooks.py::test_x[1-energy]", "test_notebooks.py::test_x[2-laws]", False),
    ],
)
def test_a_worker_takes_whole_files_but_the_dearest_in_parts(
    one: str, other: str, together: bool
) -> None:
    assert (unit_of_work(one) == unit_of_work(other)) == together
