"""The terms of a block of points that moves while all other points of the map stay.

A sweep takes the points of a map block by block. The points of a block are free; what they feel is
clamped where the sweep has found it: their neighbours, in this block or in any other, and the
osmotic field of all points, their own former places taken out. One step of every block from the
same places is one step of the whole map, since a step needs forces at its beginning only.
"""

from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from thrml import Block
from typing_extensions import override

from sphere_ebm.geometry.sphere import squared_chord
from sphere_ebm.hamiltonian.base import (
    AbstractFieldFactor,
    AbstractLocalInteraction,
    LocalTerms,
    Shared,
    Slots,
    SphereState,
    Tails,
    opened,
)
from sphere_ebm.hamiltonian.lateral import DegreeClasses, attract


@final
class AttractionBeside(AbstractLocalInteraction):
    """Attraction of the points of a block by points that stay, each pair under its free end alone.

    `classes` are positions of heads in the block, and of tails among the `others`, which are all
    points of the map. `strength` is α, `sharpness` s.
    """

    classes: DegreeClasses | Shared[DegreeClasses]
    others: Float[Array, "points 3"] | Shared[Array]
    strength: Float[Array, ""] | Shared[Array]
    sharpness: Float[Array, ""] | Shared[Array]
    kernel: str = eqx.field(static=True)
    name: ClassVar[str] = "lateral"
    annealed: ClassVar[bool] = True
    share: ClassVar[float] = 1.0

    @override
    def local_energy_and_force(self, here: SphereState, there: Tails, active: Slots) -> LocalTerms:
        dtype = here.direction.dtype
        stretch = opened(self.sharpness).astype(dtype) ** 2
        strength = opened(self.strength).astype(dtype)
        classes = opened(self.classes)
        others = opened(self.others)
        # apart and contiguous, or XLA picks each coordinate out of the rows anew for every slot
        own = jax.lax.optimization_barrier(tuple(here.direction[:, c] for c in range(3)))
        far = jax.lax.optimization_barrier(tuple(others[:, c] for c in range(3)))
        rows = [attract(part, own, stretch, self.kernel, far) for part in classes.parts]
        energy, *pull = (jnp.concatenate(parts)[classes.place] for parts in zip(*rows, strict=True))
        direction = 2 * stretch * strength * jnp.stack(pull, axis=1)
        return strength * energy, SphereState(direction, jnp.zeros_like(here.radius))

    @override
    def gather(self, whole: SphereState) -> list[SphereState]:
        return []


@final
class OwnImage(AbstractLocalInteraction):
    """What a tabulated pressure must not hold: a point's repulsion by its own former place.

    The energy is -g q(u, u') with q = 1 / (1 + s² chord²), u' the `places` that the field was
    tabulated at, and g the `strength` 2 Π N / S of the pressure.
    """

    places: Float[Array, "nodes 3"] | Shared[Array]
    strength: Float[Array, ""] | Shared[Array]
    sharpness: Float[Array, ""] | Shared[Array]
    name: ClassVar[str] = "osmotic"
    annealed: ClassVar[bool] = False
    share: ClassVar[float] = 1.0

    @override
    def local_energy_and_force(self, here: SphereState, there: Tails, active: Slots) -> LocalTerms:
        places = opened(self.places)
        stretch = opened(self.sharpness).astype(places.dtype) ** 2
        strength = opened(self.strength).astype(places.dtype)
        q = 1 / (1 + stretch * squared_chord(here.direction, places))
        # -dE/du of -g q, with chord² = 2 (1 - u·u')
        force = (2 * stretch * strength * q**2)[:, None] * places
        return -strength * q, SphereState(force, jnp.zeros_like(here.radius))

    @override
    def gather(self, whole: SphereState) -> list[SphereState]:
        return []


@final
class BesideFactor(AbstractFieldFactor):
    """A term of one of the kinds above, on the nodes of one block."""

    node_groups: list[Block]
    term: AbstractLocalInteraction

    def __init__(self, block: Block, term: AbstractLocalInteraction):
        super().__init__([block])
        self.term = term

    @override
    def interaction(self) -> AbstractLocalInteraction:
        return self.term
