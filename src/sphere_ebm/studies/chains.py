"""Sampling at equilibrium: several chains at a fixed temperature, observed as they go.

Where `run_program` cools one configuration, `sample_chains` warms up several and then draws from
the Gibbs law. Chain i takes its keys from `fold_in(key, i)`, and step t of it from
`fold_in(..., t)`: no chain's random numbers depend on how many there are, and no draw on how many
follow. (Compiled code may round differently for another number of chains.)
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key
from thrml import AbstractObserver, FactorSamplingProgram

from sphere_ebm.hamiltonian.base import SphereState
from sphere_ebm.sampling.langevin import AbstractLangevin
from sphere_ebm.sampling.programs import advance, initial_sampler_states, split_blocks
from sphere_ebm.studies.checks import check_counts, check_energies, check_settled
from sphere_ebm.studies.observers import ConfigurationObserver, EnergyObserver, MomentObserver
from sphere_ebm.studies.samples import Samples

ChainProgress = Callable[[int, int], None]
"""Called as progress(steps done, steps in all), counted along one chain."""


class Chain(NamedTuple):
    """What one chain carries from step to step. In a run every leaf has a leading axis of chains.

    `replica` tells whose configuration it is: chains of a ladder of temperatures exchange theirs.
    """

    state: SphereState
    sampler_states: list[Any]
    memory: list[Any]
    replica: Int[Array, "..."]

    @property
    def step(self) -> Int[Array, "..."]:
        """Number of steps done."""
        return self.sampler_states[0].step


Exchange = Callable[[FactorSamplingProgram, list[AbstractLangevin], Chain], Chain]
"""Lets chains exchange configurations; called as exchange(program, samplers, chains) with all
chains at once.
"""


@eqx.filter_jit
def advance_chains(
    keys: Key[Array, " chains"],
    program: FactorSamplingProgram,
    samplers: list[AbstractLangevin],
    chains: Chain,
    observers: list[AbstractObserver],
    first: Int[Array, ""],
    draws: Int[Array, ""],
    thin: Int[Array, ""],
    capacity: int,
    exchange: Exchange | None = None,
) -> tuple[Chain, list[Any]]:
    """`draws` times `thin` steps of every chain and one look by each observer.

    There is room for `capacity` draws.

    The leaves of `samplers` have an axis of chains. `first` is the iteration number of the first
    look. Returns the chains and what observers recorded, shape (chains, capacity, ...), of which
    the first `draws` are filled; the last record is that of the samplers' own statistics. `draws`
    and `thin` are traced: one compilation serves any. `exchange` is called after every `thin`
    steps, before the look.
    """

    def steps(key: Key[Array, ""], samplers: list[AbstractLangevin], chain: Chain) -> Chain:
        own = eqx.tree_at(lambda p: p.samplers, program, samplers)

        def step(_: Array, chain: Chain) -> Chain:
            key_step = jax.random.fold_in(key, chain.step)
            state, sampler_states = advance(key_step, own, chain.state, chain.sampler_states)
            return chain._replace(state=state, sampler_states=sampler_states)

        return jax.lax.fori_loop(0, thin, step, chain)

    look_at_all = jax.vmap(partial(_look, program, observers), in_axes=(0, 0, None))

    def draw(i: Int[Array, ""], carried: tuple[Chain, list[Any]]) -> tuple[Chain, list[Any]]:
        chains, records = carried
        chains = jax.vmap(steps)(keys, samplers, chains)
        if exchange is not None:
            chains = exchange(program, samplers, chains)
        memory, record = look_at_all(samplers, chains, first + i)
        records = jax.tree.map(lambda kept, new: kept.at[:, i].set(new), records, record)
        return chains._replace(memory=memory), records

    shapes = jax.eval_shape(look_at_all, samplers, chains, first)[1]
    empty = jax.tree.map(lambda s: jnp.zeros((s.shape[0], capacity, *s.shape[1:]), s.dtype), shapes)
    return jax.lax.fori_loop(0, draws, draw, (chains, empty))


def _look(
    program: FactorSamplingProgram,
    observers: list[AbstractObserver],
    samplers: list[AbstractLangevin],
    chain: Chain,
    iteration: Int[Array, ""],
) -> tuple[list[Any], list[Any]]:
    """What observers remember of one chain and what they record, and the samplers' statistics."""
    own = eqx.tree_at(lambda p: p.samplers, program, samplers)
    free = split_blocks(own, chain.state)
    seen = [
        each(own, free, [], memory, iteration)
        for each, memory in zip(observers, chain.memory, strict=True)
    ]
    records = [record for _, record in seen]
    return [memory for memory, _ in seen], [*records, _statistics(own, chain)]


def _statistics(program: FactorSamplingProgram, chain: Chain) -> dict[str, Array]:
    """The samplers' own statistics, averaged over the points of all blocks, and `replica`."""
    sizes = [len(block) for block in program.gibbs_spec.free_blocks]
    total: dict[str, Array] = {"replica": chain.replica}
    samplers: list[Any] = program.samplers
    for sampler, state, size in zip(samplers, chain.sampler_states, sizes, strict=True):
        for name, value in sampler.statistics(state).items():
            total[name] = total.get(name, jnp.zeros_like(value)) + value * (size / sum(sizes))
    return total


def sample_chains(
    key: Key[Array, ""],
    program: FactorSamplingProgram,
    start: SphereState,
    *,
    chains: int = 4,
    warmup: int = 1000,
    draws: int = 1000,
    thin: int = 1,
    observers: Sequence[AbstractObserver] = (),
    keep_states: bool = False,
    samplers: Sequence[AbstractLangevin] | None = None,
    exchange: Exchange | None = None,
    progress: ChainProgress | None = None,
) -> Samples:
    """Draw from the law of `program`.

    `warmup` steps are thrown away, then `draws` draws follow, `thin` steps apart.

    Args:
        key: of the whole run; chain i takes `fold_in(key, i)`.
        program: from `build_program` or `build_coloured_program`; its samplers' schedules must be
            constant, and any adaptation over, by the end of the warm-up.
        start: configuration to start from, shapes (n, 3) and (n,), the same for all chains, or one
            for each, shapes (chains, n, 3) and (chains, n). R-hat can only find what chains
            disagree about if they start far apart.
        chains: how many run side by side.
        warmup: steps of each chain that are thrown away.
        draws: looks at each chain after that.
        thin: steps from one draw to the next.
        observers: more of them; the energy of each term, moments and the samplers' statistics are
            always recorded. Scalars that they record by name add to `Samples.observables`;
            everything is in `Samples.records`, and what they carried at the end in
            `Samples.memory`.
        keep_states: keep every configuration drawn, 16 n bytes each. Otherwise memory does not
            depend on n · draws.
        samplers: one for each chain, instead of the program's for all (a ladder of temperatures).
        exchange: lets chains exchange configurations after every `thin` steps; see
            `replica_exchange`.
        progress: called now and then.

    Raises:
        ValueError: numbers that make no run, or a law that still changes after the warm-up.
        NonFiniteEnergyError: an energy was not finite.
    """
    check_counts(chains, warmup, draws, thin)
    stacked = _stacked(program, samplers, chains)
    total = warmup + draws * thin
    check_settled(list(program.samplers) if samplers is None else list(samplers), warmup, total)
    state = _started(start, chains, sum(len(block) for block in program.gibbs_spec.free_blocks))
    own = [
        EnergyObserver(),
        MomentObserver(jax.tree.map(lambda x: x[0], state)),
        *([ConfigurationObserver()] if keep_states else []),
    ]
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(chains, dtype=jnp.uint32))
    course = _Course(keys, program, stacked, [*own, *observers], exchange, total, progress)
    carried, parts = course.run(state, warmup, draws, thin)
    records = jax.tree.map(lambda *pieces: np.concatenate(pieces, axis=1), *parts)
    if exchange is None:
        del records[-1]["replica"]
    last = jnp.asarray(course.total, jnp.int32)
    temperature = jax.vmap(lambda sampler: sampler.coefficients.temperature(last))(stacked[0])
    return Samples(
        temperature=np.asarray(temperature, np.float64),
        energy=records[0],
        observables=_scalars([records[-1], *records[len(own) : -1]]),
        moments=jax.tree.map(np.asarray, carried.memory[1]),
        last=jax.tree.map(np.asarray, carried.state),
        thin=thin,
        warmup=warmup,
        states=records[2] if keep_states else None,
        records=tuple(records[len(own) : -1]),
        memory=jax.tree.map(np.asarray, tuple(carried.memory[len(own) :])),
    )


@final
@dataclass(frozen=True)
class _Course:
    """What stays the same from the first step of a run to the last, number `total`."""

    keys: Key[Array, " chains"]
    program: FactorSamplingProgram
    samplers: list[AbstractLangevin]
    observers: list[AbstractObserver]
    exchange: Exchange | None
    total: int
    progress: ChainProgress | None

    def run(
        self, state: SphereState, warmup: int, draws: int, thin: int
    ) -> tuple[Chain, list[list[Any]]]:
        """The chains at the end, and the records of all draws in pieces."""
        chains = len(state.radius)
        memory = _one_each([each.init() for each in self.observers], chains)
        sampler_states = _one_each(initial_sampler_states(self.program), chains)
        carried = Chain(state, sampler_states, memory, jnp.arange(chains, dtype=jnp.int32))
        # a power of two, so that few sizes are ever compiled
        capacity = min(_CAPACITY, 1 << (draws - 1).bit_length())
        meeting = self.exchange is not None
        for meetings, length in _warmup_chunks(warmup, thin, capacity, meeting):
            carried, _ = self._proceed(carried, 0, meetings, length, capacity)
        # what observers saw of the warm-up is forgotten
        carried = carried._replace(memory=memory)
        parts = []
        for first in range(0, draws, capacity):
            count = min(capacity, draws - first)
            carried, records = self._proceed(carried, first, count, thin, capacity)
            parts.append(records)
        return carried, parts

    def _proceed(
        self, chains: Chain, first: int, draws: int, thin: int, capacity: int
    ) -> tuple[Chain, list[Any]]:
        """`advance_chains`, its records in NumPy, energies checked and progress told."""
        start, count, steps = (jnp.asarray(each, jnp.int32) for each in (first, draws, thin))
        after, records = advance_chains(
            self.keys,
            self.program,
            self.samplers,
            chains,
            self.observers,
            start,
            count,
            steps,
            capacity,
            self.exchange,
        )
        records = jax.tree.map(lambda x: np.asarray(x[:, :draws]), records)
        check_energies(records[0], int(after.step[0]))
        if self.progress is not None:
            self.progress(int(after.step[0]), self.total)
        return after, records


def _scalars(records: list[Any]) -> dict[str, np.ndarray]:
    """The scalars that observers recorded by name. Raises ValueError when two use one name."""
    found: dict[str, np.ndarray] = {}
    for record in records:
        named = (
            {name: x for name, x in record.items() if np.ndim(x) == 2}
            if isinstance(record, dict)
            else {}
        )
        if clash := sorted(found.keys() & named.keys()):
            raise ValueError(
                f"`observers` must record under names of their own; got {', '.join(clash)} twice."
            )
        found |= named
    return found


_CAPACITY = 128
"""Draws after which progress is told and energies are checked."""


def _warmup_chunks(
    warmup: int, thin: int, capacity: int, exchanging: bool
) -> Iterator[tuple[int, int]]:
    """(draws, steps between them) that add up to `warmup` steps.

    There are draws only where chains must meet.
    """
    done = 0
    while done < warmup:
        left = warmup - done
        draws = 1
        length = min(_CAPACITY * thin, left)
        if exchanging and left >= thin:
            draws = min(capacity, left // thin)
            length = thin
        yield draws, length
        done += draws * length


def _started(start: SphereState, chains: int, n_points: int) -> SphereState:
    """A configuration for each chain. Raises ValueError for shapes that do not fit."""
    lead = start.radius.shape[:-1]
    if (
        start.direction.shape != (*lead, n_points, 3)
        or start.radius.shape[-1] != n_points
        or len(lead) > 1
    ):
        raise ValueError(
            f"`start` must have shapes ({n_points}, 3) and ({n_points},), or these with a leading"
            f" axis of chains; got {start.direction.shape} and {start.radius.shape}."
        )
    if not lead:
        return _one_each(start, chains)
    if lead != (chains,):
        raise ValueError(f"`start` must hold one configuration, or chains={chains}; got {lead[0]}.")
    return jax.tree.map(_strong, start)


def _one_each(tree: Any, chains: int) -> Any:
    """Every leaf repeated along a leading axis of chains."""
    return jax.tree.map(lambda x: jnp.repeat(_strong(x)[None], chains, axis=0), tree)


def _strong(x: Any) -> Array:
    """The array without JAX's weak type, for which everything would be compiled once more."""
    return jnp.asarray(x, x.dtype)


def _stacked(
    program: FactorSamplingProgram, samplers: Sequence[AbstractLangevin] | None, chains: int
) -> list[AbstractLangevin]:
    """The samplers of every block, leaves with an axis of chains."""
    if samplers is None:
        return _one_each(program.samplers, chains)
    if len(samplers) != chains:
        raise ValueError(
            f"`samplers` must hold one for each of chains={chains}; got {len(samplers)}."
        )
    kinds = {type(sampler).__name__ for sampler in [*samplers, *program.samplers]}
    if len(kinds) > 1:
        raise ValueError(
            f"`samplers` must be of the program's own scheme; got {', '.join(sorted(kinds))}."
        )
    distinct, which = np.unique([id(sampler) for sampler in samplers], return_inverse=True)
    by_identity = {id(sampler): sampler for sampler in samplers}
    each = [by_identity[int(identity)] for identity in distinct]
    return [jax.tree.map(lambda *leaves: jnp.stack(leaves)[which], *each)] * len(program.samplers)
