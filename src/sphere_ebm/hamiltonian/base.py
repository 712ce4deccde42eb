"""The contract between energy terms and samplers.

A **factor** (THRML) is one term of the Hamiltonian over the nodes of a block. It yields interaction
groups; what a sampler receives of them, sliced per head node, is an **interaction**, which knows
its energy and its force. A sampler sums over interactions without knowing which ones there are.
"""

import abc
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from thrml import AbstractFactor, Block, InteractionGroup
from typing_extensions import override

T_co = TypeVar("T_co", covariant=True)


class SphereState(NamedTuple):
    """Configuration of n points, or a vector field on it (a force, a velocity, a noise).

    `direction` has shape (..., 3): unit vectors for a configuration, tangent vectors for a field.
    `radius` has shape (...). A NamedTuple is a pytree, so THRML gathers it leaf by leaf.
    """

    direction: Array
    radius: Array


Tails = list[SphereState]
"""The other ends of each head node's slots, shapes (nodes, k, 3) and (nodes, k)."""

Slots = Bool[Array, "nodes k"]
"""Which slots are real; the others are padding."""

LocalTerms = tuple[Float[Array, " nodes"], SphereState]
"""The energy of each node, and the force on it."""


@final
@dataclass(frozen=True, eq=False)
class Shared(Generic[T_co]):
    """A value of a whole term, kept from THRML's slicing along the nodes.

    THRML slices every bare array; this is a leaf without structure, which it hands on as it is.
    `unwrap_shared` opens it once the program is built; in a program built by plain THRML it stays,
    and is a constant of the compilation.
    """

    value: T_co


def opened(value: T_co | Shared[T_co]) -> T_co:
    """The value itself, wrapped or not."""
    return value.value if isinstance(value, Shared) else value


def unwrap_shared(tree: Any) -> Any:
    """`tree` with every `Shared` leaf opened, so that its arrays may change without recompiling."""
    return jax.tree.map(opened, tree)


class AbstractSphereInteraction(eqx.Module):
    """What a factor hands to the sampler.

    Every array field has one row per head node, shape (heads, ...).

    THRML slices these rows per node of the block, to shape (nodes, k, ...), which is what a sampler
    sees. Only what is wrapped in `Shared` keeps its own shape.

    `name` is the term's name in energy traces; interactions of one name are added. `annealed` says
    whether the sampler's coupling schedule multiplies the force of this term.

    Everywhere `here` is the configuration of the block, shapes (nodes, 3) and (nodes,); `there` the
    tails of each head node, shapes (nodes, k, 3) and (nodes, k); inactive slots are padding.
    """

    name: eqx.AbstractClassVar[str]
    annealed: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def energy_and_force(
        self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]
    ) -> tuple[Float[Array, ""], SphereState]:
        """This group's share of H, and -∂H/∂(u, r) of the whole term at each head node.

        The share is a scalar, at coupling 1.

        A pair that is listed under both of its ends contributes half its energy at each. The
        direction part of the force is an ambient vector: the sampler projects the sum of all terms
        on the tangent planes once.
        """

    @abc.abstractmethod
    def point_energy(
        self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]
    ) -> Float[Array, " nodes"]:
        """What each head node owns of the term, at coupling 1; the sum over nodes is `energy`.

        Of a pair each end owns half.
        """

    @abc.abstractmethod
    def gather(self, whole: SphereState) -> list[SphereState]:
        """`there` for another configuration `whole` of a block that holds all nodes of the factor.

        THRML gathers tails once, at the configuration before the step; a proposal needs them at the
        one after.
        """

    def energy(
        self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]
    ) -> Float[Array, ""]:
        """The first part of `energy_and_force`; a compiler drops the other."""
        return self.energy_and_force(here, there, active)[0]

    def force(
        self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]
    ) -> SphereState:
        """The second part of `energy_and_force`; a compiler drops the other."""
        return self.energy_and_force(here, there, active)[1]


class AbstractLocalInteraction(AbstractSphereInteraction):
    """A sum over nodes and pairs, so that what one node changes is known from its own slots.

    `share` is what a head node owns of its slots' energy: 1 for a term of single nodes, 1/2 for
    pairs that are listed under both ends.
    """

    share: eqx.AbstractClassVar[float]

    @abc.abstractmethod
    def local_energy_and_force(self, here: SphereState, there: Tails, active: Slots) -> LocalTerms:
        """All of the term's energy that depends on each head node, and minus its gradient.

        Pairs count whole.
        """

    @override
    def energy_and_force(
        self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]
    ) -> tuple[Float[Array, ""], SphereState]:
        energy, force = self.local_energy_and_force(here, there, active)
        return self.share * jnp.sum(energy), force

    @override
    def point_energy(
        self, here: SphereState, there: list[SphereState], active: Bool[Array, "nodes k"]
    ) -> Float[Array, " nodes"]:
        return self.share * self.local_energy_and_force(here, there, active)[0]


class AbstractPairInteraction(AbstractLocalInteraction):
    """A sum over pairs of `n_nodes` nodes.

    A block that holds all of them holds neighbours: they cannot be moved one by one at once.
    """

    n_nodes: eqx.AbstractVar[int]


class AbstractSphereFactor(AbstractFactor):
    """A term of the Hamiltonian.

    `energy` evaluates it on a configuration of its nodes, without a program.
    """

    @abc.abstractmethod
    def energy(self, state: SphereState) -> Float[Array, ""]:
        """The term's energy for the configuration `state` of the factor's nodes, in their order."""


class AbstractFieldFactor(AbstractSphereFactor):
    """A term that every node of one block feels, as one interaction without tails.

    Everything that the interaction holds belongs to the whole term.
    """

    @abc.abstractmethod
    def interaction(self) -> AbstractSphereInteraction:
        """What samplers are handed."""

    @override
    def to_interaction_groups(self) -> list[InteractionGroup]:
        return [InteractionGroup(self.interaction(), self.node_groups[0], [])]

    @override
    def energy(self, state: SphereState) -> Float[Array, ""]:
        active = jnp.ones((len(self.node_groups[0]), 1), bool)
        return self.interaction().energy(state, [], active)


class AbstractPlacedFactor(AbstractSphereFactor):
    """A term that knows its nodes by their positions in `block`.

    A program of one block must hold the same nodes in the same order.
    """

    block: eqx.AbstractVar[Block]

    @abc.abstractmethod
    def to_whole_groups(self) -> list[InteractionGroup]:
        """The term for a program whose only block is `block`.

        A sampler sees the whole configuration there, which may serve a layout of its own;
        `to_interaction_groups` will do where there is none.
        """
