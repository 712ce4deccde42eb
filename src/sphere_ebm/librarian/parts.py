"""The parts of a `Librarian` as a file holds them: student, cells and calibrations."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int32

from sphere_ebm.librarian.calibration import Calibration
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.students.base import (
    Facts,
    checked_array,
    student_class,
)

PLAIN = "calibration.plain"
JOINING = "calibration.map"
STUDENT_PREFIX = "student."


class Cells(NamedTuple):
    """Centres (C, 3) of the equal-area cells, and the eight cells (C, 8) around each."""

    centres: Float32[np.ndarray, "cells 3"]
    around: Int32[np.ndarray, "cells 8"]


def parts_of(
    config: LibrarianConfig, facts: Facts, arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Student, cells and calibrations of the arrays of a file.

    Raises:
        ValueError: arrays that are missing or do not fit.
    """
    count = 4**config.level
    cells = Cells(
        checked_array(arrays, "cells.centres", [count, 3], np.float32),
        checked_array(arrays, "cells.around", [count, 8], np.int32),
    )
    own = {
        name.removeprefix(STUDENT_PREFIX): array
        for name, array in arrays.items()
        if name.startswith(STUDENT_PREFIX)
    }
    found = {"plain": PLAIN, "joining": JOINING}
    calibrations = {
        field: Calibration.from_arrays(name, arrays) if f"{name}.mean" in arrays else None
        for field, name in found.items()
    }
    student = student_class(config.student).from_arrays(config, facts, own)
    return {"student": student, "cells": cells, **calibrations}
