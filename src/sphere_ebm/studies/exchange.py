"""Replica exchange.

A ladder of temperatures whose neighbours swap configurations, to cross barriers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from scipy.special import erfcinv
from thrml import AbstractObserver, FactorSamplingProgram

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.programs import energies, initial_sampler_states
from sphere_ebm.sampling.schedules import Constant
from sphere_ebm.studies.chains import Chain, ChainProgress, sample_chains
from sphere_ebm.studies.observers import AcceptanceObserver, DisplacementObserver
from sphere_ebm.studies.samples import Samples


@final
class SwapNeighbours(eqx.Module):
    """Proposes to swap the configurations of neighbouring rungs, even pairs and odd pairs in turn.

    Chains are ladders of `rungs` temperatures one after the other. A swap of rungs i and j is
    accepted with probability min(1, exp((1/T_i - 1/T_j)(H_i - H_j))), which leaves the product of
    their Gibbs laws unchanged (Swendsen & Wang 1986; Hukushima & Nemoto 1996). Step sizes and
    adaptation stay with the rung.
    """

    key: Key[Array, ""]
    interval: Int[Array, ""]
    rungs: int = eqx.field(static=True)

    def __call__(
        self, program: FactorSamplingProgram, samplers: list[AbstractLangevin], chains: Chain
    ) -> Chain:
        """The chains, their configurations swapped where that was accepted."""
        step = chains.step[0]
        shape = (-1, self.rungs)
        temperature = jax.vmap(lambda sampler, at: sampler.coefficients.temperature(at))(
            samplers[0], chains.step
        ).reshape(shape)
        total = jax.vmap(lambda state: jnp.sum(jnp.stack(list(energies(program, state).values()))))(
            chains.state
        )
        order = swap_order(
            jax.random.fold_in(self.key, step),
            total.reshape(shape),
            temperature,
            (step // self.interval) % 2,
        )
        ladder = jnp.arange(order.shape[0], dtype=order.dtype)[:, None] * self.rungs
        flat = (ladder + order).reshape(-1)
        return chains._replace(
            state=jax.tree.map(lambda x: x[flat], chains.state),
            replica=chains.replica[flat],
        )


def swap_order(
    key: Key[Array, ""],
    energy: Float[Array, "ladders rungs"],
    temperature: Float[Array, "ladders rungs"],
    parity: Int[Array, ""],
) -> Int[Array, "ladders rungs"]:
    """Which rung's configuration each rung has afterwards.

    Pairs (k, k + 1) with k of this parity swap or stay.
    """
    ladders, rungs = energy.shape
    lower = jnp.arange(rungs - 1, dtype=jnp.int32)
    inverse = 1 / temperature.astype(energy.dtype)
    log_ratio = (inverse[:, :-1] - inverse[:, 1:]) * (energy[:, :-1] - energy[:, 1:])
    uniform = jax.random.uniform(key, (ladders, rungs - 1), energy.dtype)
    swapped = (jnp.log(uniform) < log_ratio) & (lower % 2 == parity)[None, :]
    none = jnp.zeros((ladders, 1), bool)
    up = jnp.concatenate([swapped, none], axis=1).astype(jnp.int32)
    down = jnp.concatenate([none, swapped], axis=1).astype(jnp.int32)
    return jnp.arange(rungs, dtype=jnp.int32)[None, :] + up - down


@final
@dataclass(frozen=True, eq=False)
class ExchangeResult:
    """Draws of all rungs of all ladders, and how well configurations travelled.

    Attributes:
        samples: chains ordered by ladder, then by temperature as given; `samples.at_temperature(T)`
            picks the ladders' chains at one temperature, for `summary`.
        temperatures: of the rungs, shape (rungs,).
        swap_acceptance: share of proposed swaps of rungs k and k + 1 that were accepted, shape
            (rungs - 1,).
        round_trips: how often a configuration went from the first rung to the last and back, in
            each ladder.
    """

    samples: Samples
    temperatures: Float[np.ndarray, " rungs"]
    swap_acceptance: Float[np.ndarray, " pairs"]
    round_trips: Int[np.ndarray, " ladders"]

    @property
    def suggested_temperatures(self) -> Float[np.ndarray, " more"] | None:
        """Rungs with others put between those that swap too rarely; None where all swap often.

        Too rarely is in less than a fifth of the attempts. Energies that are Gaussian swap in the
        share erfc(c d), d the difference of the logarithms of the temperatures: so many steps of
        one ratio take the place of one that a third of the swaps would be accepted.
        """
        accepted = np.nan_to_num(self.swap_acceptance, nan=1.0)
        if not len(accepted) or accepted.min() >= _RARE:
            return None
        attempts = self.samples.total_energy.size // len(self.temperatures)
        lowest = 1 / max(2 * attempts, 2)
        steps = np.ceil(erfcinv(np.maximum(accepted, lowest)) / erfcinv(_WANTED)).astype(int)
        steps = np.where(accepted < _RARE, np.maximum(steps, 2), 1)
        pairs = zip(self.temperatures[:-1], self.temperatures[1:], steps, strict=True)
        parts = [np.geomspace(low, high, count + 1)[:-1] for low, high, count in pairs]
        return np.concatenate([*parts, self.temperatures[-1:]])


_RARE = 0.2
_WANTED = 1 / 3


def replica_exchange(
    key: Key[Array, ""],
    program: FactorSamplingProgram,
    start: SphereState,
    temperatures: Sequence[float] | Float[np.ndarray, " rungs"],
    *,
    ladders: int = 1,
    warmup: int = 1000,
    draws: int = 1000,
    thin: int = 10,
    observers: Sequence[AbstractObserver] = (),
    keep_states: bool = False,
    progress: ChainProgress | None = None,
) -> ExchangeResult:
    """Sample `program` at all `temperatures` at once.

    Neighbours may swap configurations after every `thin` steps.

    The program's sampler is used at every rung with that rung's temperature; with `MALA` the law of
    each rung is exact. Choose temperatures so that every pair swaps in a fifth of the attempts or
    more: where heat capacity per point is C, ratios of about 1 + 1 / sqrt(N C).

    Args:
        key: of the chains and of the swaps.
        program: as in `sample_chains`; its sampler's temperature is replaced.
        start: configuration to start from, shapes (n, 3) and (n,), or one per chain: (ladders *
            rungs, n, 3), ....
        temperatures: T of each rung, all positive and different, in rising or falling order.
        ladders: independent copies of the whole ladder, for R-hat.
        warmup: steps of each chain that are thrown away; swaps begin with it.
        draws: looks at each chain after that.
        thin: steps from one draw, and from one attempt to swap, to the next.
        observers: more of them, see `sample_chains`; none that follows a configuration.
        keep_states: keep every configuration drawn, see `sample_chains`.
        progress: called now and then.

    Raises ValueError for temperatures that make no ladder, for a sampler that keeps velocities or
    noise tangent to its own configuration (`Underdamped`, `LeimkuhlerMatthews`), and as
    `sample_chains`.
    """
    rungs = _checked_rungs(temperatures)
    _check_exchangeable(program, observers)
    sampler = program.samplers[0]
    of_rung = [
        eqx.tree_at(lambda s: s.coefficients.temperature, sampler, Constant(float(t)))
        for t in rungs
    ]
    key_chains, key_swap = jax.random.split(key)
    samples = sample_chains(
        key_chains,
        program,
        start,
        chains=ladders * len(rungs),
        warmup=warmup,
        draws=draws,
        thin=thin,
        observers=observers,
        keep_states=keep_states,
        samplers=of_rung * ladders,
        exchange=SwapNeighbours(key_swap, jnp.asarray(thin, jnp.int32), len(rungs)),
        progress=progress,
    )
    replica = samples.observables.pop("replica").reshape(ladders, len(rungs), draws) % len(rungs)
    return ExchangeResult(
        samples, rungs, _swap_acceptance(replica, warmup // thin), _round_trips(replica)
    )


def _check_exchangeable(
    program: FactorSamplingProgram, observers: Sequence[AbstractObserver]
) -> None:
    """Raises ValueError for what goes with a configuration and cannot be swapped with it."""
    if any(isinstance(each, DisplacementObserver | AcceptanceObserver) for each in observers):
        raise ValueError(
            "`observers` must not follow a configuration from draw to draw: rungs swap theirs."
        )
    if any(leaf.ndim for leaf in jax.tree.leaves(initial_sampler_states(program))):
        raise ValueError(
            f"{type(program.samplers[0]).__name__} keeps velocities or noise tangent to its"
            " configuration, which cannot be exchanged. Use MALA, MetropolisWithinGibbs or"
            " EulerMaruyama."
        )


def _checked_rungs(
    temperatures: Sequence[float] | Float[np.ndarray, " rungs"],
) -> Float[np.ndarray, " rungs"]:
    """The temperatures of a ladder. Raises ValueError for those that make none."""
    rungs = np.asarray(temperatures, np.float64)
    moves = np.diff(rungs)
    ordered = np.all(moves > 0) or np.all(moves < 0)
    if len(rungs) < 2 or not np.all((rungs > 0) & np.isfinite(rungs)) or not ordered:
        raise ValueError(
            "`temperatures` must be two or more positive numbers in rising or falling order; got"
            f" {list(temperatures)}."
        )
    if np.min(np.abs(moves) / rungs[:-1]) < 1e-4:
        raise ValueError(
            "`temperatures` must differ by 0.01 % or more from rung to rung; got"
            f" {list(temperatures)}."
        )
    return rungs


def _swap_acceptance(
    replica: Int[np.ndarray, "ladders rungs draws"], before: int
) -> Float[np.ndarray, " pairs"]:
    """Share of attempts that changed whose configuration a rung holds.

    The first draw only shows where all are.
    """
    changed = replica[:, :-1, 1:] == replica[:, 1:, :-1]
    # draw t (from 0) ends round before + t + 1, which tries the pairs of its parity
    rounds = before + 1 + np.arange(1, replica.shape[2])
    pairs = np.arange(replica.shape[1] - 1)
    tried = np.broadcast_to((rounds[None, :] % 2) == (pairs[:, None] % 2), changed.shape)
    with np.errstate(invalid="ignore"):
        return (changed & tried).sum(axis=(0, 2)) / tried.sum(axis=(0, 2))


def _round_trips(replica: Int[np.ndarray, "ladders rungs draws"]) -> Int[np.ndarray, " ladders"]:
    """First rung to last and back, counted over all configurations of a ladder."""
    ladders, rungs, _ = replica.shape
    trips = np.zeros(ladders, np.int64)
    for ladder, history in enumerate(replica):
        for one in range(rungs):
            where = np.argmax(history == one, axis=0)
            ends = where[(where == 0) | (where == rungs - 1)]
            turns = ends[np.flatnonzero(np.diff(ends, prepend=-1))]
            trips[ladder] += max(0, np.count_nonzero(turns == 0) - 1)
    return trips
