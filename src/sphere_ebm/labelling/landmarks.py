"""Landmarks: the points that are fitted where there are too many to fit all.

The others join the map they make.
"""

import os
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from jaxtyping import Int64

# Peak memory of a run that fits all of its points, in bytes per point: six copies of the
# embeddings, and what the neighbour search, the graph, its program and the sampler hold at k = 15.
# Measured with `python -m benchmarks.scale`.
_COPIES = 6
_BYTES_PER_POINT = 4_500
_SHARE_OF_MEMORY = 0.6
_UNKNOWN_MEMORY = 8 * 2**30


def most_fitted(width: int) -> int:
    """How many points of `width` dimensions can be fitted together in this machine's memory.

    They take at most 60 % of it.

    Rounded down to one digit: the same number on machines that call themselves equally large, and
    after a reboot.
    """
    fitting = max(1, int(_SHARE_OF_MEMORY * _memory() / (4 * width * _COPIES + _BYTES_PER_POINT)))
    unit = 10 ** (len(str(fitting)) - 1)
    return fitting // unit * unit


def choose_landmarks(
    counts: Sequence[int], number: int, seed: int
) -> list[Int64[np.ndarray, " _"]]:
    """For each shard of `counts[i]` points the rows that become landmarks, rising.

    They are at most `number` in all.

    Rows are drawn uniformly at random within each shard, and each shard gives the same share, so
    that landmarks cover the data as densely as it lies. Where there are as many landmarks as shards
    with points, each of these gives one. Choosing points far from each other instead, for a more
    even cover, maps worse: on wordnet-10k with 2 500 landmarks recall@15 of the whole map is .15
    for farthest points, .17 for half of both, .19 for random ones.
    """
    held = np.asarray(counts, np.int64)
    sure = np.minimum(held, 1 if np.count_nonzero(held) <= number else 0)
    share = min(1.0, (number - int(sure.sum())) / max(int((held - sure).sum()), 1))
    # by cumulative rounding: no drift however many shards there are
    bounds = np.floor(np.append(0, np.cumsum(held - sure)) * share + 1e-9).astype(np.int64)
    chosen = []
    for i, (count, take) in enumerate(zip(counts, sure + np.diff(bounds), strict=True)):
        rows = (
            np.random.default_rng([seed, 2, i]).choice(count, take, replace=False)
            if count
            else np.zeros(0)
        )
        chosen.append(np.sort(rows).astype(np.int64))
    return chosen


def _memory() -> int:
    """Bytes of physical memory, or of the control group that this process lives in."""
    found = []
    # AttributeError: Windows has no `sysconf`; ValueError: other systems may lack the name.
    with suppress(AttributeError, ValueError):
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:
                found.append(int(file.read()))
        except (OSError, ValueError):  # no control group, or one without a limit
            continue
    return min(found, default=_UNKNOWN_MEMORY)
