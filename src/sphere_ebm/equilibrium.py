"""`sample`: embeddings in, draws from the Gibbs law of their map out."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Key
from numpy.typing import ArrayLike
from thrml import AbstractObserver, Block, FactorSamplingProgram

from sphere_ebm.config import PlacementConfig
from sphere_ebm.fit import hamiltonian
from sphere_ebm.graph import proper_colouring
from sphere_ebm.hamiltonian.base import AbstractSphereFactor, SphereState
from sphere_ebm.hamiltonian.osmotic import DIRECT_LIMIT
from sphere_ebm.heuristics.initial import random_directions
from sphere_ebm.inputs import checked_config, checked_embeddings, checked_start
from sphere_ebm.problem import Problem, pose
from sphere_ebm.sampling.catalogue import build_sampler
from sphere_ebm.sampling.chains import ChainProgress, check_counts, sample_chains
from sphere_ebm.sampling.nodes import build_coloured_program, build_program, sphere_block
from sphere_ebm.sampling.observers import DisplacementObserver, OrderObserver, OverlapObserver
from sphere_ebm.sampling.samples import Samples
from sphere_ebm.sampling.schedules import Linear

STEP_SIZES: dict[str, float] = {
    "mala": 0.05,
    "metropolis-within-gibbs": 0.3,
    "underdamped": 0.2,
    "leimkuhler-matthews": 0.05,
    "euler-maruyama": 0.005,
}
"""Default step sizes in units of the interaction time; the first two only start the adaptation."""


def sample(
    embeddings: ArrayLike,
    prominence: ArrayLike | None = None,
    config: PlacementConfig | None = None,
    *,
    temperature: float = 0.5,
    scheme: str = "mala",
    step_size: float | None = None,
    chains: int = 4,
    warmup: int = 2000,
    draws: int = 1000,
    thin: int = 10,
    start: ArrayLike | None = None,
    observers: Sequence[AbstractObserver] = (),
    keep_states: bool = False,
    progress: ChainProgress | None = None,
) -> Samples:
    """Draw maps of `embeddings` from p ∝ exp(-H / T), H the Hamiltonian that `config` describes.

    Every chain starts from its own random directions, annealed to T as `place` anneals (`config.steps` steps, coupling
    included); then `warmup` steps, then `draws` draws, `thin` steps apart. `Samples.observables` holds the polar and
    nematic order, the squared displacement and, up to 5 000 points, the neighbour overlap.

    Args:
        temperature: T > 0, in units of energy per point. The neighbourhoods of a map fade above about 1.
        scheme: `"mala"` and `"metropolis-within-gibbs"` (two-term Hamiltonian only: `osmotic_strength=0`) sample the
            law itself, with step sizes adapted during three quarters of the warm-up; `"underdamped"`,
            `"leimkuhler-matthews"` and `"euler-maruyama"` sample one that tends to it with the step size.
        step_size: h, in units of the interaction time, see `PlacementConfig`; None: `STEP_SIZES[scheme]`.
        start: directions (N, 3) to start every chain from, instead of annealed ones; radii start at their ideal.
        observers, keep_states: see `sample_chains`.

    Others as in `place` and `sample_chains`. With `osmotic_evaluator="auto"` the field is summed directly up to 20 000
    points, so that force and energy belong to each other exactly.

    Raises:
        ValueError: bad input, as in `place` and `sample_chains`; fewer than two points; an osmotic term with the
            coloured scheme; a temperature that is not positive.
        NonFiniteEnergyError: an energy was not finite.
    """
    given = checked_embeddings(embeddings)
    config = _checked(config, len(given), temperature, scheme)
    check_counts(chains, warmup, draws, thin)
    directions = None if start is None else checked_start(start, len(given))
    problem = pose(given, prominence, config)
    block = sphere_block(len(given))
    factors = hamiltonian(block, problem.ideal_radius, problem.graph, config)
    key_start, key_chains = jax.random.split(jax.random.key(config.seed))
    if directions is None:
        begin = _annealed(key_start, block, factors, problem, temperature, chains)
    else:
        begin = SphereState(jnp.asarray(directions), jnp.asarray(problem.ideal_radius))
    like = SphereState(jnp.zeros((len(given), 3)), jnp.zeros(len(given)))
    return sample_chains(
        key_chains,
        _program(block, factors, problem, temperature, scheme, step_size, adapt_steps=3 * warmup // 4),
        begin,
        chains=chains,
        warmup=warmup,
        draws=draws,
        thin=thin,
        observers=[OrderObserver(), DisplacementObserver(like), *_overlap(problem), *observers],
        keep_states=keep_states,
        progress=progress,
    )


_OVERLAP_LIMIT = 5000


def _checked(config: PlacementConfig | None, n_points: int, temperature: float, scheme: str) -> PlacementConfig:
    config = checked_config(config)
    if n_points < 2:
        raise ValueError(f"`embeddings` must hold at least 2 points; got {n_points}.")
    if scheme not in STEP_SIZES:
        raise ValueError(f"`scheme` must be one of {', '.join(STEP_SIZES)}; got {scheme!r}.")
    if not 0 < temperature < math.inf:
        raise ValueError(f"`temperature` must be a positive number; got {temperature!r}.")
    if scheme == "metropolis-within-gibbs" and config.osmotic_strength > 0:
        raise ValueError(
            "scheme='metropolis-within-gibbs' accepts points one by one, which the osmotic pressure does not allow: "
            "set osmotic_strength=0 in `config`, or use scheme='mala'."
        )
    if config.osmotic_evaluator == "auto" and n_points <= DIRECT_LIMIT:
        return dataclasses.replace(config, osmotic_evaluator="direct")
    return config


def _overlap(problem: Problem) -> list[AbstractObserver]:
    graph = problem.graph
    if not graph.senders.size or graph.n_points > _OVERLAP_LIMIT:
        return []
    return [OverlapObserver(graph.n_points, graph.senders, graph.receivers)]


def _mobilities(problem: Problem) -> dict[str, Any]:
    """Those of `place`, so that a step size means the same."""
    config = problem.config
    return {
        "direction_mobility": 1.0 / config.sharpness(problem.graph.n_points) ** 2,
        "radius_mobility": 1.0 / config.radius_stiffness,
        "minimum_radius": float(problem.shells.edges[0]),
    }


def _program(
    block: Block,
    factors: list[AbstractSphereFactor],
    problem: Problem,
    temperature: float,
    scheme: str,
    step_size: float | None,
    adapt_steps: int,
) -> FactorSamplingProgram:
    sampler = build_sampler(
        scheme,
        len(block),
        temperature,
        STEP_SIZES[scheme] if step_size is None else step_size,
        friction=problem.config.friction,
        adapt_steps=adapt_steps,
        **_mobilities(problem),
    )
    if scheme != "metropolis-within-gibbs":
        return build_program(block, factors, sampler)
    colour = proper_colouring(len(block), problem.graph.senders, problem.graph.receivers)
    return build_coloured_program(block, factors, sampler, colour)


def _annealed(
    key: Key[Array, ""],
    block: Block,
    factors: list[AbstractSphereFactor],
    problem: Problem,
    temperature: float,
    chains: int,
) -> SphereState:
    """Each chain from its own random directions, cooled to `temperature`."""
    config = problem.config
    ramp = config.cooling * config.steps
    sampler = build_sampler(
        "underdamped",
        len(block),
        Linear(max(config.temperature_start, temperature), temperature, ramp),
        config.step_size,
        Linear(config.coupling_start, 1.0, ramp),
        friction=config.friction,
        **_mobilities(problem),
    )
    seeds = np.random.SeedSequence(config.seed).generate_state(chains)
    directions: Float32[np.ndarray, "chains points 3"] = np.stack(
        [random_directions(len(block), int(seed)) for seed in seeds]
    )
    radius = np.broadcast_to(problem.ideal_radius, directions.shape[:2])
    cooled = sample_chains(
        key,
        build_program(block, factors, sampler),
        SphereState(jnp.asarray(directions), jnp.asarray(radius)),
        chains=chains,
        warmup=config.steps,
        draws=1,
    )
    return cooled.last
