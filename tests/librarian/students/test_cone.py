import numpy as np
import pytest

from planted import FACTS, config_for
from sphere_ebm.librarian.students.byte_windows import ByteWindows, byte_windows
from sphere_ebm.librarian.students.cone import ConeNet, attended
from sphere_ebm.librarian.students.nets import CONES, NetSize
from sphere_ebm.librarian.windows import passages_of

OUTSIDE = 1e-4
SIZE = NetSize(width=8, layers=1, inner=8, longest=6, side=0, heads=8)


@pytest.fixture(scope="module")
def layer():
    rng = np.random.default_rng(0)
    shapes = {
        "a.query": (8, 8),
        "a.key": (8, 4),
        "a.value": (8, 4),
        "a.out": (8, 8),
        "a.axes": (8, CONES),
        "a.distance": (8, 65),
    }
    params = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    biases = {
        f"{name}.bias": rng.standard_normal(params[name].shape[1])
        for name in ("a.query", "a.key", "a.value", "a.out")
    }
    return {name: value.astype(np.float32) for name, value in (params | biases).items()}


def by_hand(params, read, there):
    """One query, one head, one place at a time."""
    places = len(read)
    made = {
        name: read @ params[f"a.{name}"] + params[f"a.{name}.bias"]
        for name in ("query", "key", "value")
    }
    share = np.exp(read @ params["a.axes"])
    share /= share.sum(axis=1, keepdims=True)
    brought = np.zeros((places, 8))
    for head in range(8):
        group = head // 2
        for i in range(places):
            scores = []
            for j in range(places):
                score = made["query"][i, head] * made["key"][j, group]
                score += 4 * np.tanh(params["a.distance"][head, j - i + 32])
                if j > 0 and (not there[j] or share[j, group] < OUTSIDE):
                    score = -np.inf
                elif j > 0:
                    score += np.log(share[j, group])
                scores.append(score)
            weight = np.exp(scores - np.max(scores))
            brought[i, head] = weight / weight.sum() @ made["value"][:, group]
    return brought @ params["a.out"] + params["a.out.bias"]


def test_heads_of_a_group_share_keys_and_see_their_cone_alone(layer):
    read = np.random.default_rng(1).standard_normal((6, 8)).astype(np.float32)
    read[2] *= 12  # far out along some axes, so outside of the other cones
    there = np.array([True, True, True, True, False, True])
    share = np.exp(read @ layer["a.axes"])
    share /= share.sum(axis=1, keepdims=True)
    assert (share[1:] < OUTSIDE).any()
    found = attended(np, SIZE, layer, "a", read[None], there[None])
    assert np.allclose(found[0], by_hand(layer, read, there), atol=1e-4)


def test_what_has_no_byte_is_not_seen_however_it_looks(layer):
    read = np.random.default_rng(2).standard_normal((1, 6, 8)).astype(np.float32)
    there = np.array([[True, True, True, False, True, False]])
    other = read.copy()
    other[:, [3, 5]] += 10
    seen = [0, 1, 2, 4]
    one = attended(np, SIZE, layer, "a", read, there)
    assert np.allclose(
        one[:, seen], attended(np, SIZE, layer, "a", other, there)[:, seen], atol=1e-5
    )


def test_distances_are_bounded_so_that_windows_may_be_longer_than_any_that_was_seen():
    net = ConeNet()
    config = config_for("cone", context=0)
    params = net.first(config, FACTS)
    shapes = net.shapes(config, FACTS)
    assert not any(size in (49, 384) for shape in shapes.values() for size in shape)
    long = NetSize(width=64, layers=2, inner=128, longest=200, side=0, heads=4)
    windows = byte_windows(passages_of([b"a" * 200, b"short"]), 200, 0, config.rows)
    said = net.forward(np, long, params, windows)
    short = ByteWindows(*(part[1:] for part in windows)).cut()
    again = net.forward(np, long, params, short)
    assert np.allclose(said.cells[1], again.cells[0], atol=1e-5)


def test_in_full_it_is_as_it_was_designed():
    config = config_for("cone", size="full", context=19, far=600, near=60)
    size = ConeNet().size(config)
    assert (size.width, size.layers, size.heads, size.inner, size.longest) == (
        384,
        6,
        12,
        1536,
        384,
    )
    shapes = ConeNet().shapes(config, FACTS)
    assert shapes["layer.5.query"] == (384, 384)
    assert shapes["layer.5.key"] == (384, 4 * 32)
