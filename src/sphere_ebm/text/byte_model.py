"""The default entropy model.

Counts of bytes after bytes, learned while reading, on top of a small prior.
"""

import functools
import hashlib
import lzma
from importlib.resources import files
from typing import TYPE_CHECKING, final

import numpy as np
from jaxtyping import UInt8
from typing_extensions import override

from sphere_ebm.errors import require
from sphere_ebm.text.base import AbstractEntropyModel, Reading

if TYPE_CHECKING:
    from sphere_ebm.text.byte_kernel import State

_CHUNK = 1 << 16
_MOST_ENTRIES = 1 << 25
_START = b"\n" * 8
PRIOR = "prior.txt.xz"


@final
class ByteModel(AbstractEntropyModel):
    """Interpolated n-gram of bytes, orders 1 to 6, adaptive: it predicts a byte, then learns it.

    Every document is read on its own, as if it followed the prior: a text of 110 kB that
    ships with the package (`data/make_prior.py` says what is in it), or `prior`. So neither the
    order of documents nor what else is read changes a bit. The law of the next byte is

        P_k(b) = λ c_k(b) / n_k + (1 - λ) P_{k-1}(b),    k = 6, ..., 3

    with c_k(b) the count of b after the last k bytes and n_k its sum; a count is taken only where b
    was new in all longer contexts, as in Kneser-Ney smoothing [1]. λ depends on k and on how much
    and how many different bytes the context has seen; it is the share that such contexts have
    earned so far (the online expectation step of Jelinek-Mercer interpolation [2]). P_2 has a
    Dirichlet prior: P_1 and, for a fifth, the uniform law.

    About 30 bytes of memory per byte of text; from 2²⁵ entries on (some 25 MB of prose) nothing new
    is remembered, known contexts are still counted.

    [1] Kneser, Ney, ICASSP 1995. [2] Jelinek, Mercer, Pattern Recognition in Practice, 1980.

    Raises:
        MissingPackageError: without the package `numba`.
    """

    def __init__(self, prior: bytes | None = None):
        self._prior = _shipped_prior() if prior is None else prior
        self._learned = _learned_state(self._prior)
        self._name = (
            f"byte n-gram, orders 1 to 6, prior {hashlib.sha256(self._prior).hexdigest()[:12]}"
        )

    @property
    @override
    def name(self) -> str:
        return self._name

    @override
    def read(self, octets: UInt8[np.ndarray, " bytes"]) -> Reading:
        state = type(self._learned)(*(array.copy() for array in self._learned))
        return _read(octets, state)[1]


@functools.cache
def _shipped_prior() -> bytes:
    return lzma.decompress(files("sphere_ebm.text").joinpath(PRIOR).read_bytes())


@functools.lru_cache(maxsize=2)
def _learned_state(prior: bytes) -> "State":
    require("numba", "text", "the default model of the next byte")
    from sphere_ebm.text.byte_kernel import fresh_state

    return _read(np.frombuffer(prior, np.uint8), fresh_state())[0]


def _read(octets: UInt8[np.ndarray, " bytes"], state: "State") -> tuple["State", Reading]:
    """Read one document in chunks, so that the program can be interrupted between them."""
    from sphere_ebm.text.byte_kernel import advance, grown

    entropies = np.empty(len(octets), np.float32)
    surprisals = np.empty(len(octets), np.float32)
    history = np.uint64(int.from_bytes(_START, "big"))
    begin = 0
    while begin < len(octets):
        part = slice(begin, begin + _CHUNK)
        read, history = advance(
            octets[part], history, state, _MOST_ENTRIES, entropies[part], surprisals[part]
        )
        if not read or begin + read < min(part.stop, len(octets)):
            state = grown(state)
        # compiled code gives it back as a Python number, which may be too large for the next call
        history = np.uint64(history)
        begin += read
    return state, Reading(entropies, surprisals)
