from pathlib import Path

import numpy as np
import pytest

from sphere_ebm.errors import ShardError
from sphere_ebm.files.shards.boundaries import (
    check_agreement,
    starts_from_indices,
    starts_from_lengths,
    starts_from_mask,
)

FILE = Path("x.safetensors")


def test_lengths_give_consecutive_starts():
    np.testing.assert_array_equal(starts_from_lengths(FILE, np.array([2, 1, 3]), 6), [0, 2, 3])


@pytest.mark.parametrize(
    ("lengths", "total", "says"),
    [
        ([2, 0, 1], 3, "index 1: length 0"),
        ([2, -1], 1, "index 1: length -1"),
        ([2, 3, 1], 4, "index 1: the patch ends at 5, beyond 4"),
        ([2, 1], 4, "add up to 3, but there are 4"),
        ([2**31], None, "index 0: length 2147483648"),
        ([2**30, 2**30], None, "index 1: the patch ends at 2147483648"),
        ([], 1, "add up to 0"),
    ],
)
def test_bad_lengths_are_refused_at_the_first_bad_index(lengths, total, says):
    with pytest.raises(ShardError, match=says):
        starts_from_lengths(FILE, np.array(lengths, np.int64), total)


@pytest.mark.parametrize(
    ("indices", "says"),
    [
        ([1, 2], "index 0: the first patch starts at 1"),
        ([0, 2, 2], "index 2: 2 does not rise"),
        ([0, 5, 3], "index 1: 5 does not rise strictly or is beyond the 5 tokens"),
        ([0, 3, -1], "index 2: -1"),
        ([], "no patch boundaries for 5 tokens"),
    ],
)
def test_bad_indices_are_refused_at_the_first_bad_index(indices, says):
    with pytest.raises(ShardError, match=says):
        starts_from_indices(FILE, np.array(indices, np.int64), 5)


@pytest.mark.parametrize(
    ("mask", "says"),
    [([0, 1], "index 0: the first token is no patch start"), ([1, 0, 2], "index 2: 2 is neither")],
)
def test_bad_masks_are_refused_at_the_first_bad_index(mask, says):
    with pytest.raises(ShardError, match=says):
        starts_from_mask(FILE, np.array(mask))


def test_nothing_is_a_valid_set_of_boundaries_for_nothing():
    none = np.empty(0, np.int64)
    assert not len(starts_from_lengths(FILE, none, 0))
    assert not len(starts_from_indices(FILE, none, 0))
    assert not len(starts_from_mask(FILE, none))


def test_a_contradiction_is_refused_at_the_first_patch_that_differs():
    starts = np.array([0, 2, 4])
    check_agreement(FILE, {"patch_indices": starts, "patch_mask": starts})
    with pytest.raises(
        ShardError,
        match="`patch_mask` at index 1: says patch 1 starts at 3, `patch_indices` says 2",
    ):
        check_agreement(FILE, {"patch_indices": starts, "patch_mask": np.array([0, 3, 4])})
    with pytest.raises(
        ShardError, match="`patch_mask` at index 2: has 2 patches, `patch_indices` has 3"
    ):
        check_agreement(FILE, {"patch_indices": starts, "patch_mask": np.array([0, 2])})
