"""Small systems whose laws are known, every scheme on them, and one p-value per law.

A run is thousands of independent chains of two or three points. It ends in a `Draw`, one
configuration a chain, from which laws are judged at T = 1. A sampler of another temperature must
then be found out.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from scipy import stats
from thrml import Block, BlockGibbsSpec, FactorSamplingProgram, SamplingSchedule, sample_states

from benchmarks import exact_laws as exact
from sphere_ebm.hamiltonian.base import AbstractSphereFactor, SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor, RadialGravity
from sphere_ebm.hamiltonian.lateral import LateralAttraction, LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.leimkuhler_matthews import LeimkuhlerMatthews
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.metropolis_within_gibbs import MetropolisWithinGibbs
from sphere_ebm.sampling.programs import (
    SphereNode,
    build_coloured_program,
    build_program,
    node_template,
    split_blocks,
)
from sphere_ebm.sampling.schedules import Exponential
from sphere_ebm.sampling.terms import own_state_group
from sphere_ebm.sampling.underdamped import Underdamped
from sphere_ebm.studies.chains import sample_chains

IDEAL_RADIUS = 10.0
PULL = 0.12
"""Coupling of the pair, in units of T, that the test of uniformity must find."""
LARGE_STEP = 0.1
"""Step size of MALA and the coloured sampler, at which Euler-Maruyama is found out."""
CHAINS = {"pair": 16_000, "diffusion": 16_000, "uniform": 16_000, "two": 8_000, "three": 6_000}
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


@dataclass(frozen=True)
class Run:
    """What is simulated: `system` is pair, two or three; couplings are factors on the system's own.

    `start` is "pole" or "random": where all directions are, or that they are uniform.
    """

    system: str
    lateral: float = 1.0
    gravity: float = 1.0
    start: str = "random"


RUNS = {
    "pair": Run("pair"),
    "diffusion": Run("pair", lateral=0, gravity=0, start="pole"),
    "uniform": Run("pair", lateral=0, start="pole"),
    "two": Run("two"),
    "three": Run("three"),
}


@dataclass(frozen=True)
class Plan:
    """Steps of a run.

    `first` is the step size that falls to `step_size` in `ramp` steps, `friction` for Underdamped.

    Times h · steps are long against the slowest relaxation of the run, except for diffusion, which
    is not to end.
    """

    step_size: float
    steps: int
    first: float | None = None
    ramp: int = 0
    friction: float = 2.0


PLANS: dict[str, dict[str, Plan]] = {
    "Euler-Maruyama": {
        "pair": Plan(0.05, 40),
        "diffusion": Plan(0.1, 4),
        "uniform": Plan(0.1, 40),
        "two": Plan(0.05, 40),
        # its discrete law is not known for three points: small steps, after a ramp for the way
        # there
        "three": Plan(0.002, 420, first=0.05, ramp=120),
    },
    "Leimkuhler-Matthews": (
        dict.fromkeys(RUNS, Plan(0.05, 60)) | {"diffusion": Plan(0.1, 4), "uniform": Plan(0.1, 60)}
    ),
    "Underdamped": (
        dict.fromkeys(RUNS, Plan(0.15, 80))
        | {
            "diffusion": Plan(0.45, 4, friction=60.0),
            "uniform": Plan(0.4, 80),
        }
    ),
    "MALA": dict.fromkeys(RUNS, Plan(LARGE_STEP, 40)) | {"diffusion": Plan(LARGE_STEP, 4)},
    "coloured": dict.fromkeys(RUNS, Plan(LARGE_STEP, 40)) | {"diffusion": Plan(LARGE_STEP, 4)},
}


def make_sampler(
    scheme: str, n_nodes: int, plan: Plan, temperature: float, dtype: Any
) -> AbstractLangevin:
    """`n_nodes` is that of the block.

    All numbers are leaves, so that programs compile once per scheme and system.
    """
    ramp = Exponential(plan.first or plan.step_size, plan.step_size, plan.ramp)
    if scheme == "Euler-Maruyama":
        return EulerMaruyama(Coefficients(temperature, ramp))
    if scheme == "Leimkuhler-Matthews":
        return LeimkuhlerMatthews(Coefficients(temperature, ramp), n_nodes, dtype=dtype)
    if scheme == "Underdamped":
        return Underdamped(
            Coefficients(temperature, ramp), n_nodes, friction=plan.friction, dtype=dtype
        )
    return {"MALA": MALA, "coloured": MetropolisWithinGibbs}[scheme](
        Coefficients(temperature, ramp)
    )


@functools.cache
def _block(n_points: int) -> Block:
    return Block([SphereNode() for _ in range(n_points)])


def _factors(system: str, block: Block, dtype: Any, osmotic: bool) -> list[AbstractSphereFactor]:
    edges = exact.TRIANGLE if system == "three" else ((0, 1, 1.0),)
    senders, receivers = (np.asarray([edge[end] for edge in edges]) for end in (0, 1))
    weight = np.asarray([edge[2] for edge in edges], dtype)
    strength = {"pair": exact.PAIR_COUPLING, "two": exact.LATERAL, "three": 1.0}[system]
    kernel: Any = "harmonic" if system == "pair" else "cauchy"
    terms: list[AbstractSphereFactor] = [
        GravityFactor(block, np.full(len(block), IDEAL_RADIUS, dtype), exact.STIFFNESS),
        LateralFactor(
            block, senders, receivers, weight, sharpness=1.0, strength=strength, kernel=kernel
        ),
    ]
    if osmotic and system != "pair":
        sharpness = exact.OSMOTIC_SHARPNESS
        pressure = exact.OSMOTIC_STRENGTH
        terms.append(
            OsmoticFactor(block, sharpness=sharpness, strength=pressure, evaluator="direct")
        )
    return terms


@functools.cache
def program(system: str, coloured: bool, dtype: Any, plain: bool) -> FactorSamplingProgram:
    """The system's program, with a sampler that does nothing; in the precision in force.

    `plain` builds it by THRML's own classes alone. Coloured: every point has its own colour, no
    osmotic pressure.
    """
    block = _block(3 if system == "three" else 2)
    factors = _factors(system, block, dtype, osmotic=not coloured)
    sampler = (
        MetropolisWithinGibbs(Coefficients(1.0, 0.0))
        if coloured
        else EulerMaruyama(Coefficients(1.0, 0.0))
    )
    if plain:
        free = [Block([node]) for node in block] if coloured else [block]
        spec = BlockGibbsSpec(free, [], node_template(dtype))
        return FactorSamplingProgram(spec, [sampler] * len(free), factors, [own_state_group(block)])
    if coloured:
        return build_coloured_program(block, factors, sampler, np.arange(len(block)), dtype)
    return build_program(block, factors, sampler, dtype)


def _scaled(program: FactorSamplingProgram, run: Run) -> FactorSamplingProgram:
    """The program with its couplings multiplied: array leaves, so that nothing compiles again."""

    def scale(leaf: Any) -> Any:
        if isinstance(leaf, LateralAttraction):
            return eqx.tree_at(lambda term: term.weight, leaf, leaf.weight * run.lateral)
        if isinstance(leaf, RadialGravity):
            return eqx.tree_at(lambda term: term.stiffness, leaf, leaf.stiffness * run.gravity)
        return leaf

    return jax.tree.map(
        scale, program, is_leaf=lambda leaf: isinstance(leaf, (LateralAttraction, RadialGravity))
    )


def points(run: Run) -> int:
    return 3 if run.system == "three" else 2


def random_start(seed: int, run: Run, chains: int) -> SphereState:
    """Where the chains of `run` start, in the precision in force."""
    n = points(run)
    dtype = jnp.zeros(()).dtype
    if run.start == "pole":
        direction = np.broadcast_to([0.0, 0.0, 1.0], (chains, n, 3))
    else:
        normal = np.random.default_rng(seed).standard_normal((chains, n, 3))
        direction = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    return SphereState(jnp.asarray(direction, dtype), jnp.full((chains, n), IDEAL_RADIUS, dtype))


def configured(
    scheme: str, run: Run, plan: Plan, *, temperature: float = 1.0, plain: bool = False
) -> FactorSamplingProgram:
    """The program of `run` by `scheme`, in the precision in force.

    One compilation for each system and scheme.
    """
    dtype = jnp.zeros(()).dtype.type
    base = program(run.system, scheme == "coloured", dtype, plain)
    sampler = make_sampler(scheme, points(run), plan, temperature, dtype)
    return _scaled(eqx.tree_at(lambda p: p.samplers, base, [sampler] * len(base.samplers)), run)


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
    block = _block(start.radius.shape[1])
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
        return exact.two_points_by_euler_maruyama(energy, step_size)
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
