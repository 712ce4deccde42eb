"""Where patches begin: from lengths, indices or a mask, each checked, and against each other."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from sphere_ebm.errors import ShardError

_INT32_MAX = 2**31 - 1
_MAKER = "write the boundaries again where the file is made"


def starts_from_lengths(
    path: Path, lengths: Int64[np.ndarray, " patches"], total: int | None
) -> Int64[np.ndarray, " patches"]:
    """Starts of consecutive patches. With `total`, the lengths must add up to it.

    Raises:
        ShardError: at the first length < 1, at the first patch that ends beyond `total` (or beyond
            int32), and if the patches end before `total`.
    """
    bad = (lengths < 1) | (lengths > _INT32_MAX)
    if bad.any():
        index = int(np.argmax(bad))
        raise ShardError(
            path, f"length {lengths[index]} is not in 1 to 2^31-1", "patch_lengths", index, _MAKER
        )
    ends = np.cumsum(lengths)
    limit = _INT32_MAX if total is None else total
    if (ends > limit).any():
        index = int(np.argmax(ends > limit))
        raise ShardError(
            path, f"the patch ends at {ends[index]}, beyond {limit}", "patch_lengths", index, _MAKER
        )
    covered = int(ends[-1]) if len(ends) else 0
    if total is not None and covered != total:
        problem = f"the {len(lengths)} lengths add up to {covered}, but there are {total} tokens"
        raise ShardError(path, problem, "patch_lengths", cure=_MAKER)
    return ends - lengths


def starts_from_indices(
    path: Path, indices: Int64[np.ndarray, " patches"], total: int
) -> Int64[np.ndarray, " patches"]:
    """`indices` themselves, once they are known to rise strictly from 0 and to stay below `total`.

    Raises:
        ShardError: at the first index that does not.
    """
    if len(indices) and indices[0] != 0:
        raise ShardError(
            path, f"the first patch starts at {indices[0]}, not at 0", "patch_indices", 0, _MAKER
        )
    bad = indices >= total
    bad[1:] |= indices[1:] <= indices[:-1]
    if bad.any():
        index = int(np.argmax(bad))
        problem = f"{indices[index]} does not rise strictly or is beyond the {total} tokens"
        raise ShardError(path, problem, "patch_indices", index, _MAKER)
    _require_patches(path, "patch_indices", len(indices), total)
    return indices


def starts_from_mask(
    path: Path, mask: Int64[np.ndarray, " tokens"]
) -> Int64[np.ndarray, " patches"]:
    """Positions of the ones of a mask of patch starts; the first token must be one.

    Raises:
        ShardError: at the first value other than 0 or 1, and at index 0 if the document does not
            start there.
    """
    check_mask(path, mask)
    if len(mask) and mask[0] != 1:
        problem = "the first token is no patch start"
        raise ShardError(
            path,
            problem,
            "patch_mask",
            0,
            "a part that continues a document needs the parts before it",
        )
    return np.flatnonzero(mask)


def check_mask(path: Path, mask: Int64[np.ndarray, " tokens"], name: str = "patch_mask") -> None:
    """Check that a mask holds ones and zeros only.

    Raises:
        ShardError: at the first value of a mask other than 0 or 1.
    """
    bad = (mask != 0) & (mask != 1)
    if bad.any():
        index = int(np.argmax(bad))
        raise ShardError(path, f"{mask[index]} is neither 0 nor 1", name, index, _MAKER)


def check_agreement(path: Path, found: dict[str, Int64[np.ndarray, " _"]]) -> None:
    """`found` maps tensor names to the patch starts they give; all must be the same.

    Raises:
        ShardError: at the first patch in which a tensor contradicts the first one.
    """
    (reference, starts), *others = found.items()
    for name, other in others:
        common = min(len(starts), len(other))
        differ = np.flatnonzero(starts[:common] != other[:common])
        if len(differ):
            index = int(differ[0])
            problem = (
                f"says patch {index} starts at {other[index]}, `{reference}` says {starts[index]}"
            )
            raise ShardError(path, problem, name, index, _MAKER)
        if len(starts) != len(other):
            problem = f"has {len(other)} patches, `{reference}` has {len(starts)}"
            raise ShardError(path, problem, name, common, _MAKER)


def _require_patches(path: Path, name: str, patches: int, total: int) -> None:
    if total and not patches:
        raise ShardError(path, f"no patch boundaries for {total} tokens", name, cure=_MAKER)
