import numpy as np
import pytest

from sphere_ebm.librarian.ngrams import Bag, BagLearner
from sphere_ebm.librarian.windows import document_passages, passages_of

TEXT = b"Rivers carry sand, gravel and the memory of 42 mountains to the  quiet sea."
REACHES = (0, 7, 30)


@pytest.fixture(scope="module")
def bag():
    corpus = [document_passages(np.frombuffer(TEXT * 2, np.uint8), np.array([0, 2 * len(TEXT)]))]
    bag = Bag.counted(corpus, 10_000, 3, reach=30, seed=0)
    bag.vectors[:] = np.random.default_rng(0).standard_normal(bag.vectors.shape)
    return bag


@pytest.fixture(scope="module")
def patches():
    octets = np.frombuffer(TEXT, np.uint8)
    return document_passages(octets, np.array([0, 7, 13, 19, 26, 30, 44, 62, len(TEXT)]))


def test_windows_are_sums_of_what_begins_in_them(bag, patches):
    """Windows that tile a text add up to it, and a wider window holds a narrower one's patch."""
    found = bag.sums(patches, REACHES)
    whole = bag.sums(passages_of([TEXT]), [0])
    assert np.allclose(found[:, 0].sum(axis=0), whole[0, 0], atol=1e-4)
    middle = passages_of([TEXT[13:19]], before=[TEXT[:13]], after=[TEXT[19:]])
    assert np.allclose(found[2], bag.sums(middle, REACHES)[0], atol=1e-4)
    parts = patches.octets[13 - 7 : 19 + 7].tobytes()
    assert len(parts) == 20
    assert not np.allclose(found[2, 1], found[2, 0])


def test_the_hash_is_the_same_in_every_process():
    corpus = [passages_of(["light"])]
    bag = Bag.counted(corpus, 100, 1, reach=1, seed=0)
    # the word, five n-grams of three bytes with its marks, four of four, three of five
    assert len(bag.keys) == 13
    assert int(bag.keys.astype(np.uint64).sum()) == 23_443_652


def test_a_word_is_told_from_the_same_letters_behind_no_space():
    one = Bag.counted([passages_of(["x light"])], 100, 1, reach=1, seed=0)
    other = Bag.counted([passages_of(["x-light"])], 100, 1, reach=1, seed=0)
    assert set(one.keys) != set(other.keys)
    assert len(set(one.keys) & set(other.keys)) > 5


def test_a_patch_without_context_is_cut_by_itself(bag):
    octets = np.frombuffer(TEXT, np.uint8)
    cut = document_passages(octets, np.array([0, 9, len(TEXT)]))
    alone = bag.sums(passages_of([TEXT[:9]]), [0])
    assert np.allclose(bag.sums(cut, [0])[0, 0], alone[0, 0], atol=1e-4)
    assert not np.allclose(bag.sums(cut, [0, 7])[0, 0], alone[0, 0], atol=1e-4)


def test_gradients_are_those_of_finite_differences(bag, patches):
    random = np.random.default_rng(1)
    weight = random.standard_normal((len(patches), 3, 3)).astype(np.float32)
    learner = BagLearner(Bag(bag.keys, bag.vectors.copy()), 0.0, 0)
    learner.add(patches, REACHES, weight)
    row = 5
    place = int(learner._slot[row])
    for d in range(3):
        moved = bag.vectors.copy()
        moved[row, d] += 1
        change = Bag(bag.keys, moved).sums(patches, REACHES) - bag.sums(patches, REACHES)
        assert learner._gradient[place, d] == pytest.approx((change * weight).sum(), rel=1e-3)


def test_steps_go_downhill_and_start_anew(bag, patches):
    target = np.random.default_rng(2).standard_normal((len(patches), 3)).astype(np.float32)
    learner = BagLearner(Bag(bag.keys, np.zeros_like(bag.vectors)), 0.0, 0)
    losses = []
    for _ in range(30):
        off = learner.bag.sums(patches, REACHES)[:, 0] - target
        losses.append(float((off**2).sum()))
        gradient = np.zeros((len(patches), 3, 3), np.float32)
        gradient[:, 0] = off
        learner.add(patches, REACHES, gradient)
        learner.step(0.1)
        assert (learner._slot == -1).all()
    assert losses[-1] < 0.2 * losses[0]


def test_what_is_dropped_is_back_afterwards(bag, patches):
    learner = BagLearner(bag, 0.5, 0)
    before = bag.sums(patches, REACHES)
    with learner.dropping(3):
        during = bag.sums(patches, REACHES)
    with learner.dropping(3):
        again = bag.sums(patches, REACHES)
    assert not np.allclose(before, during)
    assert np.array_equal(during, again)
    assert np.array_equal(before, bag.sums(patches, REACHES))


def test_bytes_of_any_kind_are_read():
    hostile = passages_of([b"", b"\x00\xff" * 50, b" " * 300, bytes(range(256))])
    bag = Bag.counted([hostile], 1000, 2, reach=0, seed=0)
    found = bag.sums(hostile, [0, 10])
    assert np.isfinite(found).all()
    assert not found[0].any()
