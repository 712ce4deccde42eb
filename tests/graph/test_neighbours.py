"""Lists of neighbours that another library found."""

import numpy as np
import pytest

from builders import mixed, same_neighbours
from sphere_ebm.graph.index import nearest_neighbours
from sphere_ebm.graph.neighbours import Neighbours

EMBEDDINGS = mixed(300)
FOUND = nearest_neighbours(EMBEDDINGS, 6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16])
def test_lists_of_another_library_become_neighbours(dtype):
    same_neighbours(
        Neighbours.from_arrays(FOUND.index.astype(dtype), FOUND.similarity.astype(np.float64)),
        FOUND,
    )


def test_similarities_are_computed_from_embeddings():
    given = Neighbours.from_arrays(FOUND.index[:, ::-1], embeddings=EMBEDDINGS)
    np.testing.assert_array_equal(given.index, FOUND.index)
    np.testing.assert_allclose(given.similarity, FOUND.similarity, atol=1e-6)


def test_the_point_itself_is_taken_out():
    with_itself = np.column_stack([np.arange(300), FOUND.index])
    ones = np.column_stack([np.ones(300, np.float32), FOUND.similarity])
    same_neighbours(Neighbours.from_arrays(with_itself, ones), FOUND)
    assert Neighbours.from_arrays(with_itself, embeddings=EMBEDDINGS).index.shape == (300, 6)


def test_short_rows_stay_short():
    given = Neighbours.from_arrays([[-1, 1], [0, 2], [-1, -1]], [[np.nan, 0.5], [0.1, 0.2], [0, 0]])
    np.testing.assert_array_equal(given.index, [[1, -1], [2, 0], [-1, -1]])
    np.testing.assert_array_equal(given.similarity[0], np.array([0.5, -np.inf], np.float32))


def test_zero_vectors_lose_the_neighbours_they_were_given():
    embeddings = mixed(4)
    embeddings[1] = 0
    given = Neighbours.from_arrays([[1, 2], [0, 3], [1, 0], [1, 0]], embeddings=embeddings)
    np.testing.assert_array_equal(given.index, [[2, -1], [-1, -1], [0, -1], [0, -1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1], [2], [0]],), "give `similarity` or `embeddings`"),
        (([[1.0], [2.0], [0.0]], [[1], [1], [1]]), r"array of integers; got float64"),
        (([1, 2, 0], [1, 1, 1]), r"got int64 of shape \(3,\)"),
        (
            ([[1], [3], [0]], [[1], [1], [1]]),
            r"0 \.\. N - 1 = 2.* got \[3\] in row 1\. Number points from 0",
        ),
        (([[1], [-2], [0]], [[1], [1], [1]]), r"got \[-2\] in row 1"),
        (([[1, 1], [2, 0], [0, 1]], np.ones((3, 2))), r"distinct other points .* in row 0"),
        (
            ([[1], [2], [0]], [[1, 1], [1, 1], [1, 1]]),
            r"shape \(3, 1\) of `index`; got float64|got int64",
        ),
        (
            ([[1], [2], [0]], [[0.5], [1.4], [1]]),
            r"cosines in \[-1, 1\]; got \[1.4\] in row 1\. Leave it out",
        ),
        (([[1], [2], [0]], [[0.5], [1], [np.nan]]), r"got \[nan\] in row 2"),
        (
            ([[0, 1], [1, 2], [2, 0]], [[0.0, 0.3]] * 3),
            r"1 of a point with itself; got 0.0 in row 0.*1 - distance",
        ),
        (([[1], [0]], None, mixed(3)), "a row for each of the 3 embeddings; got 2 rows"),
    ],
)
def test_wrong_lists_are_refused_with_row_and_cure(arguments, message):
    with pytest.raises(ValueError, match=message):
        Neighbours.from_arrays(*arguments)
