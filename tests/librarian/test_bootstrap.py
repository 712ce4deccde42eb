"""Intervals over documents: they cover what they should, and see what patches alone would not."""

import numpy as np
import pytest

from sphere_ebm.librarian.bootstrap import document_draws, interval, means, medians

DOCUMENT = np.repeat(np.arange(30), 20)


def sample(seed, shift=0.0):
    """Values whose documents differ by a standard deviation of 1, patches within by .5."""
    rng = np.random.default_rng(seed)
    own = rng.standard_normal(30)[DOCUMENT]
    return own + 0.5 * rng.standard_normal(len(DOCUMENT)) + shift


def test_intervals_cover_the_mean_about_as_often_as_they_say():
    hits = sum(
        low <= 0 <= high
        for _, low, high in (interval(sample(seed), DOCUMENT, draws=200) for seed in range(200))
    )
    # 30 documents: percentile intervals are a little short; patches alone would cover .3
    assert 170 <= hits <= 197


def test_patches_as_their_own_documents_would_be_too_sure():
    values = sample(1)
    over_documents = interval(values, DOCUMENT)
    over_patches = interval(values, np.arange(len(values)))
    assert over_documents.high - over_documents.low > 3 * (over_patches.high - over_patches.low)


def test_a_pair_shares_what_is_hard_about_a_document():
    values = sample(2)
    better = interval(values + 0.1, DOCUMENT, against=values)
    assert better.value == pytest.approx(0.1)
    assert better.above_zero
    assert not interval(values, DOCUMENT, against=values).above_zero
    alone = interval(values + 0.1, DOCUMENT)
    assert alone.high - alone.low > 100 * (better.high - better.low)


def test_statistics_are_those_of_the_documents_drawn():
    values = np.array([1.0, 2.0, 3.0, 10.0, 20.0])
    document = np.array([0, 0, 0, 1, 1])
    drawn = np.array([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    np.testing.assert_allclose(means(values, document, drawn), [7.2, 2, 15])
    np.testing.assert_allclose(medians(values, document, drawn), [3, 2, 10])
    assert interval(values, document, medians).value == 3


def test_draws_are_of_as_many_documents_and_repeatable():
    drawn = document_draws(7, seed=3, draws=50)
    np.testing.assert_array_equal(drawn.sum(axis=1), 7)
    np.testing.assert_array_equal(drawn, document_draws(7, seed=3, draws=50))
    assert (drawn != document_draws(7, seed=4, draws=50)).any()


@pytest.mark.parametrize("patches", [0, 3])
def test_nothing_to_compare_is_refused(patches):
    with pytest.raises(ValueError, match="the same patches"):
        interval(
            np.zeros(patches), np.zeros(patches, int), against=np.zeros(patches + patches // 3)
        )
