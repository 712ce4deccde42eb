"""What an evaluation of the osmotic field costs, by the kind of device that does it.

| device | direct | harmonic | pyramid |
|---|---|---|---|
| `cpu` | 7e-7 N² | 5e-5 N + 1e-6 rows³ | 6e-5 N + 5e-5 rows² |
| others | .05 + 1e-9 N² | .3 + 1e-6 N + 2e-10 rows³ | .3 + 1e-6 N + 5e-7 rows² + .01 rows |

In milliseconds. The first row was measured on one core (`python -m benchmarks.osmotic`). The second
is **estimated and not measured**: some 20 operations a pair and 4 a product at a tenth of the
6e13 operations a second that a large GPU claims, 500 bytes a point at half of 1e12 bytes a second,
and 10 microseconds for every operation that waits for the one before it, of which a pyramid has
about .65 rows. `python -m benchmarks.device` measures a device and prints its row.
"""

from typing import Any, NamedTuple

import jax


class Cost(NamedTuple):
    """Milliseconds of one evaluation: `fixed`, and what each of the others is multiplied by."""

    fixed: float = 0.0
    points: float = 0.0
    pairs: float = 0.0
    rows: float = 0.0
    cells: float = 0.0
    products: float = 0.0

    def of(self, n_points: int, rows: int) -> float:
        """For so many points on a grid of so many rows."""
        counted = counts(n_points, rows)
        return sum(each * many for each, many in zip(self, counted, strict=True))


def counts(n_points: int, rows: int) -> tuple[float, ...]:
    """1, N, N², rows, rows² and rows³: what the numbers of a `Cost` are multiplied by."""
    return 1.0, float(n_points), float(n_points**2), float(rows), float(rows**2), float(rows**3)


COSTS: dict[str, dict[str, Cost]] = {
    "cpu": {
        "direct": Cost(pairs=7e-7),
        "harmonic": Cost(points=5e-5, products=1e-6),
        "pyramid": Cost(points=6e-5, cells=5e-5),
    },
    "gpu": {
        "direct": Cost(fixed=0.05, pairs=1e-9),
        "harmonic": Cost(fixed=0.3, points=1e-6, products=2e-10),
        "pyramid": Cost(fixed=0.3, points=1e-6, rows=0.01, cells=5e-7),
    },
}
"""Kind of device -> evaluator -> cost. A kind that is not listed is taken for a GPU."""

TERMS: dict[str, tuple[str, ...]] = {
    "direct": ("fixed", "pairs"),
    "harmonic": ("fixed", "points", "products"),
    "pyramid": ("fixed", "points", "rows", "cells"),
}
"""Evaluator -> the terms of its cost that are not zero for every device."""

BLOCKS = {"cpu": 256, "gpu": 4096}
"""Kind of device -> points whose distances to all others are held at once by the direct sum."""


def device_kind() -> str:
    """That of JAX's default device: `"cpu"`, or `"gpu"` for whatever else there is."""
    config: Any = jax.config
    chosen = config.jax_default_device
    platform = chosen.platform if isinstance(chosen, jax.Device) else chosen
    return "cpu" if (platform or jax.default_backend()) == "cpu" else "gpu"


def costs_here() -> dict[str, Cost]:
    """Those of JAX's default device."""
    return COSTS[device_kind()]
