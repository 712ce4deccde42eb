"""Draws of small systems by every scheme, and one p-value per law.

A run is thousands of independent chains of two or three points. It ends in a `Draw`, one
configuration a chain, from which laws are judged at T = 1. A sampler of another temperature must
then be found out.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Key
from scipy import stats
from thrml import Block, FactorSamplingProgram, SamplingSchedule, sample_states

from benchmarks import exact_laws as exact
from benchmarks.law_programs import (
    IDEAL_RADIUS,
    PLACES,
    PLANS,
    RUNS,
    Plan,
    block_of,
    configured,
    random_start,
)
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.programs import split_blocks
from sphere_ebm.studies.chains import sample_chains

PULL = 0.12
"""Coupling of the pair, in units of T, that the test of uniformity must find."""
CHAINS = dict.fromkeys(RUNS, 16_000) | {"three": 6_000}
"""So many that 5 % in T are at least 5.5 standard errors of the most telling statistic."""
SCHEMES = ("Euler-Maruyama", "Leimkuhler-Matthews", "Underdamped", "MALA", "coloured")


class Draw(NamedTuple):
    """One configuration of each chain: shapes (chains, n, 3), (chains, n).

    `kinetic` (chains,) per point, if known.
    """

    direction: Float[np.ndarray, "chains n 3"]
    radius: Float[np.ndarray, "chains n"]
    kinetic: Float[np.ndarray, " chains"] | None

    def cosine(self, i: int, j: int) -> Float[np.ndarray, " chains"]:
        return np.sum(self.direction[:, i] * self.direction[:, j], axis=1)


def simulate(
    scheme: str,
    name: str,
    *,
    seed: int,
    chains: int,
    temperature: float = 1.0,
    pull: float = 0.0,
    plan: Plan | None = None,
    plain: bool = False,
) -> Draw:
    """The run `name` by `scheme`, in the precision in force.

    `pull` is the coupling of an otherwise free pair.

    `plain` samples with THRML's own `sample_states` instead of `sample_chains`.
    """
    run = RUNS[name]
    plan = plan or PLANS[scheme][name]
    if pull:
        run = replace(run, lateral=pull / exact.PAIR_COUPLING)
    own = configured(scheme, run, plan, temperature=temperature, plain=plain)
    key = jax.random.fold_in(jax.random.key(seed), sorted(RUNS).index(name))
    start = random_start(seed, run, chains)
    if plain:
        return _by_thrml(key, own, start, PLANS[scheme], name)
    samples = sample_chains(key, own, start, chains=chains, warmup=plan.steps - 1, draws=1)
    kinetic = samples.observables.get("kinetic_energy")
    return _as_draw(samples.last, None if kinetic is None else kinetic[:, -1].astype(np.float64))


def _as_draw(state: SphereState, kinetic: Float[np.ndarray, " chains"] | None) -> Draw:
    return Draw(
        np.asarray(state.direction, np.float64), np.asarray(state.radius, np.float64), kinetic
    )


@eqx.filter_jit
def _sample_states(
    keys: Key[Array, " chains"],
    program: FactorSamplingProgram,
    start: list[SphereState],
    schedule: Any,
    block: Block,
) -> SphereState:
    def one_chain(key: Key[Array, ""], free: list[SphereState]) -> Any:
        return sample_states(key, program, schedule, free, [], [block])[0]

    return jax.vmap(one_chain)(keys, start)


def _by_thrml(
    key: Key[Array, ""],
    program: FactorSamplingProgram,
    start: SphereState,
    plans: dict[str, Plan],
    name: str,
) -> Draw:
    """A draw from THRML's `sample_states`, whose number of steps is static.

    Runs of one system share a schedule.

    The first sample is taken after the steps of the diffusion law, the second after those of all
    others.
    """
    early = plans["diffusion"].steps
    late = plans[name if name != "diffusion" else "pair"].steps
    schedule = SamplingSchedule(early, 2, late - early)
    free = jax.vmap(lambda state: split_blocks(program, state))(start)
    block = block_of(start.radius.shape[1])
    states = _sample_states(
        jax.random.split(key, len(start.radius)), program, free, schedule, block
    )
    which = 0 if name == "diffusion" else 1
    return _as_draw(jax.tree.map(lambda x: x[:, which], states), None)


def radius_variance(scheme: str, step_size: float) -> float:
    """Stationary Var(r) at T = 1: Euler-Maruyama's own, T / (κ (1 - hκ/2)).

    T / κ for all others.
    """
    gibbs = 1 / exact.STIFFNESS
    return gibbs / (1 - step_size * exact.STIFFNESS / 2) if scheme == "Euler-Maruyama" else gibbs


_two_terms = functools.partial(exact.two_energy, osmotic=False)


def separation(scheme: str, name: str, step_size: float) -> exact.Separation:
    """Law of c_01 that `scheme` must follow.

    Euler-Maruyama its own for two points, all others the Gibbs law.
    """
    if name == "three":
        return exact.three_points(osmotic=scheme != "coloured")
    energy = {
        "pair": exact.pair_energy,
        "two": _two_terms if scheme == "coloured" else exact.two_energy,
    }[name]
    if scheme == "Euler-Maruyama":
        return exact.by_euler_maruyama(energy, step_size)
    return exact.two_points(energy)


def radius_law(draw: Draw, scheme: str, plan: Plan) -> float:
    square = np.sum((draw.radius - IDEAL_RADIUS) ** 2)
    return exact.chi2_p_value(square / radius_variance(scheme, plan.step_size), draw.radius.size)


def diffusion_law(draw: Draw, scheme: str, plan: Plan) -> float:
    """Mean cosine with the start after a few isotropic steps.

    Legendre moments of the legs multiply.
    """
    h = plan.step_size
    steps = plan.steps
    legs = [np.sqrt(2 * h)] * steps
    if scheme == "Leimkuhler-Matthews":
        # the first noise is 0, every other one is used in two legs of one geodesic, the last one in
        # half of it
        legs = [np.sqrt(2 * h)] * (steps - 1) + [np.sqrt(2 * h) / 2]
    elif scheme == "Underdamped":
        # e^{-γh} = 0: a fresh velocity in the middle of every step, kept for the first half of the
        # next
        legs = [h] * (steps - 1) + [h / 2]
    first, second = np.prod([exact.leg_cosines(leg) for leg in legs], axis=0)
    return exact.z_p_value(draw.direction[..., 2].ravel(), first, (1 + 2 * second) / 3 - first**2)


def uniform_law(draw: Draw, scheme: str, plan: Plan) -> float:
    cosine = draw.cosine(0, 1)
    shape = stats.kstest(cosine, stats.uniform(-1, 2).cdf).pvalue
    spread = exact.uniformity_p_values(draw.direction.reshape(-1, 3))
    return exact.bonferroni(*spread, exact.z_p_value(cosine, 0.0, 1 / 3), float(shape))


def separation_law(draw: Draw, scheme: str, plan: Plan) -> float:
    law = separation(scheme, "pair", plan.step_size)
    cosine = draw.cosine(0, 1)
    mean = law.expect(law.midpoints)
    variance = law.expect(law.midpoints**2) - mean**2
    shape = stats.kstest(cosine, law.cdf).pvalue
    return exact.bonferroni(exact.z_p_value(cosine, mean, variance), float(shape))


def anchor_law(draw: Draw, scheme: str, plan: Plan) -> float:
    """Von Mises-Fisher around both anchors: <u·a> = coth x - 1/x, the shape, and the azimuth."""
    p_values = []
    for i, (stiffness, place) in enumerate(zip(exact.ANCHORS, PLACES, strict=True)):
        energy = exact.anchor_energy(stiffness)
        law = (
            exact.by_euler_maruyama(energy, plan.step_size, fixed=True)
            if scheme == "Euler-Maruyama"
            else exact.two_points(energy)
        )
        cosine = draw.direction[:, i] @ np.asarray(place)
        mean = law.expect(law.midpoints)
        variance = law.expect(law.midpoints**2) - mean**2
        across = draw.direction[:, i] - cosine[:, None] * np.asarray(place)
        p_values += [
            exact.z_p_value(cosine, mean, variance),
            float(stats.kstest(cosine, law.cdf).pvalue),
            # no side of the anchor is preferred: the resultant across it is chi-square
            float(stats.chi2.sf(_resultant(across, law.expect(1 - law.midpoints**2)), 2)),
        ]
    return exact.bonferroni(*p_values)


def _resultant(across: Float[np.ndarray, "chains 3"], square: float) -> float:
    """|Σ across|² over its expectation per degree of freedom, for vectors of mean square length."""
    return float(np.sum(across.sum(axis=0) ** 2) / (len(across) * square / 2))


def equipartition_law(draw: Draw, scheme: str, plan: Plan) -> float:
    """<|∇_i H|²> = T <Δ_i H> for the harmonic pair, and T / 2 per degree of freedom where
    velocities are known.

    With a the coupling, |∇H|² = a² (1 - c²) and ΔH = 2 a c for each end. Velocities after a whole
    BAOAB step have <v vᵀ> = T - h² <∇H ∇Hᵀ> / 4 + O(h⁴), exactly so for the radius.
    """
    law = separation(scheme, "pair", plan.step_size)
    a = exact.PAIR_COUPLING

    def excess(c: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return a**2 * (1 - c**2) - 2 * a * c

    configurational = exact.z_p_value(excess(draw.cosine(0, 1)), law.expect(excess(law.midpoints)))
    if draw.kinetic is None:
        return configurational
    squares = law.expect(a**2 * (1 - law.midpoints**2)) + exact.STIFFNESS
    return exact.bonferroni(
        configurational, exact.z_p_value(draw.kinetic, (3 - plan.step_size**2 / 4 * squares) / 2)
    )


def _energy_law(draw: Draw, scheme: str, plan: Plan, name: str) -> float:
    """Mean energy, which has most to say about T, and the shape of one separation."""
    law = separation(scheme, name, plan.step_size)
    osmotic = scheme != "coloured"
    well = np.sum((draw.radius - IDEAL_RADIUS) ** 2, axis=1) * exact.STIFFNESS / 2
    cosines = [draw.cosine(i, j) for i, j, _ in exact.TRIANGLE[: 1 if name == "two" else 3]]
    angular = (exact.two_energy if name == "two" else exact.three_energy)(*cosines, osmotic=osmotic)
    excess = exact.STIFFNESS * radius_variance(scheme, plan.step_size)
    n = draw.radius.shape[1]
    mean = law.energy_mean + n * excess / 2
    variance = law.energy_variance + n * excess**2 / 2
    shape = stats.kstest(cosines[0], law.cdf).pvalue
    return exact.bonferroni(exact.z_p_value(well + angular, mean, variance), float(shape))


def two_point_law(draw: Draw, scheme: str, plan: Plan) -> float:
    return _energy_law(draw, scheme, plan, "two")


def three_point_law(draw: Draw, scheme: str, plan: Plan) -> float:
    return _energy_law(draw, scheme, plan, "three")


LAWS: dict[str, tuple[str, Callable[[Draw, str, Plan], float]]] = {
    "radius": ("pair", radius_law),
    "free diffusion": ("diffusion", diffusion_law),
    "pair separation": ("pair", separation_law),
    "uniform directions": ("uniform", uniform_law),
    "equipartition": ("pair", equipartition_law),
    "anchored directions": ("von Mises-Fisher", anchor_law),
    "two points": ("two", two_point_law),
    "three points": ("three", three_point_law),
}
"""Law -> the run that it is judged by, and its p-value."""


def p_values(
    scheme: str,
    name: str,
    *,
    seed: int,
    chains: int | None = None,
    wrong: float = 0.0,
    plan: Plan | None = None,
    judged_as: str | None = None,
    plain: bool = False,
) -> dict[str, float]:
    """p-value of every law that the run `name` decides.

    `wrong` is the relative error of the sampler's temperature; T drops out of the law of the
    uniform run, whose pair then gets the coupling `PULL` instead. `judged_as` names another scheme,
    whose law is asked for.
    """
    plan = plan or PLANS[scheme][name]
    temperature, pull = (1.0, PULL if wrong else 0.0) if name == "uniform" else (1.0 + wrong, 0.0)
    size = chains or CHAINS[name]
    draw = simulate(
        scheme,
        name,
        seed=seed,
        chains=size,
        temperature=temperature,
        pull=pull,
        plan=plan,
        plain=plain,
    )
    return {
        law: p(draw, judged_as or scheme, plan) for law, (run, p) in LAWS.items() if run == name
    }
