"""`ask`: which passages of a finished map to read for a query, within a budget."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
from jaxtyping import Float64

from sphere_ebm.files.map_folder import label_files, read_map
from sphere_ebm.files.shards.labels import Labels, read_labels
from sphere_ebm.geometry.sphere import unit_rows
from sphere_ebm.labelling.levels import map_pyramid
from sphere_ebm.labelling.passage import check_embedder
from sphere_ebm.labelling.texts import Text, texts_of
from sphere_ebm.retrieval.budgets import BudgetConfig, Passage, allocate, choose
from sphere_ebm.text.base import AbstractEmbedder
from sphere_ebm.text.static_embedder import StaticEmbedder

Unit = Literal["bytes", "points"]
UNITS: tuple[Unit, ...] = ("bytes", "points")


@final
@dataclass(frozen=True, eq=False)
class Quoted:
    """A passage to read, and where its most relevant patch lies on the map.

    Attributes:
        document: its name.
        start: its first byte in the document, in UTF-8.
        patch: its bytes.
        units: what it costs.
        score: cosine of its most relevant patch to the query.
        theta, phi: of that patch, in radians.
        radius: of that patch, in shell units.
    """

    document: str
    start: int
    patch: bytes
    units: float
    score: float
    theta: float
    phi: float
    radius: float


@final
@dataclass(frozen=True, eq=False)
class Answer:
    """Passages for a query, the most relevant first, and the units that they take together."""

    passages: tuple[Quoted, ...]
    spent: float


def ask(
    folder: Path | str,
    query: str,
    embedder: Callable[[], AbstractEmbedder] = StaticEmbedder,
    config: BudgetConfig | None = None,
    *,
    unit: Unit | Callable[[str], int] = "bytes",
    by_region: bool = False,
) -> Answer:
    """What to read of the finished map in `folder`, whose label files hold bytes.

    Relevance is the cosine of each patch to the query.

    Args:
        folder: of the map.
        query: what to look for.
        embedder: makes the embedder of the map's shards.
        config: the budget; see `BudgetConfig`. In points, sizes count patches.
        unit: what the budget counts, or a counter of the caller's, of tokens for example; it is
            asked for each patch by itself, and its answer counts as at least 1.
        by_region: divide the budget over the cells of the map first, see `allocate`. The pyramid
            of the map is then kept in the folder as `pyramid.safetensors`.

    Raises:
        LabelError: there is no finished map in `folder`, or labels in it hold no bytes.
        ShardError: a label file is missing or damaged.
        ValueError: an empty query, one that embeds to nothing, or another embedder than the map's.
    """
    if not query.strip():
        raise ValueError("`query` must hold something to look for; got white space only.")
    folder = Path(folder)
    held = read_map(folder)
    files = [read_labels(path) for path in label_files(folder, held)]
    files = [labels for labels in files if len(labels)]
    texts = [text for labels in files for text in texts_of(labels)]
    made = embedder()
    check_embedder(folder, made)
    relevance = _cosines(files, _embedded(query, made))
    counts = [len(text.offset) - 1 for text in texts]
    document = np.repeat(np.arange(len(texts)), counts)
    size = np.concatenate([_sizes(text, unit) for text in texts])
    # a patch without bytes is nothing to read
    relevance[np.concatenate([np.diff(text.offset) for text in texts]) == 0] = -np.inf
    regions = None
    if by_region:
        regions = allocate(map_pyramid(folder), relevance, config)
    chosen = choose(relevance, document, size, config, regions=regions)
    firsts = np.cumsum([0, *counts])
    quoted = [_quoted(passage, texts, firsts, files, relevance) for passage in chosen.passages]
    return Answer(tuple(quoted), chosen.spent)


def _embedded(query: str, embedder: AbstractEmbedder) -> Float64[np.ndarray, " width"]:
    octets = np.frombuffer(query.encode("utf-8", "replace"), np.uint8)
    (embeddings, _), *_ = embedder.embed(octets, np.array([len(octets)]))
    vector = embeddings[0].astype(np.float64)
    if not np.any(vector):
        raise ValueError(
            f"`query` must mean something to the embedder; {query!r} embeds to a zero vector. Use"
            " other words."
        )
    return unit_rows(vector)


def _cosines(
    files: Sequence[Labels], query: Float64[np.ndarray, " width"]
) -> Float64[np.ndarray, " points"]:
    parts = [
        unit_rows(labels.embeddings.astype(np.float64)) @ query if len(labels) else np.zeros(0)
        for labels in files
    ]
    return np.concatenate(parts)


def _sizes(text: Text, unit: Unit | Callable[[str], int]) -> Float64[np.ndarray, " patches"]:
    """Units of each patch of a document, at least 1."""
    length = np.diff(text.offset)
    if unit == "points":
        return np.ones(len(length))
    if unit == "bytes":
        return np.maximum(length, 1).astype(np.float64)
    ends = zip(text.offset[:-1], text.offset[1:], strict=True)
    patches = (text.octets[a:b].tobytes().decode("utf-8", "replace") for a, b in ends)
    return np.array([max(unit(patch), 1) for patch in patches], np.float64)


def _quoted(
    passage: Passage,
    texts: Sequence[Text],
    firsts: np.ndarray,
    files: Sequence[Labels],
    relevance: Float64[np.ndarray, " points"],
) -> Quoted:
    text = texts[passage.document]
    first = passage.first - int(firsts[passage.document])
    begin = int(text.offset[first])
    end = int(text.offset[first + passage.last - passage.first + 1])
    best = passage.first + int(np.argmax(relevance[passage.first : passage.last + 1]))
    for labels in files:
        if best < len(labels):
            break
        best -= len(labels)
    return Quoted(
        document=text.name,
        start=begin,
        patch=text.octets[begin:end].tobytes(),
        units=passage.units,
        score=passage.score,
        theta=float(labels.theta[best]),
        phi=float(labels.phi[best]),
        radius=float(labels.radius[best]),
    )
