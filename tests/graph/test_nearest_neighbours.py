"""Nearest neighbours against brute force, and the cases where neighbours are missing or equal."""

import sys

import faiss
import numpy as np
import pytest

from builders import sorted_cosines
from sphere_ebm.errors import MissingPackageError
from sphere_ebm.graph import index as module
from sphere_ebm.graph import search as engine
from sphere_ebm.graph.index import NeighbourIndex, nearest_neighbours
from sphere_ebm.graph.neighbours import Neighbours


def points(n: int, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def clustered(n: int, width: int = 32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n // 20, width))
    return (
        centres[rng.integers(0, len(centres), n)] + 0.5 * rng.standard_normal((n, width))
    ).astype(np.float32)


def brute_force(embeddings: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    index, cosine = sorted_cosines(
        embeddings, embeddings, min(k, len(embeddings) - 1), itself=False
    )
    return index, np.take_along_axis(cosine, index, axis=1)


def recall(found: Neighbours, exact: Neighbours) -> float:
    hits = [len(np.intersect1d(a, b)) for a, b in zip(found.index, exact.index, strict=True)]
    return sum(hits) / exact.index.size


def lists_of_few_points(monkeypatch) -> None:
    """Has few points searched through lists too, with all of them re-ranked, so that nothing is
    missed.
    """
    monkeypatch.setattr(module, "MIN_LISTED", 16)
    monkeypatch.setattr(engine, "_CANDIDATES", 300)


@pytest.mark.parametrize("n", [2, 3, 17, 255, 256, 257, 700])
def test_exact_search_equals_brute_force(n):
    embeddings = points(n)
    found = nearest_neighbours(embeddings, 7, search="exact")
    index, cosine = brute_force(embeddings, 7)
    np.testing.assert_array_equal(found.index, index)
    np.testing.assert_allclose(found.similarity, cosine, atol=1e-6)


def test_blocks_of_fewer_rows_give_the_same_neighbours(monkeypatch):
    embeddings = points(600)
    whole = nearest_neighbours(embeddings, 5)
    monkeypatch.setattr(engine, "_BLOCK_BYTES", 4 * 768 * 37)
    np.testing.assert_array_equal(nearest_neighbours(embeddings, 5).index, whole.index)


def test_every_block_of_a_search_shares_one_compilation():
    before = engine._block_nearest._cache_size()
    nearest_neighbours(points(1100, width=9), 4)
    nearest_neighbours(points(1111, width=9), 4)
    assert engine._block_nearest._cache_size() == before + 1


@pytest.mark.parametrize("search", ["exact", "approximate"])
@pytest.mark.parametrize("n", [0, 1])
def test_too_few_points_have_no_neighbours(n, search):
    assert nearest_neighbours(points(n), 5, search=search).index.shape == (n, 0)


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_with_fewer_points_than_k_all_others_are_neighbours(search):
    found = nearest_neighbours(points(4), 15, search=search)
    assert [set(row) for row in found.index.tolist()] == [{0, 1, 2, 3} - {i} for i in range(4)]


def test_length_of_a_vector_does_not_matter():
    embeddings = points(100)
    scaled = embeddings * np.logspace(-42, 35, 100, dtype=np.float64)[:, None].astype(np.float32)
    scaled[:12] = embeddings[:12] * np.float32(1e-30)
    np.testing.assert_array_equal(
        nearest_neighbours(scaled, 5).index, nearest_neighbours(embeddings, 5).index
    )


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_zero_vectors_have_no_neighbours_and_are_nobodys(search, monkeypatch):
    lists_of_few_points(monkeypatch)
    embeddings = points(60)
    zero = [0, 13, 59]
    embeddings[zero] = 0
    found = nearest_neighbours(embeddings, 58, search=search)
    assert (found.index[zero] == -1).all()
    assert np.isneginf(found.similarity[zero]).all()
    assert not np.isin(found.index, zero).any()
    others = np.setdiff1d(np.arange(60), zero)
    assert ((found.index[others] >= 0).sum(axis=1) == 56).all()


def test_only_zero_vectors_is_no_error():
    assert (nearest_neighbours(np.zeros((5, 3), np.float32), 2).index == -1).all()


@pytest.mark.parametrize("search", ["exact", "approximate"])
@pytest.mark.parametrize("copies", [2, 3, 8, 9, 10, 200])
def test_neighbours_among_duplicates_have_the_largest_similarities(copies, search, monkeypatch):
    lists_of_few_points(monkeypatch)
    embeddings = points(300)
    embeddings[50 : 50 + copies] = embeddings[50]
    embeddings[260:263] = embeddings[260]
    found = nearest_neighbours(embeddings, 8, search=search)
    _, cosine = brute_force(embeddings, 8)
    np.testing.assert_allclose(found.similarity, cosine, atol=1e-6)
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    listed = np.einsum("nd,nkd->nk", unit, unit[found.index])
    np.testing.assert_allclose(found.similarity, listed, atol=1e-6)


def test_duplicates_choose_each_other_evenly():
    embeddings = points(500)
    embeddings[:300] = embeddings[0]
    index = nearest_neighbours(embeddings, 6).index[:300]
    chosen = {(i, j) for i, row in enumerate(index.tolist()) for j in row}
    assert all((j, i) in chosen for i, j in chosen)
    assert (np.bincount(index.ravel(), minlength=300) == 6).all()


def test_a_map_of_one_vector_only_has_neighbours():
    found = nearest_neighbours(np.ones((40, 3), np.float32), 4)
    assert (found.index >= 0).all()
    np.testing.assert_array_equal(found.similarity, 1)


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_same_input_and_seed_give_the_same_bits(search):
    embeddings = clustered(3000)
    first, second = (nearest_neighbours(embeddings, 10, search=search, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.index, second.index)
    np.testing.assert_array_equal(first.similarity, second.similarity)


def test_exact_search_follows_a_permutation_of_the_points():
    embeddings = points(400)
    order = np.random.default_rng(1).permutation(400)
    found = nearest_neighbours(embeddings, 6)
    permuted = nearest_neighbours(embeddings[order], 6)
    np.testing.assert_array_equal(order[permuted.index], found.index[order])


def test_approximate_search_finds_nearly_all_neighbours():
    embeddings = clustered(3000)
    exact = nearest_neighbours(embeddings, 15, search="exact")
    assert recall(nearest_neighbours(embeddings, 15, search="approximate"), exact) >= 0.98


def test_points_whose_lists_are_too_short_are_searched_exactly(monkeypatch):
    embeddings = clustered(1500)
    monkeypatch.setattr(engine, "_CANDIDATES", 1)
    monkeypatch.setattr(engine, "_SPARE", 0)
    monkeypatch.setattr(engine, "_PROBES", 1)
    searched = []
    exact = engine.ExactSearch.nearest
    monkeypatch.setattr(
        engine.ExactSearch,
        "nearest",
        lambda self, q, own, k: (searched.append(own), exact(self, q, own, k))[1],
    )
    found = nearest_neighbours(embeddings, 25, search="approximate")
    (rows,) = searched
    assert 0 < len(rows) < 1500
    np.testing.assert_array_equal(found.index[rows], brute_force(embeddings, 25)[0][rows])


def test_approximate_search_leaves_the_thread_count_as_it_was():
    before = faiss.omp_get_max_threads()
    nearest_neighbours(points(1100), 3, search="approximate")
    assert faiss.omp_get_max_threads() == before


def test_auto_is_approximate_above_the_limit(monkeypatch):
    monkeypatch.setattr(module, "EXACT_LIMIT", 1100)
    for n in (1100, 1101):
        index = NeighbourIndex.build(points(n))
        assert index.note is None
        assert index.approximate == (n > 1100)


def test_few_points_are_searched_exactly_whatever_is_asked():
    assert not NeighbourIndex.build(points(1023), search="approximate").approximate
    assert NeighbourIndex.build(points(1024), search="approximate").approximate


def test_auto_without_faiss_is_exact_and_says_so(monkeypatch):
    monkeypatch.setattr(module, "EXACT_LIMIT", 100)
    monkeypatch.setitem(sys.modules, "faiss", None)
    found = nearest_neighbours(points(101), 3)
    np.testing.assert_array_equal(found.index, brute_force(points(101), 3)[0])
    assert "pip install 'faiss-cpu>=" in found.note
    assert nearest_neighbours(points(100), 3).note is None


def test_approximate_without_faiss_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingPackageError, match=r"`faiss`: pip install 'faiss-cpu>="):
        nearest_neighbours(points(10), 3, search="approximate")


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_progress_grows_to_its_total(search):
    calls = []
    nearest_neighbours(
        points(1700), 3, search=search, progress=lambda done, total: calls.append((done, total))
    )
    done = [d for d, _ in calls]
    assert done == sorted(set(done))
    assert calls[-1][0] == calls[-1][1]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_non_finite_row_is_named(bad):
    embeddings = points(20)
    embeddings[7, 3] = embeddings[9, 0] = bad
    with pytest.raises(ValueError, match=r"finite.* row 7"):
        nearest_neighbours(embeddings, 3)


def test_wrong_options_are_refused():
    with pytest.raises(ValueError, match="`k` must satisfy 0 < k; got 0"):
        nearest_neighbours(points(5), 0)
    with pytest.raises(ValueError, match=r"`search` must be .* got 'fast'"):
        nearest_neighbours(points(5), 2, search="fast")


@pytest.mark.parametrize(
    "row", [[1, 1], [0, 1], [3, 1], [-2, 1]], ids=["repeated", "itself", "outside", "negative"]
)
def test_broken_neighbour_lists_are_refused(row):
    index = np.array([row, [0, 2], [0, 1]], np.int32)
    with pytest.raises(ValueError, match=r"distinct other points .* in row 0"):
        Neighbours(index, np.ones((3, 2), np.float32))


def test_a_neighbour_without_a_similarity_is_refused():
    with pytest.raises(ValueError, match="row 1"):
        Neighbours(np.array([[1], [0]], np.int32), np.array([[1.0], [np.nan]], np.float32))
