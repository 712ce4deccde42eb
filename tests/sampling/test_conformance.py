"""What every sampling scheme promises, whatever its law: one set of claims for all of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from thrml import Block, BlockGibbsSpec, FactorSamplingProgram, SamplingSchedule, sample_states

from builders import sampler_of
from sphere_ebm.geometry.sphere import project_tangent, squared_chord
from sphere_ebm.hamiltonian.base import Shared, SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.langevin import AbstractInertial
from sphere_ebm.sampling.mala import MALA
from sphere_ebm.sampling.metropolis import AbstractMetropolis
from sphere_ebm.sampling.moments import empty_moments
from sphere_ebm.sampling.programs import (
    SphereNode,
    build_coloured_program,
    build_program,
    initial_sampler_states,
    node_template,
    split_blocks,
)
from sphere_ebm.sampling.run import Carry, run_chunk
from sphere_ebm.sampling.samplers import build_sampler
from sphere_ebm.sampling.schedules import Switch
from sphere_ebm.sampling.schemes import STEP_SIZES
from sphere_ebm.sampling.terms import own_state_group

CLASSES: dict[str, type] = {
    type(sampler).__name__: type(sampler)
    for sampler in (build_sampler(name, 1, Coefficients(1.0, 0.1)) for name in STEP_SIZES)
}
METROPOLIS = tuple(name for name, kind in CLASSES.items() if issubclass(kind, AbstractMetropolis))
LANGEVIN = tuple(name for name in CLASSES if name not in METROPOLIS)
SCHEMES = (*LANGEVIN, *METROPOLIS)
NO_SWITCH = 10**6


def make(
    name: str,
    n: int,
    temperature: Any = 0.5,
    step_size: Any = 0.01,
    coupling: Any = 1.0,
    **options: Any,
) -> Any:
    """A sampler whose schedules are all of one kind, so that samplers of one scheme share a
    compilation.
    """

    def schedule(value: Any) -> Switch:
        return value if isinstance(value, Switch) else Switch(value, value, NO_SWITCH)

    law = (schedule(temperature), schedule(step_size), schedule(coupling))
    return sampler_of(CLASSES[name], n, *law, **options)


class Scheme(NamedTuple):
    """A program of one scheme, and `run_chunk` that is compiled once for the whole module.

    Twice is an error.
    """

    name: str
    program: FactorSamplingProgram
    start: SphereState
    runner: Callable[..., Any]

    def make(self, *args: Any, **options: Any) -> Any:
        return make(self.name, self.start.radius.size, *args, **options)

    def carry(self, sampler: Any, start: SphereState | None = None) -> Carry:
        start = self.start if start is None else start
        return Carry(start, initial_sampler_states(self.using(sampler)), empty_moments(start))

    def using(self, sampler: Any) -> FactorSamplingProgram:
        return eqx.tree_at(
            lambda p: p.samplers, self.program, [sampler] * len(self.program.samplers)
        )

    def run(
        self,
        sampler: Any,
        steps: int,
        *,
        seed: int = 0,
        start: SphereState | None = None,
        carry: Carry | None = None,
        program: FactorSamplingProgram | None = None,
    ) -> Carry:
        carry = self.carry(sampler, start) if carry is None else carry
        program = self.using(sampler) if program is None else program
        length = jnp.asarray(steps, jnp.int32)
        averaging = jnp.asarray(0, jnp.int32)
        return self.runner(jax.random.key(seed), program, carry, length, averaging)[0]


@pytest.fixture(scope="module")
def schemes(
    small_block: Block, small_factors: list[Any], small_start: SphereState
) -> dict[str, Scheme]:
    found = {}
    for name in SCHEMES:
        sampler = make(name, len(small_block))
        if name == "MetropolisWithinGibbs":
            colour = np.arange(len(small_block)) % 2
            program = build_coloured_program(small_block, small_factors[:2], sampler, colour)
        else:
            program = build_program(small_block, small_factors, sampler)
        runner = eqx.filter_jit(eqx.debug.assert_max_traces(run_chunk.__wrapped__, max_traces=1))
        found[name] = Scheme(name, program, small_start, runner)
    return found


@pytest.fixture(params=SCHEMES)
def scheme(request: pytest.FixtureRequest, schemes: dict[str, Scheme]) -> Scheme:
    return schemes[request.param]


@pytest.fixture(params=LANGEVIN)
def langevin(request: pytest.FixtureRequest, schemes: dict[str, Scheme]) -> Scheme:
    return schemes[request.param]


def same_bits(a: Any, b: Any) -> bool:
    return all(
        bool(np.array_equal(one, other))
        for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def test_directions_stay_unit_and_radii_above_the_minimum(scheme):
    wall = 2.0
    start = SphereState(scheme.start.direction, jnp.maximum(scheme.start.radius, wall + 0.01))
    # proposals that are not too bold where all points are accepted as one
    step_size = 0.004 if scheme.name == "MALA" else 0.1
    sampler = {
        minimum: scheme.make(1.0, step_size, minimum_radius=minimum) for minimum in (0.0, wall)
    }
    lowest = {minimum: [start.radius] for minimum in sampler}
    for minimum, each in sampler.items():
        carry = scheme.carry(each, start)
        for _ in range(40):
            carry = scheme.run(each, 3, carry=carry)
            lowest[minimum].append(carry.state.radius)
            length = np.linalg.norm(np.asarray(carry.state.direction, np.float64), axis=1)
            np.testing.assert_allclose(length, 1, atol=3e-7)
    assert np.min(lowest[wall]) >= wall
    assert np.min(lowest[0.0]) < wall - 0.3, "the wall was never reached"


def test_one_key_gives_one_result_and_another_key_another(scheme):
    first, again, other = (scheme.run(scheme.make(), 5, seed=seed) for seed in (3, 3, 4))
    assert same_bits(first, again)
    assert not bool(jnp.any(first.state.radius == other.state.radius))


def test_the_sampler_counts_its_steps(scheme):
    carry = scheme.run(scheme.make(), 7)
    assert int(carry.step) == 7
    assert [int(state.step) for state in carry.sampler_states] == [7] * len(carry.sampler_states)


def test_a_run_carried_on_is_the_run_in_one_piece(scheme):
    sampler = scheme.make()
    assert same_bits(scheme.run(sampler, 7), scheme.run(sampler, 4, carry=scheme.run(sampler, 3)))


@pytest.mark.parametrize("position", [0, 1, 2], ids=["temperature", "step size", "coupling"])
def test_schedules_are_read_at_the_step_counter(scheme, position):
    values = [0.5, 0.01, 1.0]
    other = [2.0, 0.02, 3.0]
    values[position] = Switch(values[position], other[position], 3)
    plain = scheme.make()
    switched = scheme.make(*values)
    assert same_bits(scheme.run(plain, 3), scheme.run(switched, 3))
    before = scheme.run(plain, 3)
    assert not same_bits(
        scheme.run(plain, 1, carry=before).state, scheme.run(switched, 1, carry=before).state
    )


def test_changing_a_value_compiles_nothing(scheme):
    options: dict[str, Any] = {
        "direction_mobility": 0.7,
        "radius_mobility": 1.3,
        "minimum_radius": 0.5,
    }
    if scheme.name in METROPOLIS:
        options |= {"adapt_steps": 3, "target_acceptance": 0.9}
    if scheme.name == "Underdamped":
        options |= {"friction": 3.0}
    values = [(0.5, 0.001), (0.7, 0.001), (0.7, 0.002), (0.7, 0.002, 4.0)]
    samplers = [scheme.make(*each) for each in values]
    # the runner of `scheme` raises when it is traced once more
    for length, (name, value) in enumerate(options.items()):
        scheme.run(scheme.make(**{name: value}), length)
    ends = [scheme.run(sampler, 5) for sampler in samplers]
    stronger = eqx.tree_at(
        lambda p: p.per_block_interactions[0][2].strength,
        scheme.using(samplers[0]),
        jnp.asarray(3.0, jnp.float32),
    )
    ends.append(scheme.run(samplers[0], 5, program=stronger))
    assert len(
        {float(end.state.radius.sum()) + float(end.state.direction.sum()) for end in ends}
    ) == len(ends)


def test_mobility_sets_the_speed_and_nothing_else(scheme):
    """Half the mobility and twice the step is the same chain.

    With inertia, a mass of 4 is twice the time.
    """
    if scheme.name == "Underdamped":
        plain = scheme.make(0.5, 0.01, friction=2.0)
        slow = scheme.make(0.5, 0.02, friction=1.0, direction_mobility=0.25, radius_mobility=0.25)
    else:
        plain = scheme.make(0.5, 0.01)
        slow = scheme.make(0.5, 0.02, direction_mobility=0.5, radius_mobility=0.5)
    assert same_bits(scheme.run(plain, 6).state, scheme.run(slow, 6).state)


def test_each_mobility_moves_its_own_part(scheme):
    # from rest the first move of each part knows nothing of the other; what is decided as a whole
    # is another matter
    sampler = {
        "plain": {},
        "direction": {"direction_mobility": 1.1},
        "radius": {"radius_mobility": 1.1},
    }
    step_size = 1e-5 if scheme.name in METROPOLIS else 0.01
    end = {
        name: scheme.run(scheme.make(0.5, step_size, **options), 1).state
        for name, options in sampler.items()
    }
    moved = ~np.asarray(end["plain"].radius == scheme.start.radius)
    assert moved.mean() > 0.9
    assert np.array_equal(end["direction"].radius[moved], end["plain"].radius[moved])
    assert np.array_equal(end["radius"].direction[moved], end["plain"].direction[moved])
    assert not np.any(end["direction"].direction[moved] == end["plain"].direction[moved])
    assert np.mean(end["radius"].radius[moved] == end["plain"].radius[moved]) < 0.5


def test_a_step_of_no_size_goes_nowhere(scheme):
    end = scheme.run(scheme.make(0.5, 0.0), 4).state
    np.testing.assert_allclose(end.direction, scheme.start.direction, atol=3e-7)
    np.testing.assert_array_equal(end.radius, scheme.start.radius)


def test_without_noise_a_rotated_start_ends_rotated(langevin):
    rotation = jnp.asarray(Rotation.from_euler("xyz", [0.4, -1.1, 2.3]).as_matrix(), jnp.float32)
    turned = SphereState(langevin.start.direction @ rotation.T, langevin.start.radius)
    cold = langevin.make(0.0, 0.01)
    here = langevin.run(cold, 10)
    there = langevin.run(cold, 10, start=turned)
    assert float(jnp.max(jnp.abs(here.state.direction - langevin.start.direction))) > 0.01
    np.testing.assert_allclose(there.state.direction, here.state.direction @ rotation.T, atol=2e-5)
    np.testing.assert_allclose(there.state.radius, here.state.radius, rtol=1e-5)


def test_without_noise_the_key_does_not_matter(langevin):
    cold = langevin.make(0.0, 0.01)
    assert same_bits(langevin.run(cold, 5, seed=0), langevin.run(cold, 5, seed=1))


@pytest.mark.parametrize("name", METROPOLIS)
@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_schemes_that_reject_refuse_a_temperature_that_is_not_positive(name, temperature):
    with pytest.raises(ValueError, match="`temperature` must be positive to accept and reject by"):
        CLASSES[name](Coefficients(temperature, 0.1))


@pytest.mark.parametrize("name", METROPOLIS)
def test_a_sampler_may_be_made_inside_a_compiled_function(name):
    scheme = CLASSES[name]
    made = eqx.filter_jit(lambda temperature: scheme(Coefficients(temperature, 0.1)))(
        jnp.asarray(0.5)
    )
    assert float(made.coefficients.temperature(jnp.asarray(0, jnp.int32))) == 0.5


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", SCHEMES)
def test_the_precision_of_the_state_is_kept(name, precision):
    dtype = jnp.dtype(precision)
    n = 6
    with jax.enable_x64(precision == "float64"):
        sampler = make(
            name, n, **({"dtype": dtype} if issubclass(CLASSES[name], AbstractInertial) else {})
        )
        block = Block([SphereNode() for _ in range(n)])
        here = np.arange(n)
        terms = [
            GravityFactor(block, np.ones(n, dtype)),
            LateralFactor(block, here, (here + 1) % n, np.ones(n, dtype), sharpness=2.0),
        ]
        if name == "MetropolisWithinGibbs":
            program = build_coloured_program(block, terms, sampler, here % 2, dtype)
        else:
            terms.append(OsmoticFactor(block, sharpness=2.0, evaluator="direct"))
            program = build_program(block, terms, sampler, dtype)
        start = SphereState(jnp.ones((n, 3), dtype), jnp.ones(n, dtype))
        carry = Carry(start, initial_sampler_states(program), empty_moments(start))
        steps = jnp.asarray(1, jnp.int32)
        after, energy, _ = eqx.filter_eval_shape(
            run_chunk.__wrapped__, jax.random.key(0), program, carry, steps, steps
        )
        kinds = [[(x.shape, x.dtype) for x in jax.tree.leaves(each)] for each in (after, carry)]
        assert kinds[0] == kinds[1]
        assert {x.dtype for x in jax.tree.leaves((after.state, after.moments, energy))} == {dtype}


@eqx.filter_jit
def sample_four(
    key: jax.Array, program: FactorSamplingProgram, start: list[SphereState]
) -> list[SphereState]:
    return sample_states(
        key, program, SamplingSchedule(2, 4, 3), start, [], program.gibbs_spec.free_blocks
    )


def test_what_accepts_and_rejects_runs_in_plain_thrml_with_the_same_result(
    schemes, small_block, small_factors
):
    scheme = schemes["MALA"]
    ours = scheme.using(scheme.make(0.5, 0.003))
    classes = ours.gibbs_spec.free_blocks
    spec = BlockGibbsSpec(classes, [], node_template())
    plain = FactorSamplingProgram(
        spec, ours.samplers, small_factors, [own_state_group(small_block)]
    )
    assert any(isinstance(leaf, Shared) for leaf in jax.tree.leaves(plain))
    start = split_blocks(ours, scheme.start)
    by_hand, built = (sample_four(jax.random.key(3), program, start) for program in (plain, ours))
    assert [x.direction.shape for x in by_hand] == [(4, len(block), 3) for block in classes]
    for one, other in zip(jax.tree.leaves(by_hand), jax.tree.leaves(built), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert not np.array_equal(one[0], one[3])


@pytest.mark.parametrize(("factor", "passes"), [(1.0, True), (1.05, False), (0.95, False)])
@pytest.mark.parametrize("name", [*LANGEVIN, "MetropolisWithinGibbs"])
def test_free_directions_move_as_far_in_a_step_as_the_sampler_says(
    wells, chi2_p_value, name, factor, passes
):
    """The fourth step of many free points.

    2 n Gaussian components, their sum of squares the square of the angle.
    """
    n = wells.start.radius.size
    step_size = 1e-3
    options: dict[str, Any] = {"direction_mobility": 0.8}
    thrown = None
    if name == "Underdamped":
        # in free flight with velocities of the temperature
        noise = jax.random.normal(jax.random.key(5), (n, 3)) * np.float32(np.sqrt(0.8 * 1.3))
        velocity = SphereState(project_tangent(wells.start.direction, noise), jnp.zeros(n))
        options |= {"friction": 0.0}
        thrown = make(name, n).init()._replace(velocity=velocity)
    sampler = make(name, n, 1.3, step_size, **options)
    before, after = (wells.simulate(sampler, steps, sampler_state=thrown).state for steps in (3, 4))
    square = squared_chord(after.direction, before.direction)
    angle = 2 * np.arcsin(np.sqrt(np.asarray(square, np.float64)) / 2)
    said = float(sampler.thermal_move(jnp.asarray(3, jnp.int32))) ** 2
    assert (chi2_p_value(factor * np.sum(angle**2) / (said / 2), 2 * n) > 1e-3) == passes


def test_proposals_move_as_far_as_those_that_are_not_rejected():
    step = jnp.asarray(0, jnp.int32)
    moving = Coefficients(1.3, 0.01, direction_mobility=0.8)
    one, other = (scheme(moving) for scheme in (MALA, EulerMaruyama))
    assert float(one.thermal_move(step)) == float(other.thermal_move(step))
