"""Terms of one's own: an energy is enough, its force is found by automatic differentiation."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from thrml import Block
from typing_extensions import override

from sphere_ebm.hamiltonian.base import (
    AbstractFieldFactor,
    AbstractSphereFactor,
    AbstractSphereInteraction,
    Shared,
    Slots,
    SphereState,
    Tails,
    unwrap_shared,
)


class AbstractEnergyTerm(AbstractSphereInteraction):
    """A term of which only the energy is written down.

    A subclass has a `name` (a class variable), its parameters as fields, and `energy_of`. The
    fields belong to the whole term and may have any shape: a number, a vector, a row for each
    point. The force is the gradient of the energy by reverse-mode differentiation, at about three
    times the cost of the energy.

    It is handed to `place`, `sample` and `sample_ladder` as one of their `extra_factors`, or to
    `build_program` as an `EnergyFactor`. A term of all points at once, it is refused by
    Metropolis-within-Gibbs, which needs terms of single points (`AbstractLocalInteraction`).
    """

    annealed: ClassVar[bool] = False

    @abc.abstractmethod
    def energy_of(self, state: SphereState) -> Float[Array, " nodes"]:
        """The energy that each point owns; their sum is the term's H.

        `state.direction` has shape (nodes, 3), `state.radius` (nodes,). Of a pair each end owns
        half. It must be written with `jax.numpy`, and be differentiable where points may be.
        """

    @override
    def energy_and_force(
        self, here: SphereState, there: Tails, active: Slots
    ) -> tuple[Float[Array, ""], SphereState]:
        term = unwrap_shared(self)
        energy, slope = jax.value_and_grad(lambda at: jnp.sum(term.energy_of(at)))(here)
        return energy, jax.tree.map(jnp.negative, slope)

    @override
    def point_energy(
        self, here: SphereState, there: Tails, active: Slots
    ) -> Float[Array, " nodes"]:
        own: Float[Array, " nodes"] = unwrap_shared(self).energy_of(here)
        return own

    @override
    def gather(self, whole: SphereState) -> list[SphereState]:
        return []


@final
class EnergyFactor(AbstractFieldFactor):
    """An `AbstractEnergyTerm` on the nodes of a block, as THRML wants it.

    Its numbers are in JAX's default precision.
    """

    node_groups: list[Block]
    term: AbstractEnergyTerm

    def __init__(self, block: Block, term: AbstractEnergyTerm):
        super().__init__([block])
        self.term = jax.tree.map(_in_precision, term)

    @override
    def interaction(self) -> AbstractSphereInteraction:
        shared: AbstractSphereInteraction = jax.tree.map(Shared, self.term)
        return shared


ExtraFactor = AbstractEnergyTerm | Callable[[Block], AbstractSphereFactor]
"""A term of one's own, or what makes a factor on a block of all points, in their order."""


def made_factors(extra: Sequence[ExtraFactor], block: Block) -> list[AbstractSphereFactor]:
    """The factors of these terms on `block`.

    Raises:
        ValueError: something that is no term and makes no factor.
    """
    made = [
        EnergyFactor(block, one) if isinstance(one, AbstractEnergyTerm) else _called(one, block)
        for one in extra
    ]
    for one, factor in zip(extra, made, strict=True):
        if not isinstance(factor, AbstractSphereFactor):
            raise ValueError(
                "`extra_factors` must hold terms (AbstractEnergyTerm), or functions from a block to"
                f" a factor (AbstractSphereFactor); got {one!r}."
            )
    return made


def _called(one: Any, block: Block) -> Any:
    # a factor of its own block would be on other nodes than those of the map
    return one(block) if callable(one) and not isinstance(one, AbstractSphereFactor) else None


def _in_precision(leaf: Any) -> Any:
    """Numbers in JAX's default precision, integers and everything else as they are."""
    if eqx.is_inexact_array_like(leaf) and not jnp.iscomplexobj(leaf):
        return jnp.asarray(leaf, jnp.result_type(float))
    return jnp.asarray(leaf) if eqx.is_array_like(leaf) else leaf
