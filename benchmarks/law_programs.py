"""Small systems whose laws are known, as THRML programs with every scheme.

Pairs, two and three points: one program for a scheme and a number of points. All that a run changes
is a number in it, so that each compiles once.
"""

import functools
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from thrml import Block, BlockGibbsSpec, FactorSamplingProgram

from benchmarks import exact_laws as exact
from sphere_ebm.hamiltonian.anchor import AnchorFactor, AnchorPull
from sphere_ebm.hamiltonian.base import AbstractSphereFactor, SphereState, unwrap_shared
from sphere_ebm.hamiltonian.gravity import GravityFactor, RadialGravity
from sphere_ebm.hamiltonian.lateral import Kernel, LateralAttraction, LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor, OsmoticPressure
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
)
from sphere_ebm.sampling.schedules import Exponential
from sphere_ebm.sampling.terms import own_state_group
from sphere_ebm.sampling.underdamped import Underdamped

IDEAL_RADIUS = 10.0
PLACES = ((1.0, 0.0, 0.0), (0.0, 0.6, -0.8))
"""Where the anchors of two points are."""
LARGE_STEP = 0.1
"""Step size of MALA and the coloured sampler, at which Euler-Maruyama is found out."""


@dataclass(frozen=True)
class Run:
    """What is simulated: `system` is pair, two or three; couplings are factors on the system's own.

    A pair has anchors only where `anchors` is 1.

    `start` is "pole" or "random": where all directions are, or that they are uniform.
    """

    system: str
    lateral: float = 1.0
    gravity: float = 1.0
    start: str = "random"
    anchors: float = 0.0


RUNS = {
    "pair": Run("pair"),
    "diffusion": Run("pair", lateral=0, gravity=0, start="pole"),
    "uniform": Run("pair", lateral=0, start="pole"),
    "two": Run("two"),
    "three": Run("three"),
    "von Mises-Fisher": Run("pair", lateral=0, anchors=1),
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
        "von Mises-Fisher": Plan(0.05, 60),
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
def block_of(n_points: int) -> Block:
    return Block([SphereNode() for _ in range(n_points)])


def _factors(block: Block, dtype: Any, osmotic: bool) -> list[AbstractSphereFactor]:
    """Gravity, attraction and pressure; two points attract each other in two ways.

    They have anchors too.
    """
    gravity = GravityFactor(block, np.full(len(block), IDEAL_RADIUS, dtype), exact.STIFFNESS)
    terms: list[AbstractSphereFactor] = [gravity]
    three = len(block) == 3
    edges = exact.TRIANGLE if three else ((0, 1, 1.0),)
    senders, receivers = (np.asarray([edge[end] for edge in edges]) for end in (0, 1))
    weight = np.asarray([edge[2] for edge in edges], dtype)
    strengths: dict[Kernel, float] = {"cauchy": 1.0 if three else exact.LATERAL}
    if not three:
        strengths["harmonic"] = exact.PAIR_COUPLING
    for kernel, strength in strengths.items():
        terms.append(
            LateralFactor(
                block, senders, receivers, weight, sharpness=1.0, strength=strength, kernel=kernel
            )
        )
    if not three:
        place = np.asarray(PLACES, dtype)
        strength = np.asarray(exact.ANCHORS, dtype)
        terms.append(AnchorFactor(block, np.arange(2), place, strength, sharpness=1.0))
    if osmotic:
        sharpness = exact.OSMOTIC_SHARPNESS
        pressure = exact.OSMOTIC_STRENGTH
        terms.append(
            OsmoticFactor(block, sharpness=sharpness, strength=pressure, evaluator="direct")
        )
    return terms


@functools.cache
def program(n_points: int, coloured: bool, dtype: Any, plain: bool) -> FactorSamplingProgram:
    """The program of two or three points, with a sampler that does nothing.

    It is in the precision in force. `plain` builds it by THRML's own classes alone. Coloured: every
    point has its own colour, no osmotic pressure.
    """
    block = block_of(n_points)
    factors = _factors(block, dtype, osmotic=not coloured)
    sampler = (
        MetropolisWithinGibbs(Coefficients(1.0, 0.0))
        if coloured
        else EulerMaruyama(Coefficients(1.0, 0.0))
    )
    if plain:
        free = [Block([node]) for node in block] if coloured else [block]
        spec = BlockGibbsSpec(free, [], node_template(dtype))
        own = [own_state_group(block)]
        # opened, so that strengths may change without compiling again
        return unwrap_shared(FactorSamplingProgram(spec, [sampler] * len(free), factors, own))
    if coloured:
        return build_coloured_program(block, factors, sampler, np.arange(len(block)), dtype)
    return build_program(block, factors, sampler, dtype)


def _scaled(program: FactorSamplingProgram, run: Run) -> FactorSamplingProgram:
    """The program with its couplings multiplied: array leaves, so that nothing compiles again.

    A pair feels the harmonic attraction alone, or anchors; two or three points feel the other
    attraction and the pressure.
    """
    pair = run.system == "pair"

    def scale(leaf: Any) -> Any:
        if isinstance(leaf, LateralAttraction):
            factor = run.lateral if pair == (leaf.kernel == "harmonic") else 0.0
            return eqx.tree_at(lambda term: term.weight, leaf, leaf.weight * factor)
        if isinstance(leaf, RadialGravity):
            return eqx.tree_at(lambda term: term.stiffness, leaf, leaf.stiffness * run.gravity)
        if isinstance(leaf, AnchorPull):
            return eqx.tree_at(lambda term: term.stiffness, leaf, leaf.stiffness * run.anchors)
        if isinstance(leaf, OsmoticPressure) and pair:
            return eqx.tree_at(lambda term: term.strength, leaf, jnp.zeros_like(leaf.strength))
        return leaf

    scaled = (LateralAttraction, RadialGravity, OsmoticPressure, AnchorPull)
    return jax.tree.map(scale, program, is_leaf=lambda leaf: isinstance(leaf, scaled))


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
    base = program(points(run), scheme == "coloured", dtype, plain)
    sampler = make_sampler(scheme, points(run), plan, temperature, dtype)
    return _scaled(eqx.tree_at(lambda p: p.samplers, base, [sampler] * len(base.samplers)), run)
