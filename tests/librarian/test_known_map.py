import numpy as np
import pytest

from builders import mixed, unit
from sphere_ebm import FrozenMap, PlacementConfig, place
from sphere_ebm.librarian import known_map
from sphere_ebm.librarian.fields import known_map_arrays
from sphere_ebm.librarian.known_map import KnownMap

POINTS = 300


@pytest.fixture(scope="module")
def placed():
    config = PlacementConfig(steps=40, average=2, replicas=0)
    return place(mixed(POINTS, 12), None, config)


@pytest.fixture(scope="module")
def known(placed):
    law, arrays = known_map_arrays(placed.config.to_json(), placed.embeddings, placed.direction)
    return KnownMap.of(law, placed.embeddings, placed.direction, arrays)


def angles(one, other):
    return np.degrees(np.arccos(np.clip((one * other).sum(axis=1), -1, 1)))


def test_newcomers_lie_where_the_frozen_map_puts_them(placed, known):
    new = mixed(200, 12, seed=5)
    wanted = FrozenMap(placed, batch=256).place(new).direction
    found = known.join(unit(new)).direction
    apart = angles(found, wanted)
    assert np.quantile(apart, 0.95) < 0.05
    # the power of this test: two newcomers lie much further apart
    assert np.median(angles(found, np.roll(wanted, 1, axis=0))) > 20


def test_the_nearest_are_those_of_all_cosines(placed, known):
    new = unit(mixed(50, 12, seed=6))
    index, cosine = known.nearest(new)
    every = new @ unit(placed.embeddings).T
    order = np.argsort(-every, axis=1)[:, : index.shape[1]]
    assert np.array_equal(known.row[index], order)
    assert np.allclose(cosine, np.take_along_axis(every, order, axis=1), atol=1e-6)


def test_lists_find_most_of_the_nearest(placed, monkeypatch):
    monkeypatch.setattr(known_map, "PROBES", 6)
    monkeypatch.setattr("sphere_ebm.librarian.fields.MIN_LISTED", 100)
    law, arrays = known_map_arrays(placed.config.to_json(), placed.embeddings, placed.direction)
    assert len(arrays["map.centroid"]) == 17
    listed = KnownMap.of(law, placed.embeddings, placed.direction, arrays)
    new = unit(mixed(50, 12, seed=6))
    index, _ = listed.nearest(new)
    order = np.argsort(-(new @ unit(placed.embeddings).T), axis=1)[:, : index.shape[1]]
    pairs = zip(listed.row[index], order, strict=True)
    recall = np.mean([len(set(a) & set(b)) / len(b) for a, b in pairs])
    assert 0.7 < recall <= 1


def test_who_points_nowhere_lies_where_the_map_is_emptiest(known):
    joined = known.join(np.zeros((1, 12), np.float32))
    assert (joined.nearest == -1).all()
    assert np.allclose(joined.direction[0], known.emptiest)


def test_points_that_are_left_out_are_nobodys_neighbours(placed, known):
    keep = np.arange(POINTS) % 2 == 0
    law, arrays = known_map_arrays(placed.config.to_json(), placed.embeddings, placed.direction)
    half = KnownMap.of(law, placed.embeddings, placed.direction, arrays, keep)
    joined = half.join(unit(placed.embeddings[:20]))
    assert (joined.nearest % 2 == 0).all()
    assert len(half.unit) == POINTS // 2
    assert (known.join(unit(placed.embeddings[:20])).nearest[:, 0] == np.arange(20)).all()


def test_another_number_of_points_is_refused(placed, known):
    _, arrays = known_map_arrays(placed.config.to_json(), placed.embeddings, placed.direction)
    with pytest.raises(ValueError, match=r"`map\.list`"):
        KnownMap.of(known.law, placed.embeddings[:9], placed.direction[:9], arrays)


def test_a_law_that_is_not_known_here_is_told(placed):
    config = PlacementConfig(affinity="perplexity").to_json()
    assert known_map_arrays(config, placed.embeddings, placed.direction) is None
    assert known_map_arrays("", placed.embeddings, placed.direction) is None
