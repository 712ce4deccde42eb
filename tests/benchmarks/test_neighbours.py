"""The benchmark of neighbours and its mixtures, on small inputs."""

import numpy as np
import pytest
from benchmarks.mixtures import mixture, mixture_chunks
from benchmarks.neighbours import apart, checks, exact, main, measure, recall

from benchmarks import mixtures


def test_a_mixture_is_reproducible_and_its_beginning_does_not_depend_on_its_length(monkeypatch):
    monkeypatch.setattr(mixtures, "CHUNK", 64)
    whole = mixture(200, 12, seed=3)
    assert (whole.shape, whole.dtype) == ((200, 12), np.dtype("float32"))
    np.testing.assert_array_equal(mixture(100, 12, seed=3), whole[:100])
    np.testing.assert_array_equal(np.concatenate(list(mixture_chunks(200, 12, seed=3))), whole)
    assert not np.array_equal(mixture(200, 12, seed=4), whole)


def test_points_of_a_mixture_lie_in_clusters_of_unequal_sizes():
    whole = mixture(2000, 100, seed=0, clusters=5)
    unit = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    nearest = np.sort(unit[:300] @ unit.T, axis=1)[:, -10]
    assert nearest.mean() > 0.5 > 0.1 > np.abs(np.median(unit[:300] @ unit.T))


def test_recall_is_the_share_of_true_neighbours():
    assert recall(np.array([[1, 2], [3, -1]]), np.array([[2, 1], [3, 4]])) == 0.75


def test_the_reference_leaves_a_point_itself_out():
    points = mixture(100, 12, seed=0)
    found = exact(points, points[[4, 9]], np.array([4, -1]))
    assert 4 not in found[0]
    assert 9 in found[1]


def test_the_exact_search_recalls_everything_and_has_its_targets(tmp_path):
    np.savez(tmp_path / "set.npz", embeddings=mixture(1500, 16, seed=0))
    measured = measure(str(tmp_path / "set.npz"), "exact")
    assert (measured.name, measured.points, measured.search) == ("set", 500, "exact")
    assert measured.recall == measured.new_recall == pytest.approx(1, abs=1e-3)
    assert all(check.passed for check in checks(measured))


def test_a_set_is_measured_in_a_process_of_its_own():
    measured = apart("mixture-1200", "approximate")
    assert (measured.points, measured.search) == (1200, "approximate")
    assert measured.peak_mb > measured.input_mb > 0


def test_the_report_lists_sets_and_targets(tmp_path, capsys):
    output = tmp_path / "neighbours.md"
    assert main(["--points", "400", "--output", str(output)]) == 0
    assert "| mixture-400, 400 x 256" in output.read_text(encoding="utf-8")
    assert "recall@15" in capsys.readouterr().out
