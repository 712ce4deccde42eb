"""Embedders of whole passages.

Any function from texts to vectors, and sentence-transformers models.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy.typing import ArrayLike
from typing_extensions import override

from sphere_ebm.errors import ShardError, require
from sphere_ebm.text.base import AbstractEmbedder

_BLOCK = 1024


@final
class PassageEmbedder(AbstractEmbedder):
    """Any function from texts to vectors.

    It is given each patch with the `context` bytes before and after it, characters cut at the ends
    left out, white space at the ends removed. Prominence is the norm of its vector; where that is 1
    for all, give the map a prominence of your own.

    Args:
        function: a list of texts -> (texts, width) real numbers.
        width: D.
        name: of the model, one line: it is written into every shard, and decides whether shards can
            be kept.
        context: in bytes.

    Raises:
        ValueError: a width below 1, a negative context; while embedding, vectors of another shape.
    """

    def __init__(
        self, function: Callable[[list[str]], ArrayLike], width: int, name: str, context: int = 120
    ):
        if width < 1:
            raise ValueError(f"`width` must be at least 1; got {width}.")
        if context < 0:
            raise ValueError(f"`context` must be at least 0 bytes; got {context}.")
        self._function = function
        self._width = width
        self._context = context
        self._name = f"{name}, context {context} bytes"

    @property
    @override
    def name(self) -> str:
        return self._name

    @property
    @override
    def width(self) -> int:
        return self._width

    @override
    def embed(
        self, octets: UInt8[np.ndarray, " bytes"], lengths: Int64[np.ndarray, " patches"]
    ) -> Iterator[tuple[Float32[np.ndarray, "block dim"], Float32[np.ndarray, " block"]]]:
        data = octets.tobytes()
        last = np.cumsum(lengths)
        first = last - lengths
        for begin in range(0, len(lengths), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            spans = zip(first[block].tolist(), last[block].tolist(), strict=True)
            texts = [
                data[max(a - self._context, 0) : b + self._context]
                .decode("utf-8", "ignore")
                .strip()
                for a, b in spans
            ]
            vectors = np.asarray(self._function(texts), np.float32)
            if vectors.shape != (len(texts), self._width):
                raise ValueError(
                    f"{self._name} must give {(len(texts), self._width)} numbers; got"
                    f" {vectors.shape}."
                )
            yield vectors, np.linalg.norm(vectors, axis=1)


def sentence_transformer(model: str | Path, context: int = 120) -> PassageEmbedder:
    """The embedder of a sentence-transformers model, from its folder or from the hub's cache.

    Nothing is downloaded: fetch the model with its own tools first.

    Raises:
        MissingPackageError: without the package `sentence_transformers`.
        ShardError: the model is not there.
        ValueError: it gives no vectors of one width.
    """
    library = require("sentence_transformers", "sentences", "embedding whole passages")
    try:
        loaded = library.SentenceTransformer(str(model), local_files_only=True)
    except OSError as error:
        problem = (
            "is no folder of a sentence-transformers model, nor the name of one in the hub's cache"
        )
        raise ShardError(
            model, problem, cure="check the name, or download the model first"
        ) from error
    width = loaded.get_sentence_embedding_dimension()
    if width is None:
        raise ValueError(
            f"`model` must give one vector for a text; {model} does not say of what width."
        )

    def vectors(texts: list[str]) -> ArrayLike:
        found: ArrayLike = loaded.encode(texts, convert_to_numpy=True, show_progress_bar=False)
        return found

    return PassageEmbedder(vectors, width, f"sentence-transformers {Path(model).name}", context)
