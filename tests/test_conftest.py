"""What the suite does before its tests."""

import os
import zlib
from pathlib import Path

from conftest import tidy


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
