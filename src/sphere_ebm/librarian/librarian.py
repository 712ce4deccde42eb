"""`Librarian`: a student that has learned the labels of a map.

It needs NumPy and Numba only: neither the map nor JAX has to be at hand where it predicts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float32

from sphere_ebm.librarian.config import LibrarianConfig
from sphere_ebm.librarian.heads import Predicted
from sphere_ebm.librarian.students.base import AbstractStudent, Facts
from sphere_ebm.librarian.windows import Passages, passages_of

Texts = Sequence[bytes | str]

MODEL = "model.safetensors"
"""The student as it was after the last step."""
BEST = "best.safetensors"
"""The student as it was when it did best on the validation documents: the one that predicts."""
CONFIG = "config.json"
METRICS = "metrics.jsonl"
FORMAT = "sphere_librarian_v1"


class Found(NamedTuple):
    """A patch of the map near a passage: cosine of the embeddings, text, and where it stands."""

    similarity: float
    angle: float
    document: str
    start: int
    patch: bytes


@final
class Librarian:
    """Says where passages belong on the map that it was taught.

    Attributes:
        student: what predicts from bytes.
        config: how it was trained.
        facts: about the map.
        map_id: of the map.
    """

    student: AbstractStudent
    config: LibrarianConfig
    facts: Facts
    map_id: str

    @classmethod
    def load(cls, folder: Path | str, *, last: bool = False) -> "Librarian":
        """The librarian that `train` left in `folder`.

        Args:
            folder: of the model.
            last: take the student after the last step, not the best one.

        Raises:
            LabelError: there is no model in `folder`, or it is damaged.
            ShardError: its arrays are damaged.
        """
        raise NotImplementedError

    def save(self, folder: Path | str) -> None:
        """Write what `load` reads.

        Raises:
            OSError: the folder cannot be written.
        """
        raise NotImplementedError

    def with_map(self, labels: Path | str) -> "Librarian":
        """The same with the map at hand: predictions join it, and `find` looks around.

        Args:
            labels: the folder of the map that it was taught.

        Raises:
            LabelError: another map, other embeddings, or no map at all.
            ShardError: a label file is damaged.
        """
        raise NotImplementedError

    def predict(
        self,
        passages: Texts,
        *,
        before: Texts | None = None,
        after: Texts | None = None,
        cells: bool = False,
    ) -> Predicted:
        """Where passages belong.

        Args:
            passages: texts, or their bytes.
            before: what stands before each; more than the student sees does no harm.
            after: what stands after each.
            cells: whether to keep the log-probabilities of all cells.

        Raises:
            ValueError: `before` or `after` of another length.
        """
        return self.predict_in(passages_of(passages, before, after), cells=cells)

    def predict_in(self, passages: Passages, *, cells: bool = False) -> Predicted:
        """`predict` for patches that stand in their texts, such as those of a `LabelDataset`."""
        raise NotImplementedError

    def find(self, passage: bytes | str, k: int = 15) -> tuple[Found, ...]:
        """The `k` patches of the map that lie nearest to where a passage belongs.

        Raises:
            ValueError: the map is not at hand, see `with_map`.
        """
        raise NotImplementedError

    def embed(self, passages: Passages) -> Float32[np.ndarray, "patches width"]:
        """Unit vectors in the space of the map's embeddings."""
        return self.student.predict(passages).embedding
