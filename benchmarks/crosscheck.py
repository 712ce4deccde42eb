"""Our samplers against an independent one, NUTS of BlackJAX, on one Hamiltonian.

`python -m benchmarks.crosscheck`.

NUTS knows no sphere: it draws x_i in R³ and r_i in R from the density exp(-H(x_i / |x_i|, r_i) / T)
Π_i f(|x_i|). Whatever f is, lengths are then independent of directions, and u_i = x_i / |x_i|
follows exp(-H / T) dΩ exactly. f keeps points on a shell, because near the origin x / |x| is steep.
With our samplers NUTS shares the energy H alone, as the factors evaluate it: its gradient is
autodiff's.

Exit code 0 when every target is met, 1 when one is missed, 2 for wrong usage.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy import stats
from thrml import Block

from benchmarks.arguments import add_counts, parser_of
from benchmarks.diagnostics import Diagnosis, diagnose, least_ess, standard_score
from benchmarks.report import Check, finish, machine, markdown_table, say, target_section
from sphere_ebm import PlacementConfig
from sphere_ebm.geometry.sphere import normalise
from sphere_ebm.graph.graph import build_graph
from sphere_ebm.hamiltonian.base import AbstractSphereFactor, SphereState
from sphere_ebm.maps.place import hamiltonian_factors
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.leimkuhler_matthews import LeimkuhlerMatthews
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.programs import build_program, sphere_block
from sphere_ebm.sampling.underdamped import Underdamped
from sphere_ebm.studies.chains import sample_chains
from sphere_ebm.studies.observers import OrderObserver

PACKAGES = ("sphere-ebm", "blackjax", "arviz-stats", "jax", "thrml")
MOST_POINTS = 20
LEAST_P = 1e-3
WRONG_TEMPERATURE = 1.05
NUTS = "NUTS (BlackJAX)"
MEASURES = ("energy", "polar order", "nematic order")
MIDDLE_RADIUS = 20.0
SHELL = 4.0
"""f(|x|) = exp(-(|x| - 4)² / 2): so far out its own spread of 1 is about that which neighbours
leave to a direction.
"""


@dataclass(frozen=True, eq=False)
class System:
    """A Hamiltonian of a few points with all three terms, and the temperature T that it is sampled
    at.

    `direction_mobility` is 1/s². Radii lie near 20, far more of their spreads sqrt(T) from 0 than
    any chain reaches.
    """

    block: Block
    factors: list[AbstractSphereFactor]
    temperature: float
    direction_mobility: float

    def energy(self, state: SphereState) -> Float[Array, ""]:
        """H, from the factors: no sampler has a part in it."""
        return jnp.sum(jnp.stack([factor.energy(state) for factor in self.factors]))

    def starts(self, chains: int, seed: int) -> SphereState:
        """Uniform directions and radii around the middle one, other ones in every chain."""
        rng = np.random.default_rng(seed)
        direction = normalise(
            jnp.asarray(rng.standard_normal((chains, len(self.block), 3)), jnp.float32)
        )
        return SphereState(
            direction, jnp.asarray(rng.normal(MIDDLE_RADIUS, 1, direction.shape[:2]), jnp.float32)
        )


@dataclass(frozen=True)
class Budget:
    """Numbers of chains and, for each of them, of steps of warm-up and of draws.

    NUTS takes a tenth of both, which still costs it more gradients; our samplers make `thin` steps
    from draw to draw.
    """

    chains: int
    warmup: int
    draws: int
    thin: int


@dataclass(frozen=True, eq=False)
class Run:
    """What one sampler drew.

    Each of `MEASURES` with shape (chains, draws), and the gradients that all draws cost.
    """

    sampler: str
    values: dict[str, Float[np.ndarray, "chains draws"]]
    gradients: int
    divergences: int = 0

    def diagnosis(self, measure: str) -> Diagnosis:
        return diagnose(self.values[measure])

    def independent(self, measure: str) -> Float[np.ndarray, " kept"]:
        """Draws two autocorrelation times apart, by what is slowest of mean and quantiles.

        About independent.
        """
        values = self.values[measure]
        apart = max(1, round(2 * values.size / least_ess(values)))
        return values[:, ::apart].reshape(-1)

    def efficiency(self, measure: str) -> float:
        """Effective samples per 1000 gradients."""
        return 1000 * self.diagnosis(measure).ess / self.gradients


def make_system(points: int, temperature: float, seed: int) -> System:
    """The k-NN graph of random embeddings, with weights and strengths as for a map."""
    embeddings = np.random.default_rng(seed).standard_normal((points, 4)).astype(np.float32)
    config = PlacementConfig(osmotic_evaluator="direct", neighbours=4)
    graph = build_graph(embeddings, neighbours=config.neighbours)
    block = sphere_block(points)
    ideal = np.linspace(MIDDLE_RADIUS - 2, MIDDLE_RADIUS + 2, points).astype(np.float32)
    mobility = config.sharpness(points) ** -2
    return System(block, hamiltonian_factors(block, ideal, graph, config), temperature, mobility)


def measure(system: System, state: SphereState) -> dict[str, Array]:
    """`MEASURES` of one configuration, independent of observers."""
    u = state.direction
    n = state.radius.shape[0]
    tensor = 1.5 * u.T @ u / n - 0.5 * jnp.eye(3, dtype=u.dtype)
    values = (
        system.energy(state),
        jnp.linalg.norm(jnp.mean(u, axis=0)),
        jnp.linalg.eigvalsh(tensor)[-1],
    )
    return dict(zip(MEASURES, values, strict=True))


def sample_nuts(system: System, budget: Budget, seed: int) -> Run:
    """NUTS in ambient coordinates.

    Stan's windows adapt step size and diagonal mass in each chain.
    """

    def on_sphere(position: SphereState) -> SphereState:
        return SphereState(normalise(position.direction), position.radius)

    def log_density(position: SphereState) -> Float[Array, ""]:
        length = jnp.linalg.norm(position.direction, axis=1)
        return (
            -system.energy(on_sphere(position)) / system.temperature
            - jnp.sum((length - SHELL) ** 2) / 2
        )

    def one_chain(key: Key[Array, ""], start: SphereState) -> tuple[dict[str, Array], Array, Array]:
        key_warmup, key_draws = jax.random.split(key)
        adaptation = blackjax.window_adaptation(blackjax.nuts, log_density)
        (state, parameters), _ = adaptation.run(key_warmup, start, budget.warmup // 10)
        nuts = blackjax.nuts(log_density, **parameters)

        def draw(
            state: Any, key: Key[Array, ""]
        ) -> tuple[Any, tuple[dict[str, Array], Array, Array]]:
            state, info = nuts.step(key, state)
            return state, (
                measure(system, on_sphere(state.position)),
                info.num_integration_steps,
                info.is_divergent,
            )

        return jax.lax.scan(draw, state, jax.random.split(key_draws, budget.draws // 10))[1]

    say(f"crosscheck: {NUTS}")
    start = system.starts(budget.chains, seed)
    # BlackJAX relies on implicit promotion, also where JAX is told to refuse it
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        keys = jax.random.split(jax.random.key(seed), budget.chains)
        on_shell = SphereState(SHELL * start.direction, start.radius)
        values, steps, divergent = jax.jit(jax.vmap(one_chain))(keys, on_shell)
    drawn = {name: np.asarray(each, np.float64) for name, each in values.items()}
    return Run(NUTS, drawn, int(np.sum(steps)), int(np.sum(divergent)))


def our_samplers(
    system: System, temperature: float, adapt_steps: int
) -> dict[str, AbstractLangevin]:
    """Small steps for the two schemes whose law depends on h; their errors are O(h²)."""
    n = len(system.block)

    def law(step_size: float) -> Coefficients:
        return Coefficients(temperature, step_size, direction_mobility=system.direction_mobility)

    return {
        "MALA": MALA(law(0.1), adapt_steps=adapt_steps),
        "LeimkuhlerMatthews, h = 0.05": LeimkuhlerMatthews(law(0.05), n),
        "Underdamped, h = 0.15": Underdamped(law(0.15), n, friction=0.7),
    }


def sample_ours(
    system: System, name: str, sampler: AbstractLangevin, budget: Budget, seed: int
) -> Run:
    """One of our samplers; MALA evaluates the gradient at either end of a step, the others once."""
    say(f"crosscheck: {name}")
    samples = sample_chains(
        jax.random.key(seed),
        build_program(system.block, system.factors, sampler),
        system.starts(budget.chains, seed),
        chains=budget.chains,
        warmup=budget.warmup,
        draws=budget.draws,
        thin=budget.thin,
        observers=[OrderObserver()],
    )
    seen = samples.observables
    values = dict(
        zip(
            MEASURES,
            (samples.total_energy, seen["polar_order"], seen["nematic_order"]),
            strict=True,
        )
    )
    evaluations = 2 if isinstance(sampler, MALA) else 1
    return Run(name, values, evaluations * budget.chains * budget.draws * budget.thin)


def same_law(one: Run, other: Run, measure: str) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test."""
    return float(stats.ks_2samp(one.independent(measure), other.independent(measure)).pvalue)


def same_mean(one: Run, other: Run, measure: str) -> float:
    """p-value of the z-test with Monte-Carlo standard errors."""
    return float(
        2 * stats.norm.sf(abs(standard_score(one.diagnosis(measure), other.diagnosis(measure))))
    )


def law_table(runs: Sequence[Run], reference: Run) -> str:
    """One row per sampler and measure."""
    rows = []
    for run in (reference, *runs):
        for name in MEASURES:
            found = run.diagnosis(name)
            against = (
                ["–", "–"]
                if run is reference
                else [f"{p(run, reference, name):.3g}" for p in (same_law, same_mean)]
            )
            rows.append(
                [
                    run.sampler,
                    name,
                    f"{found.mean:.4f} ± {found.mcse:.4f}",
                    f"{found.r_hat:.4f}",
                    *against,
                ]
            )
    return markdown_table(
        ["sampler", "measure", "mean ± MCSE", "R-hat", "p (two-sample KS)", "p (means)"], rows
    )


def efficiency_table(runs: Sequence[Run]) -> str:
    """Effective samples (bulk) of each measure, and per 1000 gradients."""
    rows = [
        [
            run.sampler,
            f"{run.gradients}",
            *(f"{run.diagnosis(name).ess:.0f}" for name in MEASURES),
            *(f"{run.efficiency(name):.2f}" for name in MEASURES),
        ]
        for run in runs
    ]
    header = ["sampler", "gradients", *(f"ESS, {name}" for name in MEASURES)]
    return markdown_table([*header, *(f"per 1000 gradients, {name}" for name in MEASURES)], rows)


def checks(runs: Sequence[Run], wrong: Run, reference: Run) -> list[Check]:
    """Every sampler follows the law of NUTS, and `wrong`, whose T is 5 % too high, does not."""
    found = [Check(f"{NUTS}: divergences", reference.divergences, "=", 0)]
    for run in runs:
        agreement = {f"law of the {name}": same_law(run, reference, name) for name in MEASURES}
        agreement["mean energy"] = same_mean(run, reference, "energy")
        found += [
            Check(f"{run.sampler}: p, {what}", p, ">=", LEAST_P) for what, p in agreement.items()
        ]
    power = {
        "law of the energy": same_law(wrong, reference, "energy"),
        "mean energy": same_mean(wrong, reference, "energy"),
    }
    found += [
        Check(f"power: {wrong.sampler}: p, {what}", p, "<", LEAST_P) for what, p in power.items()
    ]
    return found


def build_report(system: System, budget: Budget, seed: int) -> tuple[str, list[Check]]:
    """Run everything; the report in Markdown, and its targets."""
    header = machine(PACKAGES)
    reference = sample_nuts(system, budget, seed)
    samplers = our_samplers(system, system.temperature, budget.warmup // 2)
    runs = [sample_ours(system, name, each, budget, seed + 1) for name, each in samplers.items()]
    hot = our_samplers(system, WRONG_TEMPERATURE * system.temperature, budget.warmup // 2)["MALA"]
    wrong = sample_ours(system, f"MALA at {WRONG_TEMPERATURE:g} T", hot, budget, seed + 2)
    targets = checks(runs, wrong, reference)
    text = f"""# Our samplers against BlackJAX's NUTS

{header}
- {len(system.block)} points, gravity, lateral attraction (k-NN graph of random embeddings) and
  osmotic pressure
  (direct), T = {system.temperature:g}, {budget.chains} chains from random configurations, seed
  {seed}
- NUTS in ambient coordinates, x in R³ on a shell of |x|, whose direction follows the same law as u
- laws are compared on draws two autocorrelation times apart; gradients are those of the draws,
  without warm-up: NUTS one per integration step, MALA two per step, the others one

{target_section(targets)}

## The same law

{law_table(runs, reference)}

## Effective samples

{efficiency_table([reference, *runs])}"""
    return text, targets


def parser() -> argparse.ArgumentParser:
    cli = parser_of("crosscheck", __doc__)
    cli.add_argument("--points", type=int, default=16, help=f"6 to {MOST_POINTS} (default 16)")
    cli.add_argument("--temperature", type=float, default=0.5, metavar="T", help="default 0.5")
    counts = {
        "chains": (6, "at least 2"),
        "warmup": (10_000, "steps of each chain, for NUTS a tenth"),
        "draws": (40_000, "of each chain, for NUTS a tenth"),
        "thin": (5, "steps between two draws of ours"),
    }
    add_counts(cli, counts)
    cli.add_argument("--seed", type=int, default=0, help="default 0")
    return cli


def main(arguments: Sequence[str] | None = None) -> int:
    cli = parser()
    options = cli.parse_args(arguments)
    if not 6 <= options.points <= MOST_POINTS:
        cli.error(f"--points must be 6 to {MOST_POINTS}; got {options.points}.")
    if options.chains < 2 or options.thin < 1 or min(options.warmup, options.draws) < 1000:
        cli.error(
            "--chains must be at least 2, --thin at least 1, --warmup and --draws at least 1000."
        )
    budget = Budget(options.chains, options.warmup, options.draws, options.thin)
    text, targets = build_report(
        make_system(options.points, options.temperature, options.seed), budget, options.seed
    )
    return finish(text, options.output, targets)


if __name__ == "__main__":
    sys.exit(main())
