"""Lists of neighbours that another library found."""

import numpy as np
import pandas as pd
import pytest

from builders import mixed, same_neighbours
from sphere_ebm.graph.graph import build_graph
from sphere_ebm.graph.index import NeighbourIndex, nearest_neighbours
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


DISTANCES = {
    "cosine distances": lambda cosine: 1 - cosine,
    "chords of unit vectors": lambda cosine: np.sqrt(2 - 2 * cosine),
    "squared chords": lambda cosine: 2 - 2 * cosine,
    "angles": np.arccos,
}


@pytest.mark.parametrize("kind", DISTANCES)
def test_distances_given_as_similarities_are_found_out(kind):
    given = np.clip(DISTANCES[kind](FOUND.similarity.clip(-1, 1)), -1, 1)
    with pytest.raises(ValueError, match=f"`similarity` must hold cosines.* look like {kind}"):
        Neighbours.from_arrays(FOUND.index, given, EMBEDDINGS)


def test_similarities_of_another_kind_are_the_callers_own():
    ranks = np.broadcast_to(np.linspace(0.9, 0.4, 6), FOUND.index.shape)
    near = np.clip(FOUND.similarity + 0.03, -1, 1)
    for given in (ranks, near):
        assert Neighbours.from_arrays(FOUND.index, given, EMBEDDINGS).index.shape == (300, 6)


def test_lists_and_frames_are_taken_as_arrays_are():
    some = EMBEDDINGS[:40]
    found = nearest_neighbours(some, 3)
    for held in (np.ndarray.tolist, pd.DataFrame, lambda x: pd.DataFrame(x).convert_dtypes()):
        given = Neighbours.from_arrays(held(found.index), held(found.similarity), held(some))
        same_neighbours(given, found)
        np.testing.assert_array_equal(nearest_neighbours(held(some), 3).index, found.index)
        graph = build_graph(held(some), neighbours=3)
        np.testing.assert_array_equal(graph.senders, build_graph(some, neighbours=3).senders)
        answer = NeighbourIndex.build(held(some)).query(held(some), 1)
        np.testing.assert_array_equal(answer.index[:, 0], np.arange(40))


def test_the_least_int8_is_a_number_like_any_other():
    rows = np.array([[-128, 0], [-128, -128], [1, 1], [-100, 3]], np.int8)
    same_neighbours(nearest_neighbours(rows, 2), nearest_neighbours(rows.astype(np.float32), 2))
