"""What the patches of a document, or of many, are like.

How long, and whether they end where words do.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from jaxtyping import Bool, Int64, UInt8

SIZE_CLASSES: tuple[str, ...] = ("<=4", "5-12", "13-24", "25-48", "49-127", ">=128")
_CLASS_ENDS = np.array([4, 12, 24, 48, 127])
_MYELINATED = 48

_WORD_BYTES = np.zeros(256, bool)
_WORD_BYTES[list(b"_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")] = True
_WORD_BYTES[0x80:] = True


@final
@dataclass(frozen=True)
class PatchStatistics:
    """Lengths of patches, in bytes. Without patches every number is 0, which no length is.

    - `patches`, `bytes`: how many there are of each.
    - `mean`, `min`, `max`, `p50`, `p75`, `p90`, `p95`: of the lengths; percentiles are interpolated
      linearly.
    - `size_classes`: how many patches are in each of `SIZE_CLASSES`, ranges of bytes that include
      both ends.
    - `myelination_ratio`: share of the patches that are longer than 48 bytes.
    - `myelinated_mean_length`: mean length of those; 0 without any.
    """

    patches: int
    bytes: int
    mean: float
    min: int
    max: int
    p50: float
    p75: float
    p90: float
    p95: float
    size_classes: dict[str, int]
    myelination_ratio: float
    myelinated_mean_length: float

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return asdict(self)


def statistics_of(lengths: Int64[np.ndarray, " patches"]) -> PatchStatistics:
    """Statistics of the patches of one document, from their lengths (patches,) in bytes.

    Raises:
        ValueError: a length is below 1.
    """
    return joined([lengths])


def joined(documents: Iterable[Int64[np.ndarray, " _"]]) -> PatchStatistics:
    """Statistics of the patches of all documents together, as if they were those of one.

    `documents` holds the lengths in bytes of each one's patches; they may come one after another,
    as only the number of patches of each length is kept.

    Raises:
        ValueError: a length is below 1.
    """
    number: Counter[int] = Counter()
    for lengths in documents:
        if len(lengths) and lengths.min() < 1:
            raise ValueError(
                f"`lengths` must be at least 1; got {lengths.min()} at index {lengths.argmin()}."
            )
        values, counts = np.unique(lengths, return_counts=True)
        number.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    values = np.array(sorted(number), np.int64)
    return _from_counts(values, np.array([number[value] for value in values.tolist()], np.int64))


def boundary_share(
    octets: UInt8[np.ndarray, " bytes"], lengths: Int64[np.ndarray, " patches"]
) -> float:
    r"""Share of the cuts between patches that fall between a word byte and another.

    As `\b` of a regular expression has it.

    `octets` (bytes,) is the document, `lengths` (patches,) its patches in bytes. Word bytes are
    ASCII letters, digits, the underscore and every byte >= 0x80. The document's ends are no cuts;
    without cuts the share is 0.

    Raises:
        ValueError: a length is below 1, or they do not add up to the number of bytes.
    """
    _check(octets, lengths)
    return _share(_word_boundaries(octets), lengths)


def random_boundary_share(
    octets: UInt8[np.ndarray, " bytes"],
    lengths: Int64[np.ndarray, " patches"],
    seed: int,
    permutations: int = 16,
) -> float:
    """What `boundary_share` is by chance: its mean over random orders of the same lengths.

    The orders are drawn from `numpy.random.default_rng(seed)`.

    Raises:
        ValueError: as `boundary_share` does, and if `permutations` is below 1.
    """
    _check(octets, lengths)
    if permutations < 1:
        raise ValueError(f"`permutations` must be at least 1; got {permutations}.")
    rng = np.random.default_rng(seed)
    boundaries = _word_boundaries(octets)
    return float(
        np.mean([_share(boundaries, rng.permutation(lengths)) for _ in range(permutations)])
    )


def _from_counts(
    lengths: Int64[np.ndarray, " values"], counts: Int64[np.ndarray, " values"]
) -> PatchStatistics:
    """Statistics of `counts` patches of each of the different, rising `lengths`."""
    patches = int(counts.sum())
    total = int(lengths @ counts)
    p50, p75, p90, p95 = (_percentile(lengths, counts, percent) for percent in (50, 75, 90, 95))
    classes = np.bincount(np.searchsorted(_CLASS_ENDS, lengths), counts, len(SIZE_CLASSES)).astype(
        np.int64
    )
    long = lengths > _MYELINATED
    myelinated = int(counts[long].sum())
    return PatchStatistics(
        patches=patches,
        bytes=total,
        mean=total / patches if patches else 0.0,
        min=int(lengths[0]) if patches else 0,
        max=int(lengths[-1]) if patches else 0,
        p50=p50,
        p75=p75,
        p90=p90,
        p95=p95,
        size_classes=dict(zip(SIZE_CLASSES, classes.tolist(), strict=True)),
        myelination_ratio=myelinated / patches if patches else 0.0,
        myelinated_mean_length=(
            int(lengths[long] @ counts[long]) / myelinated if myelinated else 0.0
        ),
    )


def _percentile(
    lengths: Int64[np.ndarray, " values"], counts: Int64[np.ndarray, " values"], percent: int
) -> float:
    """As `numpy.percentile` of the lengths written out."""
    ends = np.cumsum(counts)
    if not len(ends):
        return 0.0
    whole, hundredths = divmod((int(ends[-1]) - 1) * percent, 100)
    below, above = lengths[
        np.searchsorted(ends, [whole, min(whole + 1, int(ends[-1]) - 1)], side="right")
    ].tolist()
    return below + (above - below) * hundredths / 100


def _check(octets: UInt8[np.ndarray, " bytes"], lengths: Int64[np.ndarray, " patches"]) -> None:
    if len(lengths) and lengths.min() < 1:
        raise ValueError(
            f"`lengths` must be at least 1; got {lengths.min()} at index {lengths.argmin()}."
        )
    if lengths.sum() != len(octets):
        raise ValueError(
            f"`lengths` must add up to the number of bytes ({len(octets)}); got {lengths.sum()}."
        )


def _word_boundaries(octets: UInt8[np.ndarray, " bytes"]) -> Bool[np.ndarray, " bytes"]:
    """Whether a word starts or ends between each byte and the one before.

    None does so at the first byte.
    """
    word = _WORD_BYTES[octets]
    boundaries = np.zeros(len(octets), bool)
    boundaries[1:] = word[1:] != word[:-1]
    return boundaries


def _share(boundaries: Bool[np.ndarray, " bytes"], lengths: Int64[np.ndarray, " patches"]) -> float:
    cuts = np.cumsum(lengths)[:-1]
    return float(boundaries[cuts].mean()) if len(cuts) else 0.0
