"""Every scheme against every law, twenty times over, and the order of its bias.

`python -m benchmarks.laws`.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np

from benchmarks.arguments import parser_of
from benchmarks.exact_laws import PAIR_COUPLING
from benchmarks.law_programs import LARGE_STEP, PLANS, RUNS, Plan, configured, random_start
from benchmarks.law_systems import CHAINS, LAWS, PULL, SCHEMES, p_values
from benchmarks.report import Check, check_table, finish, machine, markdown_table, say
from sphere_ebm.studies.chains import sample_chains

LEVEL = 0.01
WRONG = 0.05
LARGE_RUNS = ("pair", "two", "three")
"""Runs whose laws Euler-Maruyama misses at a large step: it diffuses without bias."""
BIAS_TEMPERATURE = 3.0
"""T of the runs that measure the bias: that of the coupling, so that the law is far from both of
its limits.
"""
STEPS = {
    "Euler-Maruyama": (0.004, 0.008, 0.016, 0.032),
    "Leimkuhler-Matthews": (0.05, 0.07, 0.1, 0.14),
    "Underdamped": (0.12, 0.16, 0.2, 0.24),
    "MALA": (0.05, 0.1),
}
"""Step sizes at which the bias is measured: as small as the standard error allows."""
ORDERS = {
    "Euler-Maruyama": (1.0, 0.2),
    "Leimkuhler-Matthews": (2.0, 0.3),
    "Underdamped": (2.0, 0.4),
}
UNDETECTED = 3.0
"""Standard errors below which a bias is not detected."""
BIAS_CHAINS = 16_000
DRAWS = 200


@dataclass(frozen=True)
class Cell:
    """Rejections at p < `LEVEL` among `keys` runs of the right law, and among as many of a wrong
    one.
    """

    scheme: str
    law: str
    plan: Plan
    keys: int
    right: int
    wrong: int

    def checks(self) -> list[Check]:
        """At most 1 of 20 rejections of the right law, at least 19 of 20 of the wrong one.

        Fewer keys allow none.
        """
        name = f"{self.scheme}, {self.law}"
        allowed = self.keys // 20
        return [
            Check(f"{name}: right law rejected", self.right, "<=", allowed),
            Check(f"{name}: wrong law rejected", self.wrong, ">=", self.keys - allowed),
        ]


@dataclass(frozen=True)
class Bias:
    """Mean energy of the harmonic pair less that of the Gibbs law, and its standard error."""

    step_size: float
    value: float
    error: float


def rejections(
    scheme: str,
    name: str,
    keys: int,
    chains: int | None,
    wrong: float,
    plan: Plan | None = None,
    judged_as: str | None = None,
) -> dict[str, int]:
    """How often each law of the run is rejected.

    `wrong` is added to T for even keys, taken away for odd ones.
    """
    found = [
        p_values(
            scheme,
            name,
            seed=seed,
            chains=chains,
            wrong=wrong if seed % 2 == 0 else -wrong,
            plan=plan,
            judged_as=judged_as,
        )
        for seed in range(keys)
    ]
    return {law: sum(p[law] < LEVEL for p in found) for law in found[0]}


def examine(scheme: str, keys: int, chains: int | None) -> list[Cell]:
    """All laws for one scheme."""
    cells = []
    for name in RUNS:
        right, wrong = (rejections(scheme, name, keys, chains, error) for error in (0.0, WRONG))
        say(f"laws: {scheme}, {name}: rejected {right}, when wrong {wrong}")
        cells += [
            Cell(scheme, law, PLANS[scheme][name], keys, right[law], wrong[law]) for law in right
        ]
    return sorted(cells, key=lambda cell: list(LAWS).index(cell.law))


def at_large_step(keys: int, chains: int | None) -> dict[str, int]:
    """Rejections of Euler-Maruyama by the Gibbs law at the step size of MALA and the coloured
    sampler.
    """
    found: dict[str, int] = {}
    for name in LARGE_RUNS:
        say(f"laws: Euler-Maruyama at h = {LARGE_STEP:g}, {name}")
        found |= rejections(
            "Euler-Maruyama", name, keys, chains, 0.0, Plan(LARGE_STEP, 40), judged_as="MALA"
        )
    return found


def measure_bias(scheme: str, step_size: float, chains: int) -> Bias:
    """`DRAWS` draws of each chain, about one relaxation time apart.

    The error is from independent chains.
    """
    warmup, apart = (8.0, 1.2) if scheme == "Underdamped" else (1.0, 0.15)
    run = RUNS["pair"]
    samples = sample_chains(
        jax.random.key(0),
        configured(scheme, run, Plan(step_size, 0), temperature=BIAS_TEMPERATURE),
        random_start(0, run, chains),
        chains=chains,
        warmup=int(np.ceil(warmup / step_size)),
        draws=DRAWS,
        thin=int(np.ceil(apart / step_size)),
    )
    energy = samples.energy["lateral"].mean(axis=1, dtype=np.float64)
    a = PAIR_COUPLING / BIAS_TEMPERATURE
    exact = PAIR_COUPLING * (1 - (1 / np.tanh(a) - 1 / a))
    return Bias(
        step_size, float(energy.mean()) - exact, float(energy.std(ddof=1) / np.sqrt(chains))
    )


def fitted_order(biases: Sequence[Bias]) -> tuple[float, float]:
    """Slope of log |bias| over log h by weighted least squares, and its standard error."""
    x = np.log([bias.step_size for bias in biases])
    y = np.log([abs(bias.value) for bias in biases])
    weight = np.asarray([(bias.value / bias.error) ** 2 for bias in biases])
    centred = x - np.average(x, weights=weight)
    spread = float(weight @ centred**2)
    return float(weight @ (centred * y)) / spread, spread**-0.5


def order_checks(scheme: str, biases: Sequence[Bias]) -> list[Check]:
    """The fitted order within its bounds; or, for a scheme without bias, that none is detected."""
    if scheme not in ORDERS:
        worst = max(abs(bias.value) / bias.error for bias in biases)
        return [Check(f"{scheme}: bias at any step", worst, "<", UNDETECTED, "standard errors")]
    order, _ = fitted_order(biases)
    wanted, margin = ORDERS[scheme]
    return [Check(f"{scheme}: |order - {wanted:g}|", abs(order - wanted), "<=", margin)]


def law_table(cells: Sequence[Cell], large: dict[str, int]) -> str:
    """One row per scheme, one column per law: rejections of the right law and of the wrong one."""
    rows = []
    for scheme in dict.fromkeys(cell.scheme for cell in cells):
        own = {cell.law: cell for cell in cells if cell.scheme == scheme}
        rows.append([scheme, *(f"{own[law].right} / {own[law].wrong}" for law in LAWS)])
    label = f"Euler-Maruyama, h = {LARGE_STEP:g}, by the Gibbs law"
    rows.append([label, *(f"**{large[law]}**" if law in large else "–" for law in LAWS)])
    return markdown_table(["scheme", *LAWS], rows)


def step_table(schemes: Sequence[str]) -> str:
    """Step size and number of steps of every run."""
    rows = [
        [
            scheme,
            *(f"{PLANS[scheme][name].step_size:g} x {PLANS[scheme][name].steps}" for name in RUNS),
        ]
        for scheme in schemes
    ]
    return markdown_table(["scheme", *RUNS], rows)


def order_table(biases: dict[str, list[Bias]]) -> str:
    rows = []
    for scheme, measured in biases.items():
        order, error = fitted_order(measured)
        text = f"{order:.2f} ± {error:.2f}" if scheme in ORDERS else "none detectable"
        row = (f"{bias.value:+.4f} ± {bias.error:.4f} at {bias.step_size:g}" for bias in measured)
        rows.append([scheme, text, "; ".join(row)])
    return markdown_table(["scheme", "order", "bias of the mean energy at h"], rows)


def report(
    header: str,
    cells: Sequence[Cell],
    large: dict[str, int],
    biases: dict[str, list[Bias]],
    checks: list[Check],
) -> str:
    failed = [check for check in checks if not check.passed]
    chains = ", ".join(f"{name} {count}" for name, count in CHAINS.items())
    summary = check_table(failed) if failed else "All targets are met."
    return f"""# Laws that the samplers obey

{header}
- {cells[0].keys} keys, independent chains, T = 1; chains a run unless asked otherwise: {chains}
- rejected: p < {LEVEL:g}; wrong: T off by {100 * WRONG:g} %, up for even keys, down for odd ones.
  T drops out of the
  law of uniform directions: there the two points attract each other with {PULL:g} T

## Rejections of the right law / of the wrong one

{law_table(cells, large)}

Euler-Maruyama is judged by the stationary law of its own steps, except in this last row and for
three points, where its step is small; all others by the Gibbs law.

## Step size x steps

{step_table(list(dict.fromkeys(cell.scheme for cell in cells)))}

## Order of the bias in the step size

{order_table(biases)}

## Targets: {len(checks) - len(failed)} of {len(checks)} met

{summary}"""


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser_of("laws", __doc__)
    cli.add_argument(
        "--keys", type=int, default=20, metavar="N", help="runs of every law (default 20)"
    )
    cli.add_argument(
        "--chains", type=int, metavar="N", help="chains of every run (default: by run)"
    )
    cli.add_argument("--schemes", nargs="+", choices=SCHEMES, default=list(SCHEMES), metavar="NAME")
    options = cli.parse_args(arguments)
    header = machine(("sphere-ebm", "jax", "thrml"))
    biases: dict[str, list[Bias]] = {}
    for scheme in [name for name in STEPS if name in options.schemes]:
        say(f"laws: bias of {scheme}")
        biases[scheme] = [
            measure_bias(scheme, h, options.chains or BIAS_CHAINS) for h in STEPS[scheme]
        ]
    cells = [
        cell for scheme in options.schemes for cell in examine(scheme, options.keys, options.chains)
    ]
    large = (
        at_large_step(options.keys, options.chains) if "Euler-Maruyama" in options.schemes else {}
    )
    checks = [check for cell in cells for check in cell.checks()]
    checks += [
        Check(f"Euler-Maruyama at a large step, {law}", n, "=", options.keys)
        for law, n in large.items()
    ]
    checks += [
        check for scheme, measured in biases.items() for check in order_checks(scheme, measured)
    ]
    return finish(report(header, cells, large, biases, checks), options.output, checks)


if __name__ == "__main__":
    sys.exit(main())
