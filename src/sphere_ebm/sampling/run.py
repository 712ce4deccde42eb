"""Running a program: the one jit door, chunks, convergence, and the moments of the last samples.

A run has two phases. First it anneals until the energy has converged or its steps are spent; then
it takes `average` more steps and accumulates the mean and spread of every point. It proceeds in
chunks of one compiled function, so that progress, stopping and checkpoints cost one energy
evaluation a chunk. The key of a step is folded from the run's key and the step's number: neither
the size of the chunks nor an interruption changes a bit of the result. (Only when a `tolerance` is
set does the chunk matter: convergence is judged by the energies at chunk ends.)
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key
from thrml import FactorSamplingProgram

from sphere_ebm.errors import NonFiniteEnergyError
from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.moments import Moments, accumulate
from sphere_ebm.sampling.programs import advance, energies, point_energies

Progress = Callable[[int, int, dict[str, float]], None]

WINDOW = 2
"""Chunks in each of the two windows that `Trace.stationary` compares."""


class Carry(NamedTuple):
    """Everything that a run carries from chunk to chunk, and all that a checkpoint holds."""

    state: SphereState
    sampler_states: list[Any]
    moments: Moments

    @property
    def step(self) -> Int[Array, ""]:
        """Number of steps done."""
        return self.sampler_states[0].step


class Chunk(NamedTuple):
    """What a chunk ends with."""

    carry: Carry
    energy: dict[str, Float[Array, ""]]
    """Of each term."""
    point_energy: Float[Array, " points"]
    """Each point's share of all terms; see `point_energies`."""


@eqx.filter_jit
def run_chunk(
    key: Key[Array, ""],
    program: FactorSamplingProgram,
    carry: Carry,
    n_steps: Int[Array, ""],
    averaging: Int[Array, ""],
) -> Chunk:
    """Advance `n_steps` steps (a traced number: chunks of any length share one compilation).

    Samples enter the moments when `averaging` is 1. The energies are those at the end.
    """

    def body(_: Array, carry: Carry) -> Carry:
        step_key = jax.random.fold_in(key, carry.step)
        state, sampler_states = advance(step_key, program, carry.state, carry.sampler_states)
        moments = jax.lax.cond(
            averaging > 0, accumulate, lambda moments, _: moments, carry.moments, state
        )
        return Carry(state, sampler_states, moments)

    carry = jax.lax.fori_loop(0, n_steps, body, carry)
    # of one evaluation of the terms, which is compiled once for both
    return Chunk(carry, energies(program, carry.state), point_energies(program, carry.state))


@final
@dataclass
class Trace:
    """Energy per term at the start and after each chunk.

    `energy[name][i]` is the energy of the term `name` after `steps[i]` steps.
    """

    steps: list[int] = field(default_factory=list)
    energy: dict[str, list[float]] = field(default_factory=dict)

    def append(self, step: int, values: dict[str, float]) -> None:
        """Add the energies after `step` steps."""
        self.steps.append(step)
        for name, value in values.items():
            self.energy.setdefault(name, []).append(value)

    def total(self) -> Float[np.ndarray, " chunks"]:
        """The Hamiltonian: the sum over terms."""
        return np.sum([np.zeros(len(self.steps)), *map(np.asarray, self.energy.values())], axis=0)

    def stationary(self, entries: int, settled: int, change: float) -> bool:
        """Whether the energy stood still over the last 2·WINDOW of the first `entries`.

        All of them must be from step `settled` on.

        The means of the two windows differ by less than `change`.
        """
        first = entries - 2 * WINDOW
        if first < 0 or self.steps[first] < settled:
            return False
        before, after = self.total()[first:entries].reshape(2, WINDOW)
        return bool(abs(after.mean() - before.mean()) < change)


@final
@dataclass(frozen=True)
class RunResult:
    """Final carry, energy trace, and whether the energy stood still.

    `converged` tells of the end of the annealing or of the run.
    """

    carry: Carry
    trace: Trace
    converged: bool


@final
@dataclass(frozen=True)
class RunPlan:
    """How long a run is.

    `steps`: the most annealing steps; `settled`: the step from which schedules are constant, so
    that a converged energy may end the annealing; `tolerance`: change of energy per point between
    windows that counts as none (see `Trace.stationary`; 0: anneal to the end); `average`: steps of
    the second phase; `chunk`: steps per chunk.
    """

    steps: int
    average: int = 0
    settled: int = 0
    tolerance: float = 0.0
    chunk: int = 25

    def __post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError(f"`chunk` must be at least 1 step; got {self.chunk}.")
        if min(self.steps, self.average, self.settled) < 0 or not self.tolerance >= 0:
            raise ValueError(
                f"`steps`, `average`, `settled` and `tolerance` must be >= 0; got {self.steps},"
                f" {self.average}, {self.settled} and {self.tolerance}."
            )

    def next_chunk(self, done: int, annealed: int) -> tuple[int, bool]:
        """Length of the next chunk after `done` steps, and whether it averages.

        Annealing ended at `annealed`.
        """
        averaging = done >= annealed
        end = annealed + self.average if averaging else annealed
        return min(self.chunk, end - done), averaging


def run_program(
    key: Key[Array, ""],
    program: FactorSamplingProgram,
    carry: Carry,
    plan: RunPlan,
    *,
    trace: Trace | None = None,
    progress: Progress | None = None,
    checkpoint: Callable[[Carry, Trace], None] | None = None,
    between: Callable[[int, Chunk], Carry] | None = None,
) -> RunResult:
    """Run `program` from `carry` by `plan`.

    A carry and trace from a checkpoint continue where they stopped.

    `progress(done, total, energies)` and `checkpoint(carry, trace)` are called after every chunk;
    before them `between(done, chunk)`, whose carry the run goes on from.
    Raises NonFiniteEnergyError as soon as an energy is not finite.
    """
    n_points = carry.state.radius.shape[0]
    done = int(carry.step)
    trace = Trace() if trace is None else trace
    if not trace.steps:
        zero = jnp.asarray(0, jnp.int32)
        first = run_chunk(key, program, carry, zero, zero)
        floats = {name: float(value) for name, value in first.energy.items()}
        check_finite(floats, done)
        trace.append(done, floats)
    annealed = _annealing_end(trace, plan, n_points)
    while done < annealed + plan.average:
        length, averaging = plan.next_chunk(done, annealed)
        chunk = run_chunk(
            key, program, carry, jnp.asarray(length, jnp.int32), jnp.asarray(averaging, jnp.int32)
        )
        done += length
        floats = {name: float(value) for name, value in chunk.energy.items()}
        check_finite(floats, done)
        carry = chunk.carry if between is None else between(done, chunk)
        trace.append(done, floats)
        annealed = _annealing_end(trace, plan, n_points)
        if progress is not None:
            progress(done, annealed + plan.average, floats)
        if checkpoint is not None:
            checkpoint(carry, trace)
    still = trace.stationary(len(trace.steps), plan.settled, plan.tolerance * n_points)
    return RunResult(carry, trace, still or annealed < plan.steps)


def _annealing_end(trace: Trace, plan: RunPlan, n_points: int) -> int:
    """Step at which annealing ends, by the trace so far.

    It is the first at which the energy stood still, or else the last one.
    """
    if plan.tolerance > 0:
        for entries in range(1, len(trace.steps) + 1):
            if trace.steps[entries - 1] >= plan.steps:
                break
            if trace.stationary(entries, plan.settled, plan.tolerance * n_points):
                return trace.steps[entries - 1]
    return plan.steps


def check_finite(values: dict[str, float], step: int) -> None:
    """Raises NonFiniteEnergyError when the energy of a term is not a finite number."""
    if all(np.isfinite(value) for value in values.values()):
        return
    terms = ", ".join(f"{name} = {value:.4g}" for name, value in values.items())
    raise NonFiniteEnergyError(
        f"the energy is not finite after {step} steps ({terms}). Likely causes: a step size too"
        " large for the stiffest term (lower `step_size`), a strength or coupling far above 1, or"
        " radii with step_size · sqrt(μκ) > 2 (underdamped) or step_size · μκ > 2 (overdamped), μ"
        " their mobility (1/κ in `place`)."
    )
