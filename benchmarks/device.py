"""One device: is it right, what is it fast at, which evaluators and batches suit it.

`python -m benchmarks.device [--budget SECONDS] [--output FILE]`

Runs on JAX's default device, without a network, within the budget: what there is no time or memory
for is left out, and said. Writes Markdown, and JSON beside it.
"""

import json
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax

from benchmarks import device_parts as parts
from benchmarks.arguments import parser_of, positive
from benchmarks.device_parts import fitted_costs, table_row
from benchmarks.device_plan import SMALL, WHOLE, Clock, Part, Row, Sizes
from benchmarks.report import Check, check_table, finish, machine, markdown_table
from sphere_ebm.hamiltonian.fields.costs import Cost, device_kind

BUDGET = 460
"""Seconds, with a reserve to the eight minutes that a lent device is used for."""

PARTS: dict[str, tuple[Callable[[Clock, Sizes], Part], float]] = {
    "roofline": (parts.roofline, 0.08),
    "correctness": (parts.correctness, 0.3),
    "crossover": (parts.crossover, 0.55),
    "steps": (parts.stepping, 0.82),
    "joining": (parts.joining, 1.0),
}
"""Name -> what measures it, and the share of the budget by whose end it must be done."""


def described() -> dict[str, Any]:
    """The device and the machine that it is in."""
    device = jax.devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    limit = (stats or {}).get("bytes_limit")
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "kind": device_kind(),
        "devices": jax.device_count(),
        "memory_gb": None if limit is None else limit / 1e9,
        "host": platform.processor() or platform.machine(),
    }


def run(budget: float, sizes: Sizes) -> list[Part]:
    """All parts, one after the other; what one leaves of its time the next may use."""
    clock = Clock(budget)
    found = []
    for name, (measure, share) in PARTS.items():
        own = clock.until(share * budget)
        before = clock.spent
        part = measure(own, sizes) if own.left > 0 else Part(name, skipped=["all: no time left"])
        part.seconds = clock.spent - before
        found.append(part)
    return found


def cell(value: Any) -> str:
    """A value of a row as text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: Sequence[Row]) -> str:
    """Rows as Markdown; a dash where one has no such column."""
    head = list(dict.fromkeys(name for row in rows for name in row))
    return markdown_table(head, [[cell(row.get(name, "–")) for name in head] for row in rows])


def section(part: Part) -> str:
    """What a part has to say."""
    lines = [f"## {part.name.capitalize()} ({part.seconds:.0f} s)"]
    lines += [table(part.rows)] if part.rows else []
    lines += ["Left out: " + "; ".join(part.skipped) + "."] if part.skipped else []
    return "\n\n".join(lines)


def report(found: Sequence[Part], costs: dict[str, Cost], checks: Sequence[Check]) -> str:
    """Everything as Markdown."""
    about = ", ".join(f"{name} {cell(value)}" for name, value in described().items())
    lines = ["# A device", f"{machine(['jax', 'jaxlib', 'thrml'])}\n- {about}"]
    lines += [section(part) for part in found]
    if costs:
        lines.append(f"## Costs\n\n```python\n{table_row(costs)}\n```")
    lines.append(check_table(checks))
    return "\n\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the device is right, 1 when a check failed, 2 for wrong usage."""
    cli = parser_of("device", __doc__)
    cli.add_argument(
        "--budget", type=positive, default=BUDGET, metavar="SECONDS", help="for all of it"
    )
    cli.add_argument(
        "--small", action="store_true", help="sizes that a CPU does in seconds, to try the script"
    )
    options = cli.parse_args(arguments)
    found = run(options.budget, SMALL if options.small else WHOLE)
    checks = [check for part in found for check in part.checks]
    timed = next(part.rows for part in found if part.name == "crossover")
    costs = fitted_costs(timed)
    facts = {
        "machine": described(),
        "budget_s": options.budget,
        "parts": {
            part.name: {"seconds": part.seconds, "rows": part.rows, "left_out": part.skipped}
            for part in found
        },
        "costs": {name: cost._asdict() for name, cost in costs.items()},
        "checks": [
            {"target": each.target, "measured": each.measured, "passed": each.passed}
            for each in checks
        ],
    }
    path = options.output.with_suffix(".json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return finish(report(found, costs, checks), options.output, checks)


if __name__ == "__main__":
    sys.exit(main())
