"""MALA at equilibrium on real data, at several temperatures.

`python -m benchmarks.equilibrium --data DIR`.

Exit code 0 when every target is met, 1 when one is missed, 2 for wrong usage.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import stats
from thrml import FactorSamplingProgram

from benchmarks.arguments import add_counts, add_data, loaded, parser_of
from benchmarks.diagnostics import Diagnosis, diagnose, standard_score
from benchmarks.posed import Problem, exact_energy, pose
from benchmarks.report import Check, finish, machine, markdown_table, say, spread, target_section
from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.maps.starts import random_directions
from sphere_ebm.quality.neighbours import neighbour_recall
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.programs import build_program
from sphere_ebm.sampling.schedules import Linear
from sphere_ebm.studies.chains import sample_chains
from sphere_ebm.studies.samples import Samples

PACKAGES = ("sphere-ebm", "arviz-stats", "jax", "thrml", "numpy")
LEAST_ACCEPTANCE = 0.5
MOST_ACCEPTANCE = 0.7
R_HAT_LIMIT = 1.05
ANNEALING_STEP = 0.3
UNDERDAMPED_STEP = 0.1
HEADER = (
    "T",
    "acceptance",
    "step size h",
    "H per point",
    "R-hat of H",
    "R-hat of the lateral term",
    "ESS of H",
    "steps of all chains per effective sample",
    "seconds per effective sample",
    "recall@15",
)


@dataclass(frozen=True)
class Budget:
    """Chains, and along each of them.

    Steps of annealing and of warm-up, draws, and steps between two draws.
    """

    chains: int
    anneal: int
    warmup: int
    draws: int
    thin: int

    @property
    def steps(self) -> int:
        """Steps of drawing, all chains together."""
        return self.chains * self.draws * self.thin


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """One sampler at one temperature.

    `seconds` of drawing, warm-up and compilation left out, and recall by chain.
    """

    samples: Samples
    steps: int
    seconds: float
    recall: tuple[float, ...]

    @property
    def temperature(self) -> float:
        return float(self.samples.temperature[0])

    def energy(self) -> Diagnosis:
        """H per point."""
        return diagnose(self.samples.total_energy / self.samples.last.radius.shape[1])

    def cells(self) -> list[str]:
        energy = self.energy()
        return [
            f"{self.temperature:g}",
            spread(list(self.samples.acceptance)),
            spread(list(self.samples.observables["step_size"][:, -1].astype(float))),
            f"{energy.mean:.4f} ± {energy.mcse:.4f}",
            f"{energy.r_hat:.3f}",
            f"{diagnose(self.samples.energy['lateral']).r_hat:.3f}",
            f"{energy.ess:.0f}",
            f"{self.steps / energy.ess:.0f}",
            f"{self.seconds / energy.ess:.2f}",
            spread(self.recall),
        ]


def anneal(problem: Problem, temperature: float, budget: Budget) -> SphereState:
    """Every chain from random directions of its own, coupling 8 to 1 at T by underdamped dynamics.

    (chains, n, ...).
    """
    n = len(problem)
    config = problem.config
    directions = np.stack([random_directions(n, seed) for seed in range(budget.chains)])
    start = SphereState(
        jnp.asarray(directions), jnp.asarray(np.tile(problem.ideal, (budget.chains, 1)))
    )
    coupling = Linear(config.coupling_start, 1.0, config.cooling * budget.anneal)
    program = _program(problem, problem.underdamped(temperature, ANNEALING_STEP, coupling))
    key = jax.random.key(config.seed)
    last = sample_chains(
        key, program, start, chains=budget.chains, warmup=budget.anneal, draws=1
    ).last
    return SphereState(normalise(jnp.asarray(last.direction)), jnp.asarray(last.radius))


def draw(
    problem: Problem, sampler: AbstractLangevin, start: SphereState, budget: Budget
) -> Equilibrium:
    """Warm up and draw. The clock starts after the warm-up, by when everything is compiled."""
    clock: dict[int, float] = {}
    samples = sample_chains(
        jax.random.key(problem.config.seed + 1),
        _program(problem, sampler),
        start,
        chains=budget.chains,
        warmup=budget.warmup,
        draws=budget.draws,
        thin=budget.thin,
        progress=lambda done, _: clock.setdefault(done, time.perf_counter()),
    )
    seconds = max(clock.values()) - clock[budget.warmup]
    recall = tuple(
        neighbour_recall(problem.embeddings, u, queries=None) for u in samples.last.direction
    )
    found = Equilibrium(samples, budget.steps, seconds, recall)
    energy = found.energy()
    name = type(sampler).__name__
    say(
        f"equilibrium: T = {found.temperature:g}, {name}: H per point {energy}, acceptance"
        f" {samples.acceptance}"
    )
    say(
        f"equilibrium: {seconds:.1f} s for {budget.draws * budget.thin} steps of all chains, recall"
        f" {recall}"
    )
    return found


def sample_mala(
    problem: Problem, temperature: float, start: SphereState, budget: Budget
) -> Equilibrium:
    coefficients = Coefficients(temperature, 0.1, **problem.dynamics())
    sampler = MALA(coefficients, adapt_steps=budget.warmup // 2)
    return draw(problem, sampler, start, budget)


def _program(problem: Problem, sampler: AbstractLangevin) -> FactorSamplingProgram:
    return build_program(problem.block, problem.factors, sampler)


def rounding(problem: Problem, reached: Equilibrium, moves: int) -> Float[np.ndarray, " moves"]:
    """Error of the change of H / T over accepted moves of MALA.

    Float32, summed as MALA does, against float64.
    """
    step_size = float(reached.samples.observables["step_size"][0, -1])
    coefficients = Coefficients(reached.temperature, step_size, **problem.dynamics())
    samples = sample_chains(
        jax.random.key(problem.config.seed + 2),
        _program(problem, MALA(coefficients)),
        jax.tree.map(lambda x: jnp.asarray(x[0]), reached.samples.last),
        chains=1,
        warmup=0,
        draws=moves,
        keep_states=True,
    )
    total = sum(each[0] for each in samples.energy.values())
    configurations = (jax.tree.map(lambda x, i=i: x[0, i], samples.states) for i in range(moves))
    exact = np.asarray([exact_energy(problem, state) for state in configurations])
    moved = np.diff(exact) != 0
    return (np.diff(total.astype(np.float64)) - np.diff(exact))[moved] / reached.temperature


def checks(main: Equilibrium) -> list[Check]:
    """Targets at the temperature that is meant to be in equilibrium."""
    at = f"T = {main.temperature:g}"
    acceptance = main.samples.acceptance
    return [
        Check(
            f"{at}: lowest acceptance of a chain", float(acceptance.min()), ">=", LEAST_ACCEPTANCE
        ),
        Check(
            f"{at}: highest acceptance of a chain", float(acceptance.max()), "<=", MOST_ACCEPTANCE
        ),
        Check(f"{at}: R-hat of H", main.energy().r_hat, "<", R_HAT_LIMIT),
    ]


def against(main: Equilibrium, other: Equilibrium) -> str:
    """MALA beside underdamped dynamics, which has an error of O(h²) and no rejections."""
    p = 2 * stats.norm.sf(abs(standard_score(main.energy(), other.energy())))
    rows = []
    for name, found in (("MALA", main), (f"Underdamped, h = {UNDERDAMPED_STEP}", other)):
        energy = found.energy()
        evaluations = (2 if name == "MALA" else 1) * found.steps
        mean = f"{energy.mean:.4f} ± {energy.mcse:.4f}"
        per = [
            f"{energy.ess:.0f}",
            f"{evaluations / energy.ess:.0f}",
            f"{found.seconds / energy.ess:.2f}",
        ]
        rows.append([name, mean, f"{energy.r_hat:.3f}", *per])
    header = [
        "sampler",
        "H per point",
        "R-hat of H",
        "ESS of H",
        "gradients per effective sample",
        "seconds per it",
    ]
    return f"{markdown_table(header, rows)}\n\nThe means differ with p = {p:.2g} (z-test)."


def build_report(
    problem: Problem, name: str, main: float, others: Sequence[float], budget: Budget
) -> tuple[str, list[Check]]:
    """Sample at every temperature; the report in Markdown, and its targets."""
    header = machine(PACKAGES)
    found: dict[float, Equilibrium] = {}
    start = anneal(problem, main, budget)
    for temperature in [main, *others]:
        begin = start if temperature == main else anneal(problem, temperature, budget)
        found[temperature] = sample_mala(problem, temperature, begin, budget)
    reference = draw(problem, problem.underdamped(main, UNDERDAMPED_STEP), start, budget)
    error = rounding(problem, found[main], min(100, budget.draws))
    targets = checks(found[main])
    rows = [found[temperature].cells() for temperature in sorted(found, reverse=True)]
    text = f"""# MALA at equilibrium on {len(problem)} points of {name}

{header}
- {budget.chains} chains from random directions of their own, {budget.anneal} steps of annealing,
  {budget.warmup} of
  warm-up (h adapted in the first half), then {budget.draws} draws, {budget.thin} steps apart
- R-hat is rank-normalised, the effective sample size (ESS) is the bulk one, means ± their
  Monte-Carlo standard error;
  acceptance, h and recall (of the last configurations): mean over chains (lowest..highest)
- seconds are wall time of drawing, all chains in one process; no warm-up and no compilation in them

{target_section(targets)}

## MALA by temperature

{markdown_table(HEADER, rows)}

## Against underdamped dynamics at T = {main:g}

{against(found[main], reference)}

## Float32 at T = {main:g}

Change of H / T over {len(error)} accepted moves, float32 less float64: mean {error.mean():.1e},
standard deviation
{error.std():.1e}."""
    return text, targets


def parser() -> argparse.ArgumentParser:
    cli = parser_of("equilibrium", __doc__)
    add_data(cli, "NAME.npz (digits needs none)")
    cli.add_argument("--set", default="wordnet-2k", metavar="NAME", help="default: wordnet-2k")
    cli.add_argument(
        "--seed", type=int, default=0, help="of the points and of all random numbers (default 0)"
    )
    cli.add_argument(
        "--temperature",
        type=float,
        default=0.2,
        metavar="T",
        help="what targets hold for (default .2)",
    )
    cli.add_argument(
        "--others",
        nargs="*",
        type=float,
        default=[1.0, 0.5, 0.1],
        metavar="T",
        help="measured too (default 1 .5 .1)",
    )
    counts = {
        "points": (1000, "drawn from the set"),
        "chains": (4, "from random directions of their own"),
        "anneal": (2000, "steps of each chain"),
        "warmup": (1000, "steps of each chain"),
        "draws": (3000, "of each chain"),
        "thin": (10, "steps between two draws"),
    }
    add_counts(cli, counts)
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser()
    options = cli.parse_args(arguments)
    (data,) = loaded(cli, [options.set], options.data, "--set")
    if options.points > len(data):
        cli.error(
            f"--points must be at most {len(data)}, all of {options.set}; got {options.points}."
        )
    problem = pose(data, options.points, options.seed)
    budget = Budget(options.chains, options.anneal, options.warmup, options.draws, options.thin)
    text, targets = build_report(problem, options.set, options.temperature, options.others, budget)
    return finish(text, options.output, targets)


if __name__ == "__main__":
    sys.exit(main())
