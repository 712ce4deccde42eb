"""What a student is judged by: documents that it has not seen, and the map that they are on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float32, Int

from sphere_ebm.errors import LabelError
from sphere_ebm.files.map_folder import label_files, read_map
from sphere_ebm.librarian.dataset import LabelDataset
from sphere_ebm.librarian.measures import Judged, prior_of
from sphere_ebm.librarian.rivals import Ground, Spans
from sphere_ebm.librarian.split import Split
from sphere_ebm.librarian.windows import Passages, stacked


def judged_documents(asked: LabelDataset, split: Split | None) -> tuple[list[str], bool]:
    """The documents to judge by, and whether the student has never seen any of them.

    Raises LabelError where it was trained on all.
    """
    filled = [one.name for one in asked.documents if one.patches]
    if split is None:
        return filled, True
    fresh = [name for name in filled if name not in {*split.train, *split.validation}]
    if fresh:
        return fresh, True
    held = [name for name in filled if name in set(split.validation)]
    if not held:
        raise LabelError(
            f"every document in {asked.folder} was trained on; join others to the map with"
            " `sphere-ebm join`, and judge by them"
        )
    return held, False


@final
@dataclass(frozen=True, eq=False)
class Trial:
    """What is judged, and what rivals may know.

    Attributes:
        judged: the labels.
        passages: of each document, with its bytes.
        embeddings: (P, D) the true ones.
        known: the map.
        known_rows: rows of the map that were fitted and are not judged.
        fitted: whether judged patches are on the map themselves.
        notes: what a reader should know, one line each.
    """

    judged: Judged
    passages: tuple[Passages, ...]
    embeddings: Float32[np.ndarray, "patches width"]
    known: LabelDataset
    known_rows: Int[np.ndarray, " known"]
    fitted: bool
    notes: tuple[str, ...]

    @classmethod
    def of(cls, asked: LabelDataset, known: LabelDataset, chosen: Sequence[str]) -> "Trial":
        """Judge by the documents of `asked` that are `chosen`.

        Raises LabelError where the map has no patches but those.
        """
        numbers = [asked.numbers[name] for name in chosen]
        documents = [asked.documents[number] for number in numbers]
        rows = np.concatenate([np.arange(len(asked))[one.rows] for one in documents])
        fitted_names = _fitted_documents(known)
        left = [one for one in known.documents if one.name in fitted_names]
        fitted = known is asked and bool({*chosen} & fitted_names)
        if fitted:
            left = [one for one in left if one.name not in set(chosen)]
        if not left:
            raise LabelError(f"{known.folder} has no patches but those that are judged")
        known_rows = np.concatenate([np.arange(len(known))[one.rows] for one in left])
        passages = tuple(asked.passages(number) for number in numbers)
        length = np.concatenate([one.last - one.first for one in passages])
        direction = known.direction[known_rows]
        judged = Judged(
            direction=asked.direction[rows],
            shell=asked.shell[rows],
            angle_std=asked.angle_std[rows],
            document=np.repeat(np.arange(len(numbers)), [one.patches for one in documents]),
            length=length,
            fitted=direction,
            prior=prior_of(direction),
        )
        embeddings = np.concatenate([asked.vectors(number) for number in numbers])
        notes = ("judged patches are on the map: it is not asked with the map",) if fitted else ()
        return cls(judged, passages, embeddings, known, known_rows, fitted, notes)

    def ground(self, seed: int) -> Ground:
        """What rivals may know."""
        known = self.known
        vectors = np.concatenate([known.vectors(n) for n in range(len(known.documents))])
        spans = _spans(stacked([known.passages(n) for n in range(len(known.documents))]))
        rows = self.known_rows
        return Ground(
            known.direction[rows],
            known.shell[rows],
            vectors[rows],
            Spans(spans.octets, spans.first[rows], spans.last[rows]),
            self.judged.prior,
            self.judged.direction,
            self.embeddings,
            _spans(stacked(self.passages)),
            seed,
        )


def _fitted_documents(known: LabelDataset) -> set[str]:
    """Names of the documents that the map was fitted to; others have joined it."""
    fitted = set(label_files(known.folder, read_map(known.folder), fitted=True))
    return {one.name for one in known.documents if one.patches and known.files[one.file] in fitted}


def _spans(passages: Passages) -> Spans:
    return Spans(passages.octets, passages.first, passages.last)
