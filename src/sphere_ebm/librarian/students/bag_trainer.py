"""How the bag and the nets of `bagged` learn: Adagrad for the bag, optax for the nets."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from typing_extensions import override

from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.ngrams import Bag, BagLearner
from sphere_ebm.librarian.optimiser import learning_rates, make_optimiser
from sphere_ebm.librarian.students.bagged import (
    EXTRA,
    BagStudent,
    Params,
    first_params,
    forward,
    lengths_of,
    packed_model,
    reaches_of,
)
from sphere_ebm.librarian.students.base import AbstractTrainer, Arrays, Batch, Facts
from sphere_ebm.librarian.students.learning import label_losses, padded, with_total
from sphere_ebm.librarian.windows import Passages


class AbstractBagTrainer(AbstractTrainer):
    """A trainer of a `BagStudent`; `flows` tells whether the cells teach the bag too."""

    flows: ClassVar[bool]

    def __init__(self, config: LibrarianConfig, facts: Facts, bag: Bag, steps: int) -> None:
        self.config = config
        self.facts = facts
        self.step = 0
        self._learner = BagLearner(bag, config.drop, config.seed)
        self._params = jax.tree.map(jnp.asarray, first_params(config, facts))
        self._optimiser = make_optimiser(config, steps)
        self._moments = self._optimiser.init(self._params)
        self._rates = learning_rates(config, steps, config.bag_rate)

    @classmethod
    @override
    def create(
        cls, config: LibrarianConfig, facts: Facts, corpus: Sequence[Passages], steps: int
    ) -> "AbstractBagTrainer":
        """Count the n-grams of the corpus, and begin."""
        width = facts.width + EXTRA
        bag = Bag.counted(corpus, config.rows, width, config.reach, config.seed)
        return cls(config, facts, bag, steps)

    @override
    def fit_step(self, batch: Batch) -> dict[str, float]:
        """Learn from one batch; returns the losses by name."""
        reaches = reaches_of(self.config)
        # n-grams that are left out are made up for by the others
        scale = np.float32(1 / (1 - self.config.drop))
        with self._learner.dropping(self.step):
            sums = scale * self._learner.bag.sums(batch.passages, reaches)
            told, (nets, gradient) = self._gradients(_padded(batch, sums, self.config.batch))
            back = np.asarray(gradient)[: len(batch)] * scale
            self._learner.add(batch.passages, reaches, np.ascontiguousarray(back))
        self._params, self._moments = self._update(nets, self._moments, self._params)
        self.step += 1
        if self.step % self.config.accumulate == 0:
            with jax.numpy_dtype_promotion("standard"):
                rate = float(self._rates(self.step // self.config.accumulate - 1))
            self._learner.step(rate)
        return {name: float(value) for name, value in told.items()}

    @override
    def state(self) -> Arrays:
        """Bag, nets, moments and the number of steps."""
        leaves = jax.tree.leaves((self._params, self._moments))
        held = {f"leaf.{i}": np.atleast_1d(np.asarray(leaf)) for i, leaf in enumerate(leaves)}
        bag = self._learner.bag
        return held | {
            "bag.keys": bag.keys,
            "bag.vectors": bag.vectors,
            "bag.squares": self._learner.squares,
            "step": np.array([self.step], np.int64),
        }

    @override
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where `state` was taken."""
        leaves, structure = jax.tree.flatten((self._params, self._moments))
        restored = [
            jnp.asarray(state[f"leaf.{i}"].reshape(leaf.shape), leaf.dtype)
            for i, leaf in enumerate(leaves)
        ]
        self._params, self._moments = jax.tree.unflatten(structure, restored)
        bag = Bag(state["bag.keys"], state["bag.vectors"].copy())
        self._learner = BagLearner(bag, self.config.drop, self.config.seed)
        self._learner.squares[:] = state["bag.squares"]
        self.step = int(state["step"][0])

    @override
    def student(self) -> BagStudent:
        """The student as it will be read from a file, its numbers as coarse as they are there."""
        arrays = packed_model(self._learner.bag, self._params)
        return BagStudent(self.config, self.facts, arrays)

    @functools.cached_property
    def _gradients(self) -> Any:
        """The losses, and their gradients by the nets and by the sums."""

        def told(data: dict[str, Array]) -> Any:
            def loss(params: Params, sums: Array) -> tuple[Array, dict[str, Array]]:
                return self._loss(params, sums, data)

            both = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
            (_, parts), gradients = both(self._params_of(data), data["sums"])
            return parts, gradients

        compiled = jax.jit(told)
        return lambda data: compiled(data | {f"net {k}": v for k, v in self._params.items()})

    def _params_of(self, data: dict[str, Array]) -> Params:
        return {name[4:]: value for name, value in data.items() if name.startswith("net ")}

    @functools.cached_property
    def _update(self) -> Any:
        import optax

        def update(gradient: Params, moments: Any, params: Params) -> Any:
            # optax mixes types as JAX lets it by default, whatever its callers have set
            with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
                changes, moments = self._optimiser.update(gradient, moments, params)
                return optax.apply_updates(params, changes), moments

        return jax.jit(update)

    def _loss(
        self, params: Params, sums: Float[Array, "n r d"], data: dict[str, Array]
    ) -> tuple[Float[Array, ""], dict[str, Array]]:
        cells, shells, vector, _ = forward(jnp, params, sums, data["length"], flows=self.flows)
        parts = label_losses(
            self.config,
            self.facts,
            data,
            cells=cells,
            shells=shells[:, :-1],
            rank=shells[:, -1],
            vector=vector,
        )
        return with_total(self.config, parts)


@final
class StaticTrainer(AbstractBagTrainer):
    """Teaches the bag the embeddings alone, and the nets what can be read from them."""

    flows = False
    judged_by: ClassVar[Literal["cosine", "bits"]] = "cosine"
    alike: ClassVar[float] = 0.0


@final
class DirectTrainer(AbstractBagTrainer):
    """Teaches bag and nets together."""

    flows = True


def _padded(batch: Batch, sums: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """The arrays of a batch, filled up with patches that count nothing."""
    spare = size - len(batch)
    # the logarithm of a length is taken
    length = np.pad(lengths_of(batch.passages), (0, spare), constant_values=1)
    filled = np.pad(sums, [(0, spare), *[(0, 0)] * (sums.ndim - 1)])
    return padded(batch, size) | {"sums": filled, "length": length}
