"""The program that is built without loops is THRML's own, bit for bit, or THRML builds it."""

from collections.abc import Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from thrml import (
    Block,
    BlockGibbsSpec,
    FactorSamplingProgram,
    InteractionGroup,
    SamplingSchedule,
    sample_states,
)

from sphere_ebm.hamiltonian.base import SphereState, unwrap_shared
from sphere_ebm.hamiltonian.blocks import LazyNodes, SelectedBlock
from sphere_ebm.hamiltonian.gravity import GravityFactor
from sphere_ebm.hamiltonian.lateral import LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor
from sphere_ebm.sampling import assembly
from sphere_ebm.sampling.assembly import (
    OneBlockSpec,
    layout_is_known,
    one_block_spec,
    program_of_groups,
)
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.programs import SphereBlock, SphereNode, build_program, node_template
from sphere_ebm.sampling.terms import own_state_group

N = 12
SAMPLER = EulerMaruyama(Coefficients(1.0, 0.01))


def random_edges(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, N, 40), rng.integers(0, N, 40).astype(np.int32)


EDGES: dict[str, tuple[Any, Any]] = {
    "one edge, others isolated": ([3], [7]),
    "a star": ([0] * 6 + [9], [1, 2, 3, 4, 5, 6, 0]),
    "a chain from its far end": (list(range(N - 1, 0, -1)), list(range(N - 2, -1, -1))),
    "duplicates in both directions": ([2, 5, 2, 5, 2, 11], [5, 2, 5, 2, 8, 11]),
    "random and unsorted": random_edges(0),
    "sorted, with extra edges after them": ([0, 0, 1, 4, 7, 11, 0, 3], [2, 5, 3, 9, 8, 6, 11, 1]),
}


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> Iterator[Any]:
    with jax.enable_x64(request.param == "float64"):
        yield jnp.dtype(request.param)


@pytest.fixture
def block() -> SphereBlock:
    return SphereBlock(N)


@pytest.fixture
def lateral(block: SphereBlock) -> LateralFactor:
    return lateral_factor(block, "random and unsorted")


def lateral_factor(block: Block, edges: str, dtype: Any = np.float32) -> LateralFactor:
    senders, receivers = (np.asarray(ends) for ends in EDGES[edges])
    weight = np.random.default_rng(1).uniform(0.1, 2, len(senders)).astype(dtype)
    return LateralFactor(block, senders, receivers, weight, sharpness=1.5, strength=0.7)


def by_thrml(
    block: Block, factors: list[Any], sampler: Any, dtype: Any = jnp.float32
) -> FactorSamplingProgram:
    spec = BlockGibbsSpec([block], [], node_template(dtype))
    return unwrap_shared(FactorSamplingProgram(spec, [sampler], factors, [own_state_group(block)]))


def assert_identical(ours: Any, theirs: Any) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        if isinstance(b, BlockGibbsSpec):
            assert_same_specification(a, b)
        elif eqx.is_array(b):
            if jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
                a = jax.random.key_data(a)
                b = jax.random.key_data(b)
            assert (a.dtype, a.shape, a.weak_type, a.committed) == (
                b.dtype,
                b.shape,
                b.weak_type,
                b.committed,
            )
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        else:
            assert a == b


def assert_same_specification(ours: BlockGibbsSpec, theirs: BlockGibbsSpec) -> None:
    assert ours.node_global_location_map == theirs.node_global_location_map
    assert vars(ours) == vars(theirs)


def nodes_are_made(block: Block) -> bool:
    return "_made" in vars(block.nodes)


@pytest.mark.parametrize("edges", EDGES)
@pytest.mark.parametrize(
    "terms", ["gravity", "lateral", "gravity lateral", "lateral osmotic gravity"]
)
def test_a_program_is_the_one_that_thrml_builds(block, edges, terms, dtype):
    known = {
        "gravity": GravityFactor(
            block, np.linspace(1, 2, N).astype(dtype), np.linspace(0, 3, N).astype(dtype)
        ),
        "lateral": lateral_factor(block, edges, dtype),
        "osmotic": OsmoticFactor(block, sharpness=1.5, evaluator="direct"),
    }
    factors = [known[name] for name in terms.split()]
    ours = build_program(block, factors, SAMPLER, dtype)
    assert type(ours) is FactorSamplingProgram
    assert isinstance(ours.gibbs_spec, OneBlockSpec)
    assert not nodes_are_made(block), "or a loop over the nodes was run"
    assert_identical(ours, by_thrml(block, factors, SAMPLER, dtype))


def test_a_difference_of_one_bit_would_be_seen(block, lateral):
    ours = build_program(block, [lateral], SAMPLER)
    theirs = by_thrml(block, [lateral], SAMPLER)

    def where(program: FactorSamplingProgram) -> jax.Array:
        return program.per_block_interactions[0][1].weight

    assert_identical(ours, theirs)
    nudged = eqx.tree_at(
        where, ours, where(ours).at[0, 0].set(jnp.nextafter(where(ours)[0, 0], jnp.inf))
    )
    with pytest.raises(AssertionError):
        assert_identical(nudged, theirs)


def test_empty_slots_hold_what_thrml_puts_there(block):
    program = build_program(block, [lateral_factor(block, "a star")], SAMPLER)
    lateral = program.per_block_interactions[0][1]
    active = program.per_block_interaction_active[0][1]
    assert np.asarray(active).sum(axis=1).tolist() == [7, 1, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0]
    assert set(np.asarray(lateral.tail)[~np.asarray(active)]) == {1}
    assert set(np.asarray(lateral.weight)[~np.asarray(active)].tolist()) == {
        float(lateral.weight[0, 0])
    }
    assert set(
        np.asarray(program.per_block_interaction_global_slices[0][1][0])[~np.asarray(active)]
    ) == {0}
    assert lateral.tail[0].tolist() == [1, 2, 3, 4, 5, 6, 9]


@pytest.mark.parametrize(
    "leaf",
    [
        lambda rng: jnp.full(80, 0.5),
        lambda rng: jnp.asarray(rng.standard_normal((80, 2, 3)), jnp.bfloat16),
        lambda rng: jnp.asarray(np.where(np.arange(80) % 2, 0.0, -0.0), jnp.float32),
        lambda rng: jnp.asarray(np.arange(80) % 3 == 0),
        lambda rng: jax.device_put(jnp.arange(80.0), jax.devices()[0]),
        lambda rng: jax.random.split(jax.random.key(0), 80),
        lambda rng: rng.standard_normal((80, 2)),
        lambda rng: "a word",
    ],
    ids=[
        "weak type",
        "three axes",
        "signed zeros",
        "truth",
        "a chosen device",
        "keys",
        "numpy",
        "no array",
    ],
)
def test_whatever_an_interaction_holds_is_treated_as_thrml_does(block, lateral, leaf):
    (group,) = lateral.to_interaction_groups()
    values = {
        "values": leaf(np.random.default_rng(0)),
        "none": None,
        "tail": group.interaction.tail,
    }
    groups = [InteractionGroup(values, group.head_nodes, group.tail_nodes * 2)]
    spec = one_block_spec(block, node_template(), distinct=True)
    ours = program_of_groups(spec, SAMPLER, groups)
    assert not nodes_are_made(block)
    theirs = FactorSamplingProgram(
        BlockGibbsSpec([block], [], node_template()), [SAMPLER], [], groups
    )
    assert_identical(ours, theirs)


def test_a_program_can_be_built_inside_a_transformation(block, lateral):
    (group,) = lateral.to_interaction_groups()
    spec = one_block_spec(block, node_template(), distinct=True)

    @jax.jit
    def weights(scale: jax.Array) -> jax.Array:
        scaled = InteractionGroup(
            scale * group.interaction.weight, group.head_nodes, group.tail_nodes
        )
        return program_of_groups(spec, SAMPLER, [scaled]).per_block_interactions[0][0]

    plain = program_of_groups(spec, SAMPLER, [group]).per_block_interactions[0][0].weight
    np.testing.assert_array_equal(weights(jnp.asarray(2.0)), 2 * plain)


def test_plain_thrml_samples_both_programs_to_the_same_bits(block, lateral):
    factors = [GravityFactor(block, np.ones(N, np.float32)), lateral]
    rng = np.random.default_rng(2)
    direction = rng.standard_normal((N, 3)).astype(np.float32)
    start = SphereState(
        jnp.asarray(direction / np.linalg.norm(direction, axis=1, keepdims=True)),
        jnp.ones(N, jnp.float32),
    )

    @eqx.filter_jit
    def sample(program: FactorSamplingProgram) -> SphereState:
        return sample_states(
            jax.random.key(0), program, SamplingSchedule(1, 4, 2), [start], [], [block]
        )[0]

    ours, theirs = (
        sample(program)
        for program in (build_program(block, factors, SAMPLER), by_thrml(block, factors, SAMPLER))
    )
    np.testing.assert_array_equal(ours.direction, theirs.direction)
    np.testing.assert_array_equal(ours.radius, theirs.radius)
    assert float(jnp.max(jnp.abs(ours.direction[3] - ours.direction[0]))) > 0.01


@pytest.mark.parametrize(
    "nodes",
    [
        lambda block: Block(list(block)[2:7]),
        lambda block: SelectedBlock(block, np.asarray([0, -1, 3])),
        lambda block: SelectedBlock(Block(list(block)), np.asarray([0, 1, 3])),
        lambda block: SelectedBlock(block, np.zeros(0, int)),
    ],
    ids=[
        "nodes in a block of their own",
        "counted from the end",
        "of another block",
        "none at all",
    ],
)
def test_nodes_that_are_not_positions_in_the_block_are_left_to_thrml(block, nodes):
    heads = nodes(block)
    groups = [
        own_state_group(block),
        InteractionGroup(jnp.arange(float(len(heads))), heads, [heads]),
    ]
    ours = program_of_groups(one_block_spec(block, node_template(), distinct=True), SAMPLER, groups)
    assert nodes_are_made(block)
    theirs = FactorSamplingProgram(
        BlockGibbsSpec([block], [], node_template()), [SAMPLER], [], groups
    )
    assert_identical(ours, theirs)


def test_a_block_beyond_the_first_is_left_to_thrml(block, lateral):
    spec = BlockGibbsSpec([block], [Block([SphereNode()])], node_template())
    ours = program_of_groups(spec, SAMPLER, [own_state_group(block)])
    assert_identical(ours, FactorSamplingProgram(spec, [SAMPLER], [], [own_state_group(block)]))


def test_a_block_of_given_nodes_has_thrmls_specification(lateral):
    block = Block([SphereNode() for _ in range(N)])
    factors = [lateral_factor(block, "a star")]
    ours = build_program(block, factors, SAMPLER)
    assert type(ours.gibbs_spec) is BlockGibbsSpec
    assert_identical(ours, by_thrml(block, factors, ours.samplers[0]))


def test_thrmls_errors_about_nodes_remain():
    node = SphereNode()
    with pytest.raises(RuntimeError, match="should not show up twice"):
        build_program(Block([node, node]), [], SAMPLER)
    with pytest.raises(ValueError, match="empty block"):
        build_program(SphereBlock(0), [], SAMPLER)


class OneMoreField(FactorSamplingProgram):
    novelty: int = eqx.field(static=True, default=0)


class Backwards(FactorSamplingProgram):
    """Fills the slots of a node from the last entry to the first."""

    def __init__(self, spec: Any, samplers: Any, factors: Any, groups: Any):
        turned = [
            InteractionGroup(
                jax.tree.map(lambda x: x[::-1] if eqx.is_array(x) else x, group.interaction),
                Block(list(group.head_nodes)[::-1]),
                [Block(list(tail)[::-1]) for tail in group.tail_nodes],
            )
            for group in groups
        ]
        super().__init__(spec, samplers, factors, turned)


class Renumbered(FactorSamplingProgram):
    """Looks for tails in another array of the global state."""

    def __init__(self, spec: Any, samplers: Any, factors: Any, groups: Any):
        super().__init__(spec, samplers, factors, groups)
        inds = jax.tree.map(lambda i: i + 1, self.per_block_interaction_global_inds)
        object.__setattr__(self, "per_block_interaction_global_inds", inds)


class OtherArguments(FactorSamplingProgram):
    def __init__(self, spec: Any, samplers: Any, factors: Any, groups: Any):
        if len(groups) > 1:
            raise TypeError("groups must come as a mapping")
        super().__init__(spec, samplers, factors, groups)


class OtherSpecification(BlockGibbsSpec):
    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.novelty = 0


@pytest.mark.parametrize("program_class", [OneMoreField, Backwards, Renumbered])
def test_a_thrml_of_another_layout_builds_its_own_programs(
    monkeypatch, block, lateral, program_class
):
    monkeypatch.setattr(assembly, "FactorSamplingProgram", program_class)
    assert not layout_is_known()
    ours = build_program(block, [lateral], SAMPLER)
    assert type(ours) is program_class
    assert type(ours.gibbs_spec) is BlockGibbsSpec
    groups = [own_state_group(block), *lateral.to_interaction_groups()]
    assert_identical(ours, unwrap_shared(program_class(ours.gibbs_spec, ours.samplers, [], groups)))


def test_a_thrml_that_cannot_be_asked_is_unknown(monkeypatch, block):
    monkeypatch.setattr(assembly, "FactorSamplingProgram", OtherArguments)
    assert not layout_is_known()
    assert type(one_block_spec(block, node_template(), distinct=True)) is BlockGibbsSpec


def test_a_specification_with_other_fields_is_unknown(monkeypatch, block):
    monkeypatch.setattr(assembly, "BlockGibbsSpec", OtherSpecification)
    assert not layout_is_known()
    assert type(one_block_spec(block, node_template(), distinct=True)) is OtherSpecification


def test_this_thrml_is_known():
    assert layout_is_known()


def test_selected_nodes_are_those_at_the_positions(block):
    some = SelectedBlock(block, np.asarray([3, 0, 3]))
    more = SelectedBlock(block, np.asarray([1]))
    both = some + more
    assert (len(some), len(both), some.node_type) == (3, 4, SphereNode)
    assert not nodes_are_made(block)
    assert isinstance(both, SelectedBlock)
    assert list(both) == [block[i] for i in (3, 0, 3, 1)]
    assert block[0] in some
    assert block[1] not in some


def test_selected_nodes_join_a_block_of_any_kind(block):
    some = SelectedBlock(block, np.asarray([3, 0]))
    plain = Block([SphereNode()])
    assert list(some + plain) == [block[3], block[0], plain[0]]
    assert list(plain + some) == [plain[0], block[3], block[0]]
    assert list(some + SelectedBlock(plain, np.asarray([0]))) == [block[3], block[0], plain[0]]


def test_lazy_nodes_are_made_once():
    made = []
    nodes = LazyNodes(2, lambda: made.append(0) or (SphereNode(), SphereNode()))
    assert len(nodes) == 2
    assert made == []
    assert nodes[0] is next(iter(nodes))
    assert repr(nodes) == repr(tuple(nodes))
    assert made == [0]
