"""The default embedder.

Static token vectors that come inside a package, pooled over a patch and its surroundings.
"""

import itertools
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from typing_extensions import override

from sphere_ebm.errors import require
from sphere_ebm.text.base import AbstractEmbedder

_PIECE = 2048
_SPACE, _LINE_FEED = b" \n"
_PIECES = 1024
_BLOCK = 2048
_MODEL = "l2_supercat"
WINDOWS = ((60, 0.2), (600, 0.01))
"""About the sentence and the paragraph around a patch."""

Tokens = tuple[Int64[np.ndarray, " tokens"], Int64[np.ndarray, " tokens"]]


@final
class StaticEmbedder(AbstractEmbedder):
    """WordLlama's 256-dimensional token vectors.

    They have the MIT licence and derive from the token embeddings of Llama 2.

    A patch is cut where the next byte is uncertain, so that it may be a clause, a word or a
    fragment of one. What it means, it means in its place: the embedding is the weighted mean of
    token vectors, with weight 1 for the tokens that begin in the patch (or, if none does, the last
    one that begins before it), and for each (bytes, weight) of `windows` with that weight more for
    every token that begins in the patch or within so many bytes of it. A long patch speaks for
    itself; a word of two letters says what is said around it. Prominence is the norm of the mean of
    the patch's own tokens: rare words are long vectors, function words short ones.

    Tokens do not reach over line breaks, nor over every 2 048th byte of a line (moved to white
    space where there is some), so that the same line gives the same tokens everywhere.

    Raises:
        MissingPackageError: without the package `wordllama`.
        ValueError: a window below 0 bytes or with a weight that is not a finite number >= 0; while
            embedding, bytes that are not UTF-8.
    """

    def __init__(self, windows: Sequence[tuple[int, float]] = WINDOWS):
        for size, weight in windows:
            if size < 0 or not 0 <= weight < math.inf:
                raise ValueError(
                    "`windows` must be pairs of bytes >= 0 and a weight >= 0; got"
                    f" {(size, weight)}."
                )
        self._windows = tuple(windows)
        self._vectors, self._tokenizer, self._version = _load()

    @property
    @override
    def name(self) -> str:
        weights = [
            "1 in the patch",
            *(f"{weight} within {size} bytes" for size, weight in self._windows),
        ]
        return f"wordllama {self._version} {_MODEL}, weights {', '.join(weights)}"

    @property
    @override
    def width(self) -> int:
        return int(self._vectors.shape[1])

    @override
    def embed(
        self, octets: UInt8[np.ndarray, " bytes"], lengths: Int64[np.ndarray, " patches"]
    ) -> Iterator[tuple[Float32[np.ndarray, "block dim"], Float32[np.ndarray, " block"]]]:
        ids, starts = self._tokens(octets)
        ends = np.cumsum(lengths)
        for begin in range(0, len(lengths), _BLOCK):
            last = ends[begin : begin + _BLOCK]
            first = last - lengths[begin : begin + _BLOCK]
            yield self._pooled(ids, starts, first, last)

    def _pooled(
        self,
        ids: Int64[np.ndarray, " tokens"],
        starts: Int64[np.ndarray, " tokens"],
        first: Int64[np.ndarray, " block"],
        last: Int64[np.ndarray, " block"],
    ) -> tuple[Float32[np.ndarray, "block dim"], Float32[np.ndarray, " block"]]:
        """Means by running sums over the tokens around one block of patches.

        `first` and `last` are in bytes.
        """
        begin = np.searchsorted(starts, first)
        end = np.searchsorted(starts, last)
        begin = np.where(begin == end, np.maximum(begin - 1, 0), begin)
        widest = max((size for size, _ in self._windows), default=0)
        low = int(min(np.searchsorted(starts, first[0] - widest), begin[0]))
        vectors = self._vectors[ids[low : int(np.searchsorted(starts, last[-1] + widest))]]
        sums = np.zeros((len(vectors) + 1, self.width))
        np.cumsum(vectors, axis=0, dtype=np.float64, out=sums[1:])
        own = sums[end - low] - sums[begin - low]
        total = own.copy()
        weights = (end - begin).astype(np.float64)
        for size, weight in self._windows:
            left = np.searchsorted(starts, first - size)
            right = np.searchsorted(starts, last + size)
            total += weight * (sums[right - low] - sums[left - low])
            weights += weight * (right - left)
        embeddings = total / np.where(weights > 0, weights, 1)[:, None]
        norms = np.linalg.norm(own / np.maximum(end - begin, 1)[:, None], axis=1)
        return embeddings.astype(np.float32), norms.astype(np.float32)

    def _tokens(self, octets: UInt8[np.ndarray, " bytes"]) -> Tokens:
        """Id and first byte of every token, in order."""
        ids = [np.zeros(0, np.int64)]
        starts = [np.zeros(0, np.int64)]
        pieces = _pieces(octets.tobytes())
        while batch := list(itertools.islice(pieces, _PIECES)):
            encoded = self._tokenizer.encode_batch(
                [text for text, _ in batch], add_special_tokens=False
            )
            for (text, begin), one in zip(batch, encoded, strict=True):
                at = np.array(one.offsets, np.int64).reshape(-1, 2)[:, 0]
                ids.append(np.array(one.ids, np.int64))
                starts.append(begin + (at if text.isascii() else _character_starts(text)[at]))
        return np.concatenate(ids), _without_space(octets, np.concatenate(starts))


def _without_space(
    octets: UInt8[np.ndarray, " bytes"], starts: Int64[np.ndarray, " tokens"]
) -> Int64[np.ndarray, " tokens"]:
    """Starts of tokens, one further for ` word`.

    The space before a word is in its token, and in the patch before.
    """
    ends = np.append(starts[1:], len(octets))
    blank = (octets == _SPACE) | (octets == _LINE_FEED)
    before_word = np.append((octets[:-1] == _SPACE) & ~blank[1:], False)
    return starts + (before_word[starts] & (starts + 1 < ends))


def _character_starts(text: str) -> Int64[np.ndarray, " characters"]:
    """The byte at which each character of `text` begins in UTF-8."""
    octets = np.frombuffer(text.encode(), np.uint8)
    return np.flatnonzero((octets & 0xC0) != 0x80)


def _pieces(data: bytes) -> Iterator[tuple[str, int]]:
    """Lines, long ones in pieces, and where each begins.

    Raises ValueError for bytes that are not UTF-8.
    """
    try:
        data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the text must be UTF-8; byte {error.start} is not ({error.reason})."
        ) from error
    begin = 0
    while begin < len(data):
        line = data.find(b"\n", begin, begin + _PIECE + 1)
        end = line + 1 if line >= 0 else min(begin + _PIECE, len(data))
        if line < 0 and end < len(data):
            space = data.rfind(b" ", begin + 1, end)
            end = space if space > 0 else _back_to_character(data, end)
        text = data[begin:end].decode().rstrip("\n")
        if text:
            yield text, begin
        begin = end


def _back_to_character(data: bytes, end: int) -> int:
    """The first byte of the character that holds byte `end`."""
    while 0x80 <= data[end] < 0xC0:
        end -= 1
    return end


def _load() -> tuple[Float32[np.ndarray, "vocabulary dim"], Any, str]:
    """Vectors, tokenizer and version, from the package's own folder: nothing is downloaded."""
    with _logging_as_it_is():
        wordllama = require("wordllama", "text", "the default embedder")
    # its loader looks for the tokenizer in the cache folder alone
    home = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(_MODEL, cache_dir=home, disable_download=True)
    tokenizer = model.tokenizer
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return np.asarray(model.embedding, np.float32), tokenizer, version("wordllama")


@contextmanager
def _logging_as_it_is() -> Iterator[None]:
    """Undo what an import does to the root logger.

    `wordllama` makes it print what every package logs.
    """
    root = logging.getLogger()
    level = root.level
    handlers = list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
