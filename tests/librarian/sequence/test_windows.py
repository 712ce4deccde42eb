import numpy as np
import pytest

from sequences import documents_of
from sphere_ebm import LabelError
from sphere_ebm.librarian.sequence.windows import (
    find_targets,
    fit_frame,
    make_windows,
    running_means,
    spans_of,
)


@pytest.mark.parametrize("context", [1, 4, 5, 8])
def test_every_vector_but_a_first_is_a_target_once_and_no_window_leaves_its_document(context):
    found = documents_of(1, 2, 5, 6, 30)
    windows = make_windows(found, context)
    document = found.document()
    targets = []
    for begin, counted in zip(windows.begin, windows.counted, strict=True):
        rows = begin + 1 + np.flatnonzero(counted)
        targets += rows.tolist()
        # what is seen up to the last target, and the target itself, are of one document
        assert len(set(document[begin : rows.max() + 1])) == 1
    assert sorted(targets) == np.flatnonzero(found.before() > 0).tolist()


def test_a_target_in_the_overlap_is_seen_from_at_least_half_the_context():
    found = documents_of(60)
    windows = make_windows(found, 10)
    for begin, counted in zip(windows.begin, windows.counted, strict=True):
        seen = 1 + np.flatnonzero(counted)
        assert begin == 0 or seen.min() >= 5


def test_targets_have_a_full_context_and_a_direction():
    found = documents_of(3, 6)
    found.vectors[7] = 0
    assert find_targets(found, 3).tolist() == [6, 8]
    assert make_windows(found, 4).counted.sum() == 2 + 4


def test_the_frame_takes_out_what_all_vectors_share():
    found = documents_of(400, width=6)
    found.vectors[:] += 3
    found.vectors[5] = 0
    frame = fit_frame(found)
    centred = frame.centred(found.vectors)
    lengths = np.linalg.norm(centred, axis=1)
    assert lengths[5] == 0
    assert np.allclose(np.delete(lengths, 5), 1, atol=1e-5)
    assert np.linalg.norm(centred.mean(axis=0)) < 0.1
    inputs = frame.inputs(found.vectors)
    column = np.delete(inputs[:, -1], 5)
    assert abs(column.mean()) < 1e-3
    assert abs(column.std() - 1) < 1e-3
    norms = np.delete(np.linalg.norm(found.vectors, axis=1), 5)
    assert (np.argsort(column) == np.argsort(norms)).mean() > 0.95


def test_vectors_without_any_direction_make_no_frame():
    found = documents_of(4)
    found.vectors[:] = 0
    with pytest.raises(LabelError, match="all vectors of the training documents are zero"):
        fit_frame(found)


def test_running_means_stay_in_the_document():
    found = documents_of(5, 6)
    targets = np.array([3, 8, 10])
    means = running_means(found.vectors, found, targets, (1, 2, 4))
    rows = found.vectors
    assert np.allclose(means[0, 1], rows[1:3].mean(axis=0), atol=1e-6)
    assert np.allclose(means[1, 2], rows[5:8].mean(axis=0), atol=1e-6)
    assert np.allclose(means[2, 0], rows[9], atol=1e-6)
    assert np.allclose(means[2, 2], rows[6:10].mean(axis=0), atol=1e-6)


def test_spans_end_with_the_whole_context():
    assert spans_of(100) == (1, 2, 5, 20, 100)
    assert spans_of(5) == (1, 2, 5)
    assert spans_of(7) == (1, 2, 5, 7)
    assert spans_of(1) == (1,)
