import numpy as np
import pytest

from builders import unit
from sphere_ebm.librarian.sequence.measure import bootstrap, cosines, ranks


def candidates(rows: int) -> np.ndarray:
    return unit(np.random.default_rng(3).standard_normal((rows, 5))).astype(np.float32)


def test_cosines_are_those_of_directions():
    one = candidates(20)
    other = candidates(21)[1:]
    expected = np.sum(one * other, axis=1)
    assert np.allclose(cosines(3 * one, 0.1 * other), expected, atol=1e-6)
    assert cosines(np.zeros((2, 5), np.float32), one[:2]).tolist() == [0, 0]


def test_ranks_count_what_is_nearer_but_for_what_was_seen():
    rows = candidates(30)
    targets = np.array([4, 17])
    predicted = rows[[3, 9]] + 0.01
    found = ranks(predicted, rows, targets, 2, np.ones(30, bool))
    for number, target in enumerate(targets):
        scores = rows @ unit(predicted[number])
        others = set(range(30)) - {target, target - 1, target - 2}
        nearer = sum(scores[other] > scores[target] for other in others)
        assert found[number] == 1 + nearer


def test_the_true_vector_itself_has_rank_one_and_no_direction_the_middle():
    rows = candidates(11)
    targets = np.array([5])
    everything = np.ones(11, bool)
    assert ranks(rows[[5]], rows, targets, 0, everything).tolist() == [1]
    assert ranks(np.zeros((1, 5), np.float32), rows, targets, 0, everything).tolist() == [6]


def test_rows_without_a_direction_are_no_candidates():
    rows = candidates(8)
    rows[2] = 0
    directed = rows.any(axis=1)
    away = -rows[[7]]
    assert ranks(away, rows, np.array([7]), 0, np.ones(8, bool)).tolist() == [8]
    assert ranks(away, rows, np.array([7]), 0, directed).tolist() == [7]


def test_intervals_come_from_documents_and_not_from_vectors():
    # forty documents that differ from each other, whose vectors are all alike
    level = np.random.default_rng(0).standard_normal(40)
    values = np.repeat(level, 50)
    document = np.repeat(np.arange(40), 50)
    interval = bootstrap(values, document, 2000, 0)
    expected = 1.96 * level.std() / np.sqrt(40)
    width = (interval.high - interval.low) / 2
    assert interval.mean == pytest.approx(level.mean())
    assert expected * 0.85 < width < expected * 1.15
    independent = bootstrap(values, np.arange(len(values)), 200, 0)
    assert independent.high - independent.low < 0.3 * width


def test_equal_pairs_have_an_interval_of_no_width():
    assert bootstrap(np.zeros(9), np.arange(9) // 3, 50, 0) == (0, 0, 0)
