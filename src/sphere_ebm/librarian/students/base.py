"""What every student of the labels is: one contract for training, prediction and files.

A student is two classes, each in the file of its name in this room.

- An `AbstractStudent` predicts. It needs NumPy (and Numba) only, is made of named arrays and gives
  them back, and knows nothing of training.
- An `AbstractTrainer` learns. It may import JAX and optax, takes batches in the order that it is
  given, and must be a function of its state and the batch, so that a run that was killed goes on to
  the same bytes.

To add one: write a module with the class that predicts and another one, since that imports JAX,
with the class that learns; name the student in `StudentName` of `config`, and add a line to
`STUDENTS_BY_NAME` and one to `TRAINERS_BY_NAME` here. Everything else goes by this contract: the
loop, checkpoints, calibration, `Librarian`, the command, and the tests of conformance, which take
every name from here.
"""

import abc
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int32

from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.windows import Passages

Arrays = dict[str, np.ndarray]
"""Float32, float16, int32, uint32, int64 or uint8 arrays by name: what files hold of a student."""

STUDENTS_BY_NAME = {
    "static": ("sphere_ebm.librarian.students.bagged", "BagStudent"),
    "direct": ("sphere_ebm.librarian.students.bagged", "BagStudent"),
    "cone": ("sphere_ebm.librarian.students.cone", "Cone"),
    "conv": ("sphere_ebm.librarian.students.conv", "Conv"),
}
"""Module and class that predict, by the name of the student."""

TRAINERS_BY_NAME = {
    "static": ("sphere_ebm.librarian.students.bag_trainer", "StaticTrainer"),
    "direct": ("sphere_ebm.librarian.students.bag_trainer", "DirectTrainer"),
    "cone": ("sphere_ebm.librarian.students.net_trainer", "ConeTrainer"),
    "conv": ("sphere_ebm.librarian.students.net_trainer", "ConvTrainer"),
}
"""Module and class that learn, by the name of the student."""


@final
@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a student knows of the map before it has read a word.

    Attributes:
        width: D, of the embeddings.
        radii: of the S shells, innermost first.
    """

    width: int
    radii: tuple[float, ...]

    @property
    def shells(self) -> int:
        """How many shells the map has."""
        return len(self.radii)


class Outputs(NamedTuple):
    """What a student says of N patches, before calibration.

    - `cells` (N, C): log-probabilities of the equal-area cells of the configured level, in the
      order of their keys.
    - `shells` (N, S): log-probabilities of the shells, innermost first.
    - `embedding` (N, D): unit vectors; zero where the student knows nothing of the bytes.
    - `rank` (N,): rank of the prominence among the training patches, in [0, 1].
    - `strength` (N,): how much the student recognised, >= 0, in units of its own; grows with
      certainty. None where there is no such number.
    """

    cells: Float32[np.ndarray, "patches cells"]
    shells: Float32[np.ndarray, "patches shells"]
    embedding: Float32[np.ndarray, "patches width"]
    rank: Float32[np.ndarray, " patches"]
    strength: Float32[np.ndarray, " patches"] | None = None


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Batch:
    """N labelled patches: what a trainer learns from in one step.

    - `passages`: their bytes.
    - `embedding` (N, D): unit rows; zero rows carry no direction.
    - `modes` (N, 2, 3), `mode_weight` (N, 2): the places of the label and how likely each is, the
      weights of a patch sum to 1; the same place twice where there is one.
    - `angle_std` (N,): the label's own error, in radians.
    - `radius` (N,), `radius_std` (N,), `shell` (N,): in shell units.
    - `rank` (N,): rank of the prominence among the training patches, in [0, 1].
    - `weight` (N,): how much the directions count; their mean is about 1.
    """

    passages: Passages
    embedding: Float32[np.ndarray, "patches width"]
    direction: Float32[np.ndarray, "patches 3"]
    modes: Float32[np.ndarray, "patches 2 3"]
    mode_weight: Float32[np.ndarray, "patches 2"]
    angle_std: Float32[np.ndarray, " patches"]
    radius: Float32[np.ndarray, " patches"]
    radius_std: Float32[np.ndarray, " patches"]
    shell: Int32[np.ndarray, " patches"]
    rank: Float32[np.ndarray, " patches"]
    weight: Float32[np.ndarray, " patches"]

    def __len__(self) -> int:
        return len(self.rank)


class AbstractStudent(abc.ABC):
    """Predicts from bytes, by NumPy and Numba.

    Patches are predicted by themselves: neither their order nor their number changes more than
    rounding. `config` and `facts` are those that it was trained with.
    """

    config: LibrarianConfig
    facts: Facts

    @classmethod
    @abc.abstractmethod
    def from_arrays(
        cls, config: LibrarianConfig, facts: Facts, arrays: Mapping[str, np.ndarray]
    ) -> "AbstractStudent":
        """The student that `arrays` gave.

        Raises:
            ValueError: arrays are missing, or of other shapes or types than the configuration
                wants; the message names the array.
        """

    @abc.abstractmethod
    def arrays(self) -> Arrays:
        """All that it predicts with, in the types that files hold."""

    @abc.abstractmethod
    def predict(self, passages: Passages) -> Outputs:
        """What it says of patches, of which it sees `config.reach` bytes on either side."""


class AbstractTrainer(abc.ABC):
    """Learns by steps, and is a function of its state and of what it is given.

    Attributes:
        step: batches that were learned from.
        judged_by: what tells the best student: the mean `"cosine"` of its embeddings, or the
            `"bits"` by which it knows the cell.
        alike: two students that differ by less of it are taken for equally good. Bits on some ten
            documents scatter by more between the last epochs, in which all else still gets better.
        together: neighbouring patches that are drawn together. A bag of n-grams reads the windows
            of one text at once.
    """

    judged_by: ClassVar[Literal["cosine", "bits"]] = "bits"
    alike: ClassVar[float] = 0.04
    together: ClassVar[int] = 64
    step: int

    @classmethod
    @abc.abstractmethod
    def create(
        cls, config: LibrarianConfig, facts: Facts, corpus: Sequence[Passages], steps: int
    ) -> "AbstractTrainer":
        """A student that has not learned anything.

        Args:
            config: its random numbers come from `config.seed`.
            facts: about the map.
            corpus: all training documents, to count n-grams for example; it is read in order, as
                often as is needed, one document at a time.
            steps: how many batches there will be, for schedules.
        """

    @abc.abstractmethod
    def fit_step(self, batch: Batch) -> dict[str, float]:
        """Learn from one batch; returns the losses by name, `"loss"` the weighted sum.

        Gradients of `config.accumulate` batches make one step.
        """

    @abc.abstractmethod
    def student(self) -> AbstractStudent:
        """What predicts as the trainer would now, as it will be written into a file."""

    @abc.abstractmethod
    def state(self) -> Arrays:
        """All that the next step depends on: weights, moments, counters, keys."""

    @abc.abstractmethod
    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on where `state` was taken, to the same bits."""


def student_class(name: str) -> type[AbstractStudent]:
    """The class that predicts. Raises ValueError for a student that there is none of."""
    return _imported(STUDENTS_BY_NAME, name)


def trainer_class(name: str) -> type[AbstractTrainer]:
    """The class that learns; imports JAX. Raises ValueError for a student that there is none of."""
    return _imported(TRAINERS_BY_NAME, name)


def _imported(homes: Mapping[str, tuple[str, str]], name: str) -> Any:
    if name not in homes:
        raise ValueError(f"`student` must be one of {', '.join(homes)}; got {name!r}.")
    module, kind = homes[name]
    return vars(importlib.import_module(module))[kind]


def checked_array(
    arrays: Mapping[str, np.ndarray], name: str, shape: Sequence[int | None], dtype: Any
) -> np.ndarray:
    """The array of that name, where it has the type and the shape (None: any number).

    Raises:
        ValueError: it is missing or another one.
    """
    found = arrays.get(name)
    if found is None:
        raise ValueError(f"`{name}` is missing")
    fits = found.ndim == len(shape) and all(
        want is None or have == want for have, want in zip(found.shape, shape, strict=True)
    )
    if not fits or found.dtype != np.dtype(dtype):
        wanted = ", ".join("any" if one is None else str(one) for one in shape)
        raise ValueError(
            f"`{name}` is {found.dtype} {list(found.shape)}, not {np.dtype(dtype)} [{wanted}]"
        )
    return found
