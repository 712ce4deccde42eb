"""The reusable index.

New points against brute force, and answers that depend on nothing but the row.
"""

import sys

import faiss
import numpy as np
import pytest

from sphere_ebm.graph.neighbours import NeighbourIndex, Neighbours, nearest_neighbours
from sphere_ebm.graph.search import DistinctDirections, ListedSearch

SEARCHES = ("exact", "approximate")


def clustered(n: int, width: int = 30, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((60, width))
    return (centres[rng.integers(0, 60, n)] + 0.5 * rng.standard_normal((n, width))).astype(
        np.float32
    )


def unit(embeddings: np.ndarray) -> np.ndarray:
    return embeddings / np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)


def same(one, other) -> None:
    np.testing.assert_array_equal(one.index, other.index)
    np.testing.assert_array_equal(one.similarity, other.similarity)


@pytest.mark.parametrize("search", SEARCHES)
def test_new_points_find_the_nearest_of_all(search):
    indexed = clustered(3000)
    new = clustered(200, seed=1)
    found = NeighbourIndex.build(indexed, search=search).query(new, 15)
    cosine = unit(new) @ unit(indexed).T
    exact = np.argsort(-cosine, axis=1, kind="stable")[:, :15]
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found.index, exact, strict=True)]
    assert sum(hits) / exact.size >= (1.0 if search == "exact" else 0.98)
    np.testing.assert_allclose(
        found.similarity, np.take_along_axis(cosine, found.index, axis=1), atol=1e-6
    )


@pytest.mark.parametrize("search", SEARCHES)
def test_an_indexed_point_finds_itself_first(search):
    indexed = clustered(2000)
    found = NeighbourIndex.build(indexed, search=search).query(indexed[:300] * 3, 4)
    np.testing.assert_array_equal(found.index[:, 0], np.arange(300))
    np.testing.assert_allclose(found.similarity[:, 0], 1, atol=1e-6)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("size", [1, 7, 19, 20, 256, 1000])
def test_an_answer_does_not_depend_on_the_batch_nor_on_the_order(search, size):
    index = NeighbourIndex.build(clustered(5000), search=search)
    new = clustered(1000, seed=2)
    new[13] = 0
    whole = index.query(new, 15)
    order = np.random.default_rng(0).permutation(1000)[: 5 * size]
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        part = index.query(new[rows], 15)
        np.testing.assert_array_equal(part.index, whole.index[rows])
        np.testing.assert_array_equal(part.similarity, whole.similarity[rows])


def test_the_approximate_search_does_not_depend_on_the_number_of_threads():
    embeddings = clustered(4000, width=300)
    new = clustered(500, width=300, seed=3)
    found = []
    threads = faiss.omp_get_max_threads()
    try:
        for number in (1, 2, 3):
            faiss.omp_set_num_threads(number)
            index = NeighbourIndex.build(embeddings, search="approximate")
            found.append((index.self_neighbours(15), index.query(new, 15)))
    finally:
        faiss.omp_set_num_threads(threads)
    for own, others in found[1:]:
        same(own, found[0][0])
        same(others, found[0][1])


@pytest.mark.parametrize("search", SEARCHES)
def test_an_index_built_again_answers_alike(search):
    embeddings = clustered(3000)
    new = clustered(100, seed=4)
    one, other = (NeighbourIndex.build(embeddings, search=search, seed=5) for _ in range(2))
    same(one.query(new, 9), other.query(new, 9))


@pytest.mark.parametrize("search", SEARCHES)
def test_neighbours_of_the_indexed_points_are_those_of_the_function(search):
    embeddings = clustered(1500)
    index = NeighbourIndex.build(embeddings, search=search, seed=1)
    index.query(embeddings[:50], 3)
    same(index.self_neighbours(7), nearest_neighbours(embeddings, 7, search=search, seed=1))


@pytest.mark.parametrize("search", SEARCHES)
def test_zero_vectors_find_nothing_and_are_never_found(search):
    indexed = clustered(1200)
    new = clustered(5, seed=1)
    indexed[[0, 700]] = new[2] = 0
    found = NeighbourIndex.build(indexed, search=search).query(new, 1199)
    assert (found.index[2] == -1).all()
    assert np.isneginf(found.similarity[2]).all()
    others = found.index[[0, 1, 3, 4]]
    assert not np.isin(others, [0, 700]).any()
    assert ((others >= 0).sum(axis=1) == 1198).all()
    assert (others[:, -1] == -1).all()


@pytest.mark.parametrize("search", SEARCHES)
def test_equal_points_are_all_found_in_rising_order(search):
    indexed = clustered(1500)
    indexed[[900, 30, 450]] = indexed[1200]
    found = NeighbourIndex.build(indexed, search=search).query(indexed[1200:1201], 5)
    np.testing.assert_array_equal(found.index[0, :4], [30, 450, 900, 1200])
    assert found.index[0, 4] not in (30, 450, 900, 1200)


@pytest.mark.parametrize("indexed", [np.zeros((0, 6), np.float32), np.zeros((4, 6), np.float32)])
def test_an_index_of_nothing_finds_nothing(indexed):
    index = NeighbourIndex.build(indexed)
    found = index.query(clustered(3, width=6), 2)
    assert (found.index == -1).all()
    assert found.index.shape == (3, 2)
    assert index.query(np.zeros((0, 6), np.float32), 2).index.shape == (0, 2)


@pytest.mark.parametrize("search", SEARCHES)
def test_progress_of_a_query_grows_to_its_total(search):
    calls: list[tuple[int, int]] = []
    index = NeighbourIndex.build(clustered(1500), search=search)
    index.query(clustered(600, seed=1), 3, progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert calls[-1] == (600, 600)


def test_wrong_queries_are_refused():
    index = NeighbourIndex.build(clustered(50))
    with pytest.raises(ValueError, match="`k` must satisfy 0 < k; got 0"):
        index.query(clustered(3), 0)
    with pytest.raises(
        ValueError, match="`new` must have the width of the indexed embeddings, 30; got 4"
    ):
        index.query(clustered(3, width=4), 2)
    with pytest.raises(ValueError, match="`new` must be finite; got NaN or infinity in row 1"):
        index.query(
            np.where(np.arange(3)[:, None] == 1, np.nan, clustered(3)).astype(np.float32), 2
        )
    with pytest.raises(ValueError, match=r"`search` must be .* got 'fast'"):
        NeighbourIndex.build(clustered(3), search="fast")


def test_without_faiss_the_index_is_exact_and_says_so(monkeypatch):
    monkeypatch.setattr("sphere_ebm.graph.neighbours.EXACT_LIMIT", 100)
    monkeypatch.setitem(sys.modules, "faiss", None)
    index = NeighbourIndex.build(clustered(2000))
    assert not index.approximate
    assert "sphere-ebm[ann]" in index.note


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_lists_serve_every_width(width):
    embeddings = np.random.default_rng(0).standard_normal((1100, width)).astype(np.float32)
    directions = unit(embeddings).astype(np.float32)
    search = ListedSearch(faiss, directions, 0, None)
    index, cosine = search.nearest(directions[:40], np.arange(40, dtype=np.int32), 3)
    np.testing.assert_allclose(
        cosine, np.einsum("nd,nkd->nk", directions[:40], directions[index]), atol=1e-6
    )
    assert not (index == np.arange(40)[:, None]).any()


def test_groups_of_equal_rows_are_numbered_by_their_first_member():
    rows = np.array([[1, 0], [0, 1], [1, 0], [-1, 0], [0, 1]], np.float32)
    groups = DistinctDirections(rows)
    np.testing.assert_array_equal(groups.first, [0, 1, 3])
    np.testing.assert_array_equal(groups.group, [0, 1, 0, 2, 1])


def test_rows_of_one_hash_are_told_apart(monkeypatch):
    monkeypatch.setattr(
        "sphere_ebm.graph.search._hashes", lambda unit: np.zeros(len(unit), np.uint64)
    )
    assert len(DistinctDirections(clustered(50))) == 50


EMBEDDINGS = clustered(300)
FOUND = nearest_neighbours(EMBEDDINGS, 6)


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16])
def test_lists_of_another_library_become_neighbours(dtype):
    same(
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
    same(Neighbours.from_arrays(with_itself, ones), FOUND)
    assert Neighbours.from_arrays(with_itself, embeddings=EMBEDDINGS).index.shape == (300, 6)


def test_short_rows_stay_short():
    given = Neighbours.from_arrays([[-1, 1], [0, 2], [-1, -1]], [[np.nan, 0.5], [0.1, 0.2], [0, 0]])
    np.testing.assert_array_equal(given.index, [[1, -1], [2, 0], [-1, -1]])
    np.testing.assert_array_equal(given.similarity[0], np.array([0.5, -np.inf], np.float32))


def test_zero_vectors_lose_the_neighbours_they_were_given():
    embeddings = clustered(4)
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
        (([[1], [0]], None, clustered(3)), "a row for each of the 3 embeddings; got 2 rows"),
    ],
)
def test_wrong_lists_are_refused_with_row_and_cure(arguments, message):
    with pytest.raises(ValueError, match=message):
        Neighbours.from_arrays(*arguments)
