"""`LabelDataset`: label files as what a student learns from, document by document.

Columns and bytes are held, about a hundred bytes a patch; embeddings are where there is room for
them, and otherwise read again from the files, a run of rows at a time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from sphere_ebm.errors import LabelError, ShardError
from sphere_ebm.files.container import Container, read_container
from sphere_ebm.files.shards.labels import Labels, read_labels
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.librarian.map_points import label_paths
from sphere_ebm.librarian.split import Split, documents_named
from sphere_ebm.librarian.students.base import Batch, Facts
from sphere_ebm.librarian.targets import places_of, radii_of_shells, ranks_among
from sphere_ebm.librarian.windows import Passages, document_passages, stacked

MEMORY = 2 * 2**30
"""Bytes of embeddings that are held unless the caller says otherwise."""
_CURE = "label the texts again, from shards with bytes"


class Document(NamedTuple):
    """One document of a data set: its name, unique there, and its rows.

    `more` tells that it came beside the labels, to train on alone.
    """

    name: str
    file: int
    first: int
    patches: int
    more: bool

    @property
    def rows(self) -> slice:
        """Its rows in the columns of the data set."""
        return slice(self.first, self.first + self.patches)


class Run(NamedTuple):
    """Neighbouring patches of one document: those from `begin` to `end` of its own."""

    document: int
    begin: int
    end: int


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class LabelDataset:
    """N labelled patches of all documents, in the order of files and rows.

    Attributes:
        folder: of the labels.
        map_id: the map that all labels are of; empty where files do not say.
        config: how the map was made, as JSON; empty where files do not say.
        files: label files, those of the map first, then those of `more`.
        documents: in order; together they hold all N rows.
        facts: about the map, for students.
        direction: (N, 3) unit vectors.
        modes, mode_weight: (N, 2, 3) and (N, 2), weights that sum to 1: where else the label may
            be; the direction twice where the labels know of no second place.
        angle_std: (N,) the label's own error in radians.
        radius, radius_std, shell: (N,) in shell units.
        rank: (N,) rank of the prominence among the patches of the map, in [0, 1].
    """

    folder: Path
    map_id: str
    config: str
    files: tuple[Path, ...]
    documents: tuple[Document, ...]
    facts: Facts
    direction: Float32[np.ndarray, "patches 3"]
    modes: Float32[np.ndarray, "patches 2 3"]
    mode_weight: Float32[np.ndarray, "patches 2"]
    angle_std: Float32[np.ndarray, " patches"]
    radius: Float32[np.ndarray, " patches"]
    radius_std: Float32[np.ndarray, " patches"]
    shell: Int32[np.ndarray, " patches"]
    rank: Float32[np.ndarray, " patches"]
    _firsts: Int64[np.ndarray, " files"]
    _octets: tuple[UInt8[np.ndarray, " _"], ...]
    _offsets: tuple[Int64[np.ndarray, " _"], ...]
    _held: tuple[Float32[np.ndarray, "_ _"], ...] | None

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        more: Sequence[Path | str] = (),
        memory: int = MEMORY,
    ) -> "LabelDataset":
        """Read the labels of a map, and further ones that joined it.

        Args:
            folder: of the map, or any folder with label files of one map.
            more: further label files of the same map, to train on alone; see
                `sphere_ebm.librarian.joined.join_shards`.
            memory: bytes of embeddings to hold; where there are more, none is held.

        Raises:
            LabelError: no label files, files without bytes, of several maps or several widths.
            ShardError: a file is damaged.
        """
        folder = Path(folder)
        paths = [*label_paths(folder), *map(Path, more)]
        own = len(paths) - len(more)
        read: list[_File] = []
        vectors: list[np.ndarray] | None = []
        for index, path in enumerate(paths):
            one, found = _File.read(path, index >= own)
            read.append(one)
            if sum(each.patches * each.width * 4 for each in read) > memory:
                vectors = None
            if vectors is not None:
                vectors.append(found)
        _check_together(folder, read)
        held = None if vectors is None else tuple(vectors)
        return _assembled(folder, read, held)

    def __len__(self) -> int:
        return len(self.direction)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The position of each document by its name."""
        return {document.name: number for number, document in enumerate(self.documents)}

    def split(
        self,
        seed: int = 0,
        validation: float = 0.1,
        held_out: Sequence[str] = (),
    ) -> Split:
        """Hold whole documents out: those of `held_out`, or a share of them drawn with the seed.

        Documents of `more` are always trained on.

        Args:
            seed: of the draw.
            validation: share of the documents that is held out, at least one.
            held_out: names of documents, or patterns with `*` and `?`; then nothing is drawn.

        Raises:
            LabelError: fewer than two documents, names that no document has, or nothing that would
                be left to learn from.
        """
        names = [one.name for one in self.documents if not one.more and one.patches]
        extra = [one.name for one in self.documents if one.more and one.patches]
        if held_out:
            chosen = documents_named(names, held_out)
        else:
            count = max(1, round(validation * len(names)))
            drawn = np.random.default_rng(seed).permutation(len(names))[:count]
            chosen = {names[number] for number in drawn}
        train = [name for name in names if name not in chosen] + extra
        if not train or not chosen:
            raise LabelError(
                f"{self.folder} has {len(names)} documents with patches, too few to hold some out:"
                " label at least two"
            )
        validated = tuple(name for name in names if name in chosen)
        return Split(tuple(train), validated, None if held_out else seed)

    def embeddings(self, file: int, begin: int, end: int) -> Float32[np.ndarray, "rows width"]:
        """Embeddings of some rows of a file, counted from its own first row."""
        if self._held is not None:
            return self._held[file][begin:end]
        return self._containers[file].float_rows("embeddings", begin, end)

    def vectors(self, document: int) -> Float32[np.ndarray, "rows width"]:
        """Embeddings of all patches of a document."""
        one = self.documents[document]
        begin = one.first - int(self._firsts[one.file])
        return self.embeddings(one.file, begin, begin + one.patches)

    def passages(self, document: int) -> Passages:
        """All patches of a document, with its bytes."""
        one = self.documents[document]
        begin = one.first - int(self._firsts[one.file])
        offset = self._offsets[one.file][begin : begin + one.patches + 1]
        octets = self._octets[one.file][offset[0] : offset[-1]]
        return document_passages(octets, offset - offset[0])

    def corpus(self, names: Sequence[str]) -> "Corpus":
        """The patches of some documents, one document after another."""
        return Corpus(self, [self.numbers[name] for name in names])

    def runs(self, names: Sequence[str], length: int) -> list[Run]:
        """The documents of these names, cut into runs of at most `length` patches."""
        found = []
        for number in (self.numbers[name] for name in names):
            patches = self.documents[number].patches
            for begin in range(0, patches, length):
                found.append(Run(number, begin, min(begin + length, patches)))
        return found

    def batch(self, runs: Sequence[Run], *, weigh: bool = False) -> Batch:
        """The patches of some runs, one after another.

        With `weigh`, patches count by m² / (angle_std² + m²), m the median over the data set, and
        1 on average over it.
        """
        rows = np.concatenate([np.arange(run.begin, run.end) + self._first(run) for run in runs])
        parts = [self.passages(run.document).rows(run.begin, run.end) for run in runs]
        vectors = np.concatenate([self._rows_of(run) for run in runs])
        weight = self._weight[rows] if weigh else np.ones(len(rows), np.float32)
        return Batch(
            passages=stacked(parts),
            embedding=unit_rows(vectors.astype(np.float64)).astype(np.float32),
            direction=self.direction[rows],
            modes=self.modes[rows],
            mode_weight=self.mode_weight[rows],
            angle_std=self.angle_std[rows],
            radius=self.radius[rows],
            radius_std=self.radius_std[rows],
            shell=self.shell[rows],
            rank=self.rank[rows],
            weight=weight,
        )

    def _first(self, run: Run) -> int:
        return self.documents[run.document].first

    def _rows_of(self, run: Run) -> Float32[np.ndarray, "rows width"]:
        one = self.documents[run.document]
        begin = one.first - int(self._firsts[one.file])
        return self.embeddings(one.file, begin + run.begin, begin + run.end)

    @cached_property
    def _containers(self) -> list[Container]:
        return [read_container(path) for path in self.files]

    @cached_property
    def _weight(self) -> Float32[np.ndarray, " patches"]:
        usual = float(np.median(self.angle_std)) ** 2 or 1.0
        weight = usual / (self.angle_std.astype(np.float64) ** 2 + usual)
        return (weight / weight.mean()).astype(np.float32)


@final
class Corpus(Sequence[Passages]):
    """The patches of some documents of a data set, one document at a time."""

    def __init__(self, dataset: LabelDataset, documents: Sequence[int]) -> None:
        self._dataset = dataset
        self._documents = documents

    def __len__(self) -> int:
        return len(self._documents)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return Corpus(self._dataset, self._documents[index])
        return self._dataset.passages(self._documents[index])

    def __iter__(self) -> Iterator[Passages]:
        return (self._dataset.passages(number) for number in self._documents)


class _File(NamedTuple):
    """What is held of a label file: everything but its embeddings."""

    path: Path
    more: bool
    width: int
    labels: Labels

    @classmethod
    def read(cls, path: Path, more: bool) -> tuple["_File", np.ndarray]:
        """The file, and its embeddings beside it: whoever lacks the room lets go of them."""
        labels = read_labels(path)
        width = labels.embeddings.shape[1]
        if labels.bytes is None and len(labels):
            raise ShardError(path, "holds no bytes, which a student reads", "bytes", cure=_CURE)
        bare = Labels(**{**vars(labels), "embeddings": np.zeros((len(labels), 0), np.float32)})
        return cls(path, more, width, bare), labels.embeddings

    @property
    def patches(self) -> int:
        return len(self.labels)

    def told(self, name: str) -> str:
        return self.labels.metadata.get(name, "")


def _check_together(folder: Path, read: Sequence[_File]) -> None:
    """All labels are of one map, and their embeddings of one width."""
    filled = [one for one in read if one.patches]
    if not filled:
        raise LabelError(f"{folder} has label files, but none has a patch; label some texts")
    first = filled[0]
    for one in filled[1:]:
        if one.told("map_id") != first.told("map_id"):
            raise LabelError(
                f"{one.path} is of the map {one.told('map_id')[:8] or '(unnamed)'}, and"
                f" {first.path} of {first.told('map_id')[:8] or '(unnamed)'}; label or join them"
                " on one map"
            )
        if one.width != first.width:
            raise LabelError(
                f"{one.path} has embeddings of width {one.width}, and {first.path} of"
                f" {first.width}; embed and label them alike"
            )


def _assembled(
    folder: Path, read: Sequence[_File], held: tuple[Float32[np.ndarray, "_ _"], ...] | None
) -> LabelDataset:
    labels = [one.labels for one in read]
    firsts = np.cumsum([0, *(one.patches for one in read)], dtype=np.int64)
    columns = {
        name: np.concatenate([vars(one)[name] for one in labels])
        for name in ("direction", "angle_std", "radius", "radius_std", "shell")
    }
    modes, mode_weight = places_of(labels)
    own = np.concatenate([one.labels.prominence for one in read if not one.more])
    everyone = np.concatenate([one.prominence for one in labels])
    first = next(one for one in read if one.patches)
    config = first.told("config")
    radii = radii_of_shells(config, columns["radius"], columns["shell"])
    return LabelDataset(
        folder=folder,
        map_id=first.told("map_id"),
        config=config,
        files=tuple(one.path for one in read),
        documents=_documents(read, firsts),
        facts=Facts(width=first.width, radii=radii),
        modes=modes,
        mode_weight=mode_weight,
        rank=ranks_among(everyone, own),
        _firsts=firsts[:-1],
        _octets=tuple(_or_empty(one.bytes, np.uint8) for one in labels),
        _offsets=tuple(_or_empty(one.bytes_offset, np.int64) for one in labels),
        _held=held,
        **columns,
    )


def _or_empty(array: np.ndarray | None, dtype: Any) -> np.ndarray:
    return np.zeros(0, dtype) if array is None else array


def _documents(read: Sequence[_File], firsts: Int64[np.ndarray, " files"]) -> tuple[Document, ...]:
    """Documents by the names that they have on the map.

    A name that is taken gets `~2`, `~3` and so on.
    """
    found: list[Document] = []
    used: dict[str, int] = {}
    for number, one in enumerate(read):
        row = int(firsts[number])
        for whole, patches in one.labels.named_documents:
            used[whole] = used.get(whole, 0) + 1
            unique = whole if used[whole] == 1 else f"{whole}~{used[whole]}"
            found.append(Document(unique, number, row, patches, one.more))
            row += patches
    return tuple(found)
