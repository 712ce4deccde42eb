"""How the students that read bytes learn: all losses together, by optax."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import override

from sphere_ebm.geometry.cells import cell_centres
from sphere_ebm.librarian import losses
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.optimiser import make_optimiser
from sphere_ebm.librarian.students.base import AbstractTrainer, Arrays, Batch, Facts
from sphere_ebm.librarian.students.cone import Cone
from sphere_ebm.librarian.students.conv import Conv
from sphere_ebm.librarian.students.nets import AbstractNetStudent, Params
from sphere_ebm.librarian.windows import Passages

DROPOUT = 0.1
"""Share of what each layer adds that is left out while a net learns."""


class AbstractNetTrainer(AbstractTrainer):
    """A trainer of the student that `taught` names."""

    taught: ClassVar[type[AbstractNetStudent]]

    def __init__(self, config: LibrarianConfig, facts: Facts, steps: int) -> None:
        self.config = config
        self.facts = facts
        self.step = 0
        self._net = self.taught.net
        self._params = jax.tree.map(jnp.asarray, self._net.first(config, facts))
        self._optimiser = make_optimiser(config, steps)
        self._moments = self._optimiser.init(self._params)
        self._centres = jnp.asarray(cell_centres(np.arange(4**config.level), config.level), "f4")
        self._radii = jnp.asarray(facts.radii, "f4")

    @classmethod
    @override
    def create(
        cls, config: LibrarianConfig, facts: Facts, corpus: Sequence[Passages], steps: int
    ) -> "AbstractNetTrainer":
        """Begin; the corpus is not looked at, since bytes need no vocabulary."""
        return cls(config, facts, steps)

    @override
    def fit_step(self, batch: Batch) -> dict[str, float]:
        """Learn from one batch; returns the losses by name."""
        data = self._padded(batch)
        key = jax.random.fold_in(jax.random.key(self.config.seed), self.step)
        self._params, self._moments, told = self._learn(self._params, self._moments, data, key)
        self.step += 1
        return {name: float(value) for name, value in told.items()}

    @override
    def student(self) -> AbstractNetStudent:
        held = {name: np.asarray(value) for name, value in self._params.items()}
        return self.taught(self.config, self.facts, held)

    @override
    def state(self) -> Arrays:
        """The net, moments and the number of steps."""
        leaves = jax.tree.leaves((self._params, self._moments))
        held = {f"leaf.{i}": np.atleast_1d(np.asarray(leaf)) for i, leaf in enumerate(leaves)}
        return held | {"step": np.array([self.step], np.int64)}

    @override
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where `state` was taken."""
        leaves, structure = jax.tree.flatten((self._params, self._moments))
        restored = [
            jnp.asarray(state[f"leaf.{i}"].reshape(leaf.shape), leaf.dtype)
            for i, leaf in enumerate(leaves)
        ]
        self._params, self._moments = jax.tree.unflatten(structure, restored)
        self.step = int(state["step"][0])

    def _padded(self, batch: Batch) -> dict[str, Any]:
        """The arrays of a batch, filled up with patches that count nothing: one shape for all."""
        count = len(batch)
        usual = np.float32(self.config.batch / max(count, 1))
        windows = self._net.windows(self.config, batch.passages)
        arrays: dict[str, np.ndarray] = {
            "modes": batch.modes,
            "mode_weight": batch.mode_weight,
            "angle_std": batch.angle_std,
            "radius": batch.radius,
            "radius_std": batch.radius_std,
            "embedding": batch.embedding,
            "rank": batch.rank,
            "weight": batch.weight * usual,
            "real": np.full(count, usual, np.float32),
        }
        spare = self.config.batch - count
        data: dict[str, Any] = {
            name: np.pad(array, [(0, spare), *[(0, 0)] * (array.ndim - 1)])
            for name, array in arrays.items()
        }
        rows = np.resize(np.arange(count), self.config.batch)
        return data | {"windows": jax.tree.map(lambda part: part[rows], windows)}

    @functools.cached_property
    def _learn(self) -> Any:
        def learn(params: Params, moments: Any, data: dict[str, Any], key: Array) -> Any:
            both = jax.value_and_grad(self._loss, has_aux=True)
            (_, told), gradient = both(params, data, key)
            # optax multiplies its count of steps, an integer, with real numbers
            with jax.numpy_dtype_promotion("standard"):
                changes, moments = self._optimiser.update(gradient, moments, params)
            return jax.tree.map(jnp.add, params, changes), moments, told

        return jax.jit(learn)

    def _loss(
        self, params: Params, data: dict[str, Any], key: Array
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        size = self._net.size(self.config)
        said = self._net.forward(jnp, size, params, data["windows"], _dropping(key))
        target = losses.cell_targets(
            data["modes"], data["mode_weight"], data["angle_std"], self._centres
        )
        wanted = losses.shell_targets(data["radius"], data["radius_std"], self._radii)
        real = data["real"]
        of_vector = losses.embedding_loss(said.vector, data["embedding"])
        parts = {
            "cells": losses.weighted_mean(losses.cells_loss(said.cells, target), data["weight"]),
            "shell": losses.weighted_mean(losses.shell_loss(said.shells, wanted), real),
            "embedding": losses.weighted_mean(of_vector, real),
            "prominence": losses.weighted_mean(
                losses.prominence_loss(said.rank, data["rank"]), real
            ),
            # what is to be large is taken away
            "cone": -losses.cone_diversity(said.affinity),
        }
        weights = {name: vars(self.config)[f"{name}_weight"] for name in parts}
        total = sum((weights[name] * part for name, part in parts.items()), jnp.zeros(()))
        return total, {"loss": total, **parts}


def _dropping(key: Array) -> Any:
    """Leave a share of numbers out, other ones at each call, and make up for it."""
    calls = iter(range(10**6))

    def drop(value: Array) -> Array:
        left = jax.random.bernoulli(jax.random.fold_in(key, next(calls)), 1 - DROPOUT, value.shape)
        return jnp.where(left, value / (1 - DROPOUT), 0)

    return drop


@final
class ConeTrainer(AbstractNetTrainer):
    """Teaches grouped cone attention."""

    taught = Cone


@final
class ConvTrainer(AbstractNetTrainer):
    """Teaches convolutions."""

    taught = Conv
