"""Rank correlation, to the bit as SciPy's."""

import math

import numpy as np
import pytest
from scipy.stats import rankdata, spearmanr

from sphere_ebm.quality.points import rank_correlation, ranks


@pytest.mark.parametrize("size", [3, 10, 5000])
@pytest.mark.parametrize("kind", ["all differ", "many ties", "float32"])
def test_the_correlation_of_ranks_is_spearmans(size, kind):
    rng = np.random.default_rng(size)
    for _ in range(10):
        one = rng.standard_normal(size)
        other = one + rng.standard_normal(size)
        if kind == "many ties":
            one = np.append(np.round(one), 9)
            other = np.append(np.round(other), 9)
        if kind == "float32":
            one = one.astype(np.float32)
        np.testing.assert_array_equal(ranks(one), rankdata(one))
        assert rank_correlation(one, other) == spearmanr(one, other).statistic


def test_what_does_not_vary_has_no_correlation():
    assert math.isnan(rank_correlation(np.ones(5), np.arange(5.0)))
    assert math.isnan(rank_correlation(np.arange(2.0), np.arange(2.0)))
