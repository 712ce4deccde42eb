"""How the students that read bytes learn: all losses together, by optax."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import override

from sphere_ebm.librarian import losses
from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.optimiser import make_optimiser
from sphere_ebm.librarian.students.base import AbstractTrainer, Arrays, Batch, Facts
from sphere_ebm.librarian.students.cone import Cone
from sphere_ebm.librarian.students.conv import Conv
from sphere_ebm.librarian.students.learning import label_losses, padded, with_total
from sphere_ebm.librarian.students.nets import AbstractNet, AbstractNetStudent, Params
from sphere_ebm.librarian.windows import Passages

DROPOUT = 0.1
"""Share of what each layer adds that is left out while a net learns."""


class AbstractNetTrainer(AbstractTrainer):
    """A trainer of the student that `taught` names."""

    taught: ClassVar[type[AbstractNetStudent]]
    # patches of one text are alike, and few texts in a batch pull all weights their way
    together: ClassVar[int] = 8

    def __init__(self, config: LibrarianConfig, facts: Facts, steps: int) -> None:
        self.config = config
        self.facts = facts
        self.step = 0
        self._net = self.taught.net
        self._params = jax.tree.map(jnp.asarray, self._net.first(config, facts))
        self._moments = make_optimiser(config, steps).init(self._params)
        self._learn = _learning(self._net, config, facts, steps)

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
        windows = self._net.windows(self.config, batch.passages)
        rows = np.resize(np.arange(len(batch)), self.config.batch)
        data: dict[str, Any] = {**padded(batch, self.config.batch)}
        return data | {"windows": jax.tree.map(lambda part: part[rows], windows)}


@functools.lru_cache(maxsize=4)
def _learning(net: AbstractNet, config: LibrarianConfig, facts: Facts, steps: int) -> Any:
    """The program of one step; trainers of the same net and run share what is compiled."""
    optimiser = make_optimiser(config, steps)

    def learn(params: Params, moments: Any, data: dict[str, Any], key: Array) -> Any:
        def loss(params: Params) -> tuple[Float[Array, ""], dict[str, Array]]:
            return _loss(net, config, facts, params, data, key)

        (_, told), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        # optax multiplies its count of steps, an integer, with real numbers
        with jax.numpy_dtype_promotion("standard"):
            changes, moments = optimiser.update(gradient, moments, params)
        return jax.tree.map(jnp.add, params, changes), moments, told

    return jax.jit(learn)


def _loss(
    net: AbstractNet,
    config: LibrarianConfig,
    facts: Facts,
    params: Params,
    data: dict[str, Any],
    key: Array,
) -> tuple[Float[Array, ""], dict[str, Array]]:
    said = net.forward(jnp, net.size(config), params, data["windows"], _dropping(key))
    parts = label_losses(
        config,
        facts,
        data,
        cells=said.cells,
        shells=said.shells,
        rank=said.rank,
        vector=said.vector,
    )
    # what is to be large is taken away
    return with_total(config, {**parts, "cone": -losses.cone_diversity(said.affinity)})


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
