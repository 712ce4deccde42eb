"""`check_factor`: whether a term of one's own keeps the contract that samplers rely on."""

from typing import NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from thrml import Block, FactorSamplingProgram

from sphere_ebm.geometry.sphere import project_tangent, unit_rows
from sphere_ebm.hamiltonian.base import AbstractPlacedFactor, AbstractSphereFactor, SphereState
from sphere_ebm.hamiltonian.own import AbstractEnergyTerm, EnergyFactor
from sphere_ebm.sampling.coefficients import Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama
from sphere_ebm.sampling.programs import (
    build_program,
    energies,
    forces,
    point_energies,
    sphere_block,
    tails_differ,
)

_ROUNDING = {4: 2e-3, 8: 1e-6}
"""How far forces may be off, by bytes of their numbers, as a share of the greatest."""
_SEED = 7


@final
class FactorReport(NamedTuple):
    """What `check_factor` found of a term that keeps the contract.

    `energy` at the given configuration; the greatest difference of a force from minus the gradient,
    as a share of the greatest force; by how much a rotation of all points changes the energy, as a
    share of the energy that the points own; and whether that is rounding only.
    """

    energy: float
    force_error: float
    rotation_change: float
    rotation_invariant: bool


def check_factor(
    factor: AbstractSphereFactor | AbstractEnergyTerm, state: SphereState
) -> FactorReport:
    """Compare what a term says of one configuration: energy, force, shares of points, tails.

    The force is compared with automatic differentiation of the factor's own `energy`, the energy of
    the interactions that samplers see with that of the factor. A force that is not minus the
    gradient would be sampled from another law without a word.

    Args:
        factor: a factor on a block of as many nodes as `state` has points, or a term.
        state: directions (nodes, 3) and radii (nodes,), at random and away from places where the
            energy has kinks. In double precision (`jax.enable_x64`) more is seen.

    Raises:
        ValueError: what does not agree, with the first node where that can be said. A term that is
            not invariant under rotations is not refused: the report tells so.
    """
    if isinstance(factor, AbstractEnergyTerm):
        factor = EnergyFactor(sphere_block(len(state.radius)), factor)
    _check_shapes(factor, state)
    name = type(factor).__name__
    dtype = state.radius.dtype
    sampler = EulerMaruyama(Coefficients(1.0, 0.1))
    program = build_program(_block_of(factor), [factor], sampler, dtype)
    energy = factor.energy(state)
    if energy.shape != () or not np.isfinite(energy):
        raise ValueError(f"{name}.energy must be one finite number; got {energy}.")
    _check_energies(name, program, state, energy)
    error = _check_forces(name, factor, program, state)
    if (term := tails_differ(program, state)) is not None:
        raise ValueError(
            f"`gather` of the term {term!r} must give the tails that THRML gathers for the same"
            " configuration: proposals of MALA would see other neighbours."
        )
    change = abs(float(factor.energy(_turned(state)) - energy))
    scale = float(jnp.sum(jnp.abs(point_energies(program, state)))) or 1.0
    invariant = change <= _ROUNDING[dtype.itemsize] * scale
    return FactorReport(float(energy), error, change / scale, invariant)


def _block_of(factor: AbstractSphereFactor) -> Block:
    return factor.block if isinstance(factor, AbstractPlacedFactor) else factor.node_groups[0]


def _check_shapes(factor: AbstractSphereFactor, state: SphereState) -> None:
    nodes = len(_block_of(factor))
    if state.direction.shape != (nodes, 3) or state.radius.shape != (nodes,):
        raise ValueError(
            f"`state` must have shapes ({nodes}, 3) and ({nodes},), those of the factor's block;"
            f" got {state.direction.shape} and {state.radius.shape}."
        )
    try:
        factor.to_interaction_groups()
    except RuntimeError as error:
        raise ValueError(
            f"THRML refuses the interactions of {type(factor).__name__} ({error}): every array must"
            " have one row for each head node. Wrap what belongs to the whole term in `Shared`."
        ) from error


def _check_energies(
    name: str, program: FactorSamplingProgram, state: SphereState, energy: Float[Array, ""]
) -> None:
    owned = point_energies(program, state)
    if owned.shape != state.radius.shape:
        raise ValueError(
            f"`point_energy` must have shape {state.radius.shape}, a number for each node; got"
            f" {owned.shape}."
        )
    near = _ROUNDING[state.radius.dtype.itemsize] * (float(jnp.sum(jnp.abs(owned))) + 1e-30)
    seen = sum(map(float, energies(program, state).values()))
    if abs(seen - float(energy)) > near:
        raise ValueError(
            f"the interactions of {name} have the energy {seen:.6g}, and its `energy` is"
            f" {float(energy):.6g}. A pair that is listed under both ends must have `share` 1/2."
        )
    if abs(float(jnp.sum(owned)) - seen) > near:
        raise ValueError(
            f"the points own {float(jnp.sum(owned)):.6g} in all (`point_energy`), and the"
            f" interactions have {seen:.6g}."
        )


def _check_forces(
    name: str, factor: AbstractSphereFactor, program: FactorSamplingProgram, state: SphereState
) -> float:
    """The greatest error of a force; raises ValueError where it is more than rounding."""
    found = forces(program, state)
    if found.direction.shape != state.direction.shape or found.radius.shape != state.radius.shape:
        raise ValueError(
            f"the force of {name} must have shapes {state.direction.shape} and"
            f" {state.radius.shape}; got {found.direction.shape} and {found.radius.shape}."
        )
    slope = jax.grad(factor.energy)(state)
    wanted = SphereState(-project_tangent(state.direction, slope.direction), -slope.radius)
    worst = 0.0
    for part in ("direction", "radius"):
        force, minus = (np.asarray(getattr(one, part), np.float64) for one in (found, wanted))
        off = np.abs(force - minus).reshape(len(force), -1).max(axis=1)
        scale = max(float(np.abs(minus).max()), float(np.abs(force).max()), 1e-30)
        node = int(off.argmax())
        share = float(off[node]) / scale
        if not share <= _ROUNDING[state.radius.dtype.itemsize]:
            raise ValueError(
                f"the force of {name} is not minus the gradient of its energy: on the {part} of"
                f" node {node} it is {force[node]}, and the gradient says {minus[node]}."
            )
        worst = max(worst, share)
    return worst


def _turned(state: SphereState) -> SphereState:
    """All directions in another frame, by a rotation at random."""
    frame, _ = np.linalg.qr(np.random.default_rng(_SEED).standard_normal((3, 3)))
    turned = np.asarray(state.direction, np.float64) @ (frame * np.linalg.det(frame))
    return SphereState(jnp.asarray(unit_rows(turned), state.direction.dtype), state.radius)
