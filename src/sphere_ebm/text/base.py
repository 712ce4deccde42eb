"""The two interfaces of ingestion.

Who says how uncertain the next byte is, and who says what a patch means.
"""

import abc
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64, UInt8


class Reading(NamedTuple):
    """What a model made of one document of n bytes, in nats.

    - `entropies` (n,): H[i] is the entropy of the prediction of byte i + 1 from bytes 0 to i.
    - `surprisals` (n,): -log p of byte i itself before it was read. Their mean is the model's
      cross-entropy.
    """

    entropies: Float32[np.ndarray, " bytes"]
    surprisals: Float32[np.ndarray, " bytes"]

    @property
    def bits_per_byte(self) -> float:
        """Cross-entropy in bits; nan for no bytes."""
        return (
            float(self.surprisals.mean(dtype=np.float64)) / math.log(2)
            if len(self.surprisals)
            else math.nan
        )


class AbstractEntropyModel(abc.ABC):
    """A model of the next byte."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The model and everything that its numbers depend on, in one line.

        It is written into every shard.
        """

    @abc.abstractmethod
    def read(self, octets: UInt8[np.ndarray, " bytes"]) -> Reading:
        """Read one document of n bytes. Nothing is carried over from one call to the next."""


class AbstractEmbedder(abc.ABC):
    """A model of what a patch means."""

    @property
    @abc.abstractmethod
    def name(self) -> str:
        """The model and everything that its numbers depend on, in one line.

        It is written into every shard.
        """

    @property
    @abc.abstractmethod
    def width(self) -> int:
        """D, the width of the embeddings."""

    @abc.abstractmethod
    def embed(
        self, octets: UInt8[np.ndarray, " bytes"], lengths: Int64[np.ndarray, " patches"]
    ) -> Iterator[tuple[Float32[np.ndarray, "block dim"], Float32[np.ndarray, " block"]]]:
        """Yields embeddings (block, D) and prominence (block,) of a document's patches, in order.

        `lengths` (patches,) are positive and add up to the number of `octets`. A document is
        embedded on its own, and the same document always alike.
        """
