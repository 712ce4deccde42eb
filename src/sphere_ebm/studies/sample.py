"""`sample` and `sample_ladder`: embeddings in, draws from the Gibbs law of their map out."""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key
from numpy.typing import ArrayLike
from thrml import AbstractObserver, Block, FactorSamplingProgram

from sphere_ebm.errors import ConvergenceWarning
from sphere_ebm.graph.graph import proper_colouring
from sphere_ebm.hamiltonian.base import AbstractSphereFactor, SphereState
from sphere_ebm.hamiltonian.fields.evaluators import DIRECT_LIMIT
from sphere_ebm.hamiltonian.own import ExtraFactor, made_factors
from sphere_ebm.maps.checks import (
    checked_config,
    checked_embeddings,
    checked_start,
    real_array,
)
from sphere_ebm.maps.config import PlacementConfig
from sphere_ebm.maps.place import hamiltonian_factors
from sphere_ebm.maps.problem import Problem, pose
from sphere_ebm.maps.starts import random_directions
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.programs import build_coloured_program, build_program, sphere_block
from sphere_ebm.sampling.samplers import build_sampler
from sphere_ebm.sampling.schedules import Linear
from sphere_ebm.sampling.schemes import STEP_SIZES
from sphere_ebm.studies.chains import ChainProgress, sample_chains
from sphere_ebm.studies.checks import check_counts
from sphere_ebm.studies.exchange import ExchangeResult, replica_exchange
from sphere_ebm.studies.observers import DisplacementObserver, OrderObserver, OverlapObserver
from sphere_ebm.studies.samples import Samples

_OVERLAP_LIMIT = 5000


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
    extra_factors: Sequence[ExtraFactor] = (),
    observers: Sequence[AbstractObserver] = (),
    keep_states: bool = False,
    progress: ChainProgress | None = None,
) -> Samples:
    """Draw maps of `embeddings` from p ∝ exp(-H / T), H the Hamiltonian that `config` describes.

    Every chain starts from its own random directions, annealed to T as `place` anneals
    (`config.steps` steps, coupling included); then `warmup` steps, then `draws` draws, `thin` steps
    apart. `Samples.observables` holds the polar and nematic order, the squared displacement and, up
    to 5 000 points, the neighbour overlap.

    Args:
        embeddings: one row per point, as in `place`.
        prominence: of each point, as in `place`.
        config: graph, energy, shells and seed are used; of the dynamics only the annealing
            (`steps`, `step_size`, `friction`, `coupling_start`, `cooling`, and `temperature_start`
            where it is above T).
        temperature: T > 0, in units of energy per point.
        scheme: `"mala"` and `"metropolis-within-gibbs"` (two-term Hamiltonian only:
            `osmotic_strength=0`) sample the law itself, with step sizes adapted during three
            quarters of the warm-up; `"underdamped"`, `"leimkuhler-matthews"` and `"euler-maruyama"`
            sample one that tends to it with the step size.
        step_size: h > 0, in units of the interaction time, see `PlacementConfig`; None:
            `sphere_ebm.sampling.schemes.STEP_SIZES[scheme]`.
        chains: how many run side by side.
        warmup: steps of each chain that are thrown away.
        draws: looks at each chain after that.
        thin: steps from one draw to the next.
        start: directions to start from instead of annealed ones, (N, 3) for all chains or (chains,
            N, 3), as in `Samples.last.direction`; radii start at their ideal.
        extra_factors: terms of your own, see `place`.
        observers: more of them, see `sample_chains`.
        keep_states: keep every configuration drawn, see `sample_chains`.
        progress: told of warm-up and draws, not of the search for neighbours and the annealing.

    With `osmotic_evaluator="auto"` the field is summed
    directly up to 20 000 points, so that force and energy belong to each other exactly.

    Raises:
        ValueError: bad input, as in `place` and `sample_chains`; fewer than two points; an osmotic
            term with the coloured scheme; a temperature or step size that is not positive.
        NonFiniteEnergyError: an energy was not finite.
    """
    check_counts(chains, warmup, draws, thin)
    study = _study(embeddings, prominence, config, [temperature], scheme, step_size, extra_factors)
    key_start, key_chains = jax.random.split(jax.random.key(study.problem.config.seed))
    directions = None if start is None else _given_start(start, len(study.block), chains)
    begin = (
        _annealed(key_start, study, [temperature] * chains)
        if directions is None
        else _at_rest(study, directions)
    )
    samples = sample_chains(
        key_chains,
        _program(study, temperature, scheme, step_size, adapt_steps=3 * warmup // 4),
        begin,
        chains=chains,
        warmup=warmup,
        draws=draws,
        thin=thin,
        observers=[DisplacementObserver(_like(study)), *_order(study.problem), *observers],
        keep_states=keep_states,
        progress=progress,
    )
    return dataclasses.replace(samples, notes=study.problem.notes)


def sample_ladder(
    embeddings: ArrayLike,
    prominence: ArrayLike | None = None,
    config: PlacementConfig | None = None,
    *,
    temperatures: Sequence[float] | Float[np.ndarray, " rungs"],
    scheme: str = "mala",
    step_size: float | None = None,
    ladders: int = 2,
    warmup: int = 2000,
    draws: int = 500,
    thin: int = 10,
    extra_factors: Sequence[ExtraFactor] = (),
    observers: Sequence[AbstractObserver] = (),
    keep_states: bool = False,
    progress: ChainProgress | None = None,
) -> ExchangeResult:
    """Draw maps at several temperatures that swap configurations.

    This is for laws with basins that one chain does not leave.

    Every chain starts as in `sample`, annealed to its own temperature. `ladders` independent
    ladders run side by side. See `replica_exchange` for `temperatures` and what is returned, and
    `sample` for the rest; only the exact schemes and `"euler-maruyama"` can exchange.
    `thermodynamics(result.samples)` makes curves of it. Where fewer than a fifth of the swaps of
    two rungs are accepted, a `sphere_ebm.errors.ConvergenceWarning` names temperatures that would
    serve (`ExchangeResult.suggested_temperatures`).
    """
    check_counts(ladders, warmup, draws, thin)
    rungs = [float(each) for each in temperatures]
    study = _study(embeddings, prominence, config, rungs, scheme, step_size, extra_factors)
    key_start, key_chains = jax.random.split(jax.random.key(study.problem.config.seed))
    result = replica_exchange(
        key_chains,
        _program(study, rungs[0], scheme, step_size, adapt_steps=3 * warmup // 4),
        _annealed(key_start, study, rungs * ladders),
        rungs,
        ladders=ladders,
        warmup=warmup,
        draws=draws,
        thin=thin,
        observers=[*_order(study.problem), *observers],
        keep_states=keep_states,
        progress=progress,
    )
    if (better := result.suggested_temperatures) is not None:
        warnings.warn(
            f"few swaps between rungs are accepted, at the worst {result.swap_acceptance.min():.2f}"
            f" of them: take temperatures={[float(f'{one:.4g}') for one in better]}",
            ConvergenceWarning,
            stacklevel=2,
        )
    return dataclasses.replace(
        result, samples=dataclasses.replace(result.samples, notes=study.problem.notes)
    )


class _Study(NamedTuple):
    """What both start from. Numbers have JAX's default precision."""

    problem: Problem
    block: Block
    factors: list[AbstractSphereFactor]


def _study(
    embeddings: ArrayLike,
    prominence: ArrayLike | None,
    config: PlacementConfig | None,
    temperatures: list[float],
    scheme: str,
    step_size: float | None,
    extra: Sequence[ExtraFactor],
) -> _Study:
    given = checked_embeddings(embeddings)
    config = checked_config(config)
    if len(given) < 2:
        raise ValueError(f"`embeddings` must hold at least 2 points; got {len(given)}.")
    if scheme not in STEP_SIZES:
        raise ValueError(f"`scheme` must be one of {', '.join(STEP_SIZES)}; got {scheme!r}.")
    if not temperatures or not all(0 < each < math.inf for each in temperatures):
        raise ValueError(
            f"`temperature` must be a positive number; got {', '.join(map(str, temperatures))}."
        )
    if step_size is not None and not 0 < step_size < math.inf:
        raise ValueError(f"`step_size` must be a positive number, or None; got {step_size!r}.")
    if scheme == "metropolis-within-gibbs" and config.osmotic_strength > 0:
        raise ValueError(
            "scheme='metropolis-within-gibbs' accepts points one by one, which the osmotic pressure"
            " does not allow: set osmotic_strength=0 in `config`, or use scheme='mala'."
        )
    if config.osmotic_evaluator == "auto" and len(given) <= DIRECT_LIMIT:
        config = dataclasses.replace(config, osmotic_evaluator="direct")
    problem = pose(given, prominence, config, temperature=max(temperatures))
    block = sphere_block(len(given))
    factors = hamiltonian_factors(block, problem.ideal_radius, problem.graph, config)
    return _Study(problem, block, [*factors, *made_factors(extra, block)])


def _given_start(
    start: ArrayLike, n_points: int, chains: int
) -> Float[np.ndarray, "*chains points 3"]:
    """Directions for all chains, or for each of them. Raises ValueError as `checked_start` does."""
    array = real_array("start", start)
    if array.ndim == 2:
        return checked_start(array, n_points)
    if array.shape != (chains, n_points, 3):
        raise ValueError(
            f"`start` must have shape ({n_points}, 3), or ({chains}, {n_points}, 3) for each chain;"
            f" got {array.shape}."
        )
    return np.stack([checked_start(each, n_points) for each in array])


def _at_rest(study: _Study, directions: Float[np.ndarray, "*chains points 3"]) -> SphereState:
    """These directions, at ideal radii."""
    dtype = jnp.result_type(float)
    radius = np.broadcast_to(study.problem.ideal_radius, directions.shape[:-1])
    return SphereState(jnp.asarray(directions, dtype), jnp.asarray(radius, dtype))


def _like(study: _Study) -> SphereState:
    return _at_rest(study, np.zeros((len(study.block), 3), np.float32))


def _order(problem: Problem) -> list[AbstractObserver]:
    """Observers of what the law determines."""
    graph = problem.graph
    if not graph.senders.size or graph.n_points > _OVERLAP_LIMIT:
        return [OrderObserver()]
    return [OrderObserver(), OverlapObserver(graph.n_points, graph.senders, graph.receivers)]


def _mobilities(problem: Problem) -> dict[str, Any]:
    """Those of `place`, so that a step size means the same."""
    config = problem.config
    return {
        "direction_mobility": config.direction_mobility(problem.graph.n_points),
        "radius_mobility": 1.0 / config.radius_stiffness,
        "minimum_radius": float(problem.shells.edges[0]),
    }


def _program(
    study: _Study, temperature: float, scheme: str, step_size: float | None, adapt_steps: int
) -> FactorSamplingProgram:
    problem, block, factors = study
    sampler = build_sampler(
        scheme,
        len(block),
        Coefficients(
            temperature,
            STEP_SIZES[scheme] if step_size is None else step_size,
            **_mobilities(problem),
        ),
        friction=problem.config.friction,
        adapt_steps=adapt_steps,
    )
    dtype = jnp.result_type(float)
    if scheme != "metropolis-within-gibbs":
        return build_program(block, factors, sampler, dtype)
    colour = proper_colouring(len(block), problem.graph.senders, problem.graph.receivers)
    return build_coloured_program(block, factors, sampler, colour, dtype)


def _annealed(key: Key[Array, ""], study: _Study, temperatures: list[float]) -> SphereState:
    """One configuration for each temperature, from random directions of its own, cooled to it."""
    problem, block, factors = study
    config = problem.config
    n = len(block)
    ramp = config.cooling * config.steps
    samplers = {
        temperature: build_sampler(
            "underdamped",
            n,
            Coefficients(
                Linear(max(config.temperature_start, temperature), temperature, ramp),
                config.step_size,
                Linear(config.coupling_start, 1.0, ramp),
                **_mobilities(problem),
            ),
            friction=config.friction,
        )
        for temperature in temperatures
    }
    seeds = np.random.SeedSequence(config.seed).generate_state(len(temperatures))
    directions = np.stack([random_directions(n, int(seed)) for seed in seeds])
    cooled = sample_chains(
        key,
        build_program(block, factors, samplers[temperatures[0]], jnp.result_type(float)),
        _at_rest(study, directions),
        chains=len(temperatures),
        samplers=[samplers[temperature] for temperature in temperatures],
        warmup=config.steps,
        draws=1,
    )
    return cooled.last
