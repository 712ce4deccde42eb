"""The reusable index.

New points against brute force, and answers that depend on nothing but the row.
"""

import sys

import faiss
import numpy as np
import pytest

from builders import mixed, same_neighbours, sorted_cosines, unit
from sphere_ebm.graph.directions import pointing_directions
from sphere_ebm.graph.held import lengthened, shortened
from sphere_ebm.graph.index import NeighbourIndex, nearest_neighbours
from sphere_ebm.graph.search import ListedSearch

SEARCHES = ("exact", "approximate")


@pytest.mark.parametrize("search", SEARCHES)
def test_new_points_find_the_nearest_of_all(search):
    indexed = mixed(3000)
    new = mixed(200, seed=1)
    found = NeighbourIndex.build(indexed, search=search).query(new, 15)
    exact, cosine = sorted_cosines(new, indexed, 15)
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found.index, exact, strict=True)]
    assert sum(hits) / exact.size >= (1.0 if search == "exact" else 0.98)
    np.testing.assert_allclose(
        found.similarity, np.take_along_axis(cosine, found.index, axis=1), atol=1e-6
    )


@pytest.mark.parametrize("search", SEARCHES)
def test_an_indexed_point_finds_itself_first(search):
    indexed = mixed(2000)
    found = NeighbourIndex.build(indexed, search=search).query(indexed[:300] * 3, 4)
    np.testing.assert_array_equal(found.index[:, 0], np.arange(300))
    np.testing.assert_allclose(found.similarity[:, 0], 1, atol=1e-6)


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("size", [1, 7, 19, 20, 256, 1000])
def test_an_answer_does_not_depend_on_the_batch_nor_on_the_order(search, size):
    index = NeighbourIndex.build(mixed(5000), search=search)
    new = mixed(1000, seed=2)
    new[13] = 0
    whole = index.query(new, 15)
    order = np.random.default_rng(0).permutation(1000)[: 5 * size]
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        part = index.query(new[rows], 15)
        np.testing.assert_array_equal(part.index, whole.index[rows])
        np.testing.assert_array_equal(part.similarity, whole.similarity[rows])


def test_the_approximate_search_does_not_depend_on_the_number_of_threads(monkeypatch):
    # more pieces than threads
    monkeypatch.setattr("sphere_ebm.graph.search._ASKED", 700)
    embeddings = mixed(4000, width=300)
    new = mixed(500, width=300, seed=3)
    found = []
    threads = faiss.omp_get_max_threads()
    try:
        for number in (1, 2, 3):
            faiss.omp_set_num_threads(number)
            monkeypatch.setattr("sphere_ebm.graph.search.at_a_time", lambda number=number: number)
            index = NeighbourIndex.build(embeddings, search="approximate")
            found.append((index.self_neighbours(15), index.query(new, 15)))
    finally:
        faiss.omp_set_num_threads(threads)
    for own, others in found[1:]:
        same_neighbours(own, found[0][0])
        same_neighbours(others, found[0][1])


@pytest.mark.parametrize("search", SEARCHES)
def test_an_index_built_again_answers_alike(search):
    embeddings = mixed(3000)
    new = mixed(100, seed=4)
    one, other = (NeighbourIndex.build(embeddings, search=search, seed=5) for _ in range(2))
    same_neighbours(one.query(new, 9), other.query(new, 9))


@pytest.mark.parametrize("search", SEARCHES)
def test_neighbours_of_the_indexed_points_are_those_of_the_function(search):
    embeddings = mixed(1500)
    index = NeighbourIndex.build(embeddings, search=search, seed=1)
    index.query(embeddings[:50], 3)
    same_neighbours(
        index.self_neighbours(7), nearest_neighbours(embeddings, 7, search=search, seed=1)
    )


@pytest.mark.parametrize("search", SEARCHES)
def test_zero_vectors_find_nothing_and_are_never_found(search):
    indexed = mixed(1200)
    new = mixed(5, seed=1)
    indexed[[0, 700]] = new[2] = 0
    found = NeighbourIndex.build(indexed, search=search).query(new, 1199)
    assert (found.index[2] == -1).all()
    assert np.isneginf(found.similarity[2]).all()
    others = found.index[[0, 1, 3, 4]]
    assert not np.isin(others, [0, 700]).any()
    assert ((others >= 0).sum(axis=1) == 1198).all()
    assert (others[:, -1] == -1).all()


@pytest.mark.parametrize("search", SEARCHES)
def test_equal_points_are_all_found(search):
    indexed = mixed(1500)
    indexed[[900, 30, 450]] = indexed[1200]
    found = NeighbourIndex.build(indexed, search=search).query(indexed[1200:1201], 5)
    np.testing.assert_array_equal(np.sort(found.index[0, :4]), [30, 450, 900, 1200])
    assert found.index[0, 4] not in (30, 450, 900, 1200)


@pytest.mark.parametrize("indexed", [np.zeros((0, 6), np.float32), np.zeros((4, 6), np.float32)])
def test_an_index_of_nothing_finds_nothing(indexed):
    index = NeighbourIndex.build(indexed)
    found = index.query(mixed(3, width=6), 2)
    assert (found.index == -1).all()
    assert found.index.shape == (3, 2)
    assert index.query(np.zeros((0, 6), np.float32), 2).index.shape == (0, 2)


@pytest.mark.parametrize("search", SEARCHES)
def test_progress_of_a_query_grows_to_its_total(search):
    calls: list[tuple[int, int]] = []
    index = NeighbourIndex.build(mixed(1500), search=search)
    index.query(mixed(600, seed=1), 3, progress=lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert calls[-1] == (600, 600)


def test_wrong_queries_are_refused():
    index = NeighbourIndex.build(mixed(50))
    with pytest.raises(ValueError, match="`k` must satisfy 0 < k; got 0"):
        index.query(mixed(3), 0)
    with pytest.raises(
        ValueError, match="`new` must have the width of the indexed embeddings, 30; got 4"
    ):
        index.query(mixed(3, width=4), 2)
    with pytest.raises(ValueError, match="`new` must be finite; got NaN or infinity in row 1"):
        index.query(np.where(np.arange(3)[:, None] == 1, np.nan, mixed(3)).astype(np.float32), 2)
    with pytest.raises(ValueError, match=r"`search` must be .* got 'fast'"):
        NeighbourIndex.build(mixed(3), search="fast")


def test_without_faiss_the_index_is_exact_and_says_so(monkeypatch):
    monkeypatch.setattr("sphere_ebm.graph.index.EXACT_LIMIT", 100)
    monkeypatch.setitem(sys.modules, "faiss", None)
    index = NeighbourIndex.build(mixed(2000))
    assert not index.approximate
    assert "pip install 'faiss-cpu>=" in index.note


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8])
def test_lists_serve_every_width(width):
    embeddings = np.random.default_rng(0).standard_normal((1100, width)).astype(np.float32)
    directions = unit(embeddings.astype(np.float64)).astype(np.float32)
    search = ListedSearch(faiss, directions, 0, None)
    index, cosine = search.nearest(directions[:40], np.arange(40, dtype=np.int32), 3)
    np.testing.assert_allclose(
        cosine, np.einsum("nd,nkd->nk", directions[:40], directions[index]), atol=1e-6
    )
    assert not (index == np.arange(40)[:, None]).any()


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("copies", [False, True])
def test_some_points_find_what_all_find_and_directions_may_lie_on_the_disk(
    search, copies, tmp_path
):
    embeddings = mixed(1500)
    embeddings[[3, 800]] = 0
    if copies:
        embeddings[1100:1130] = embeddings[5]
        embeddings[40] = embeddings[1400]
    whole = NeighbourIndex.build(embeddings, search=search).self_neighbours(15)
    unit, pointing = pointing_directions(embeddings)
    (tmp_path / "unit").write_bytes(unit.data)
    mapped = np.memmap(tmp_path / "unit", np.float32, "r+", shape=unit.shape)
    index = NeighbourIndex.of_directions(mapped, pointing, 1500, search=search)
    assert index.approximate is (search == "approximate")
    for rows in (np.arange(700), np.asarray([3, 5, 40, 800, 1100, 1129, 1400, 1499])):
        found = index.neighbours_of(rows, 15)
        np.testing.assert_array_equal(found.index, whole.index[rows])
        np.testing.assert_array_equal(found.similarity, whole.similarity[rows])


@pytest.mark.parametrize("search", SEARCHES)
def test_directions_in_16_bits_find_what_they_would_find_in_float32(search, tmp_path):
    embeddings = mixed(1500)
    embeddings[3] = 0
    embeddings[1100:1130] = embeddings[5]
    unit, pointing = pointing_directions(embeddings)
    held = shortened(unit, np.dtype(np.int16))
    (tmp_path / "unit").write_bytes(held.data)
    mapped = np.memmap(tmp_path / "unit", np.int16, "r+", shape=unit.shape)
    found, wide, exact = (
        NeighbourIndex.of_directions(given, pointing, 1500, search=search).neighbours_of(
            np.arange(1500), 15
        )
        for given in (mapped, lengthened(held), unit.copy())
    )
    np.testing.assert_array_equal(found.index, wide.index)
    np.testing.assert_array_equal(found.similarity, wide.similarity)
    same = found.index == exact.index
    assert same.mean() > 0.97
    np.testing.assert_allclose(found.similarity[same], exact.similarity[same], atol=1e-4)
