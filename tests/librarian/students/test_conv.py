import numpy as np

from planted import FACTS, config_for
from sphere_ebm.librarian.students.byte_windows import byte_windows
from sphere_ebm.librarian.students.conv import ConvNet, _beside, _linear, _pooled
from sphere_ebm.librarian.windows import passages_of


def test_a_place_sees_two_on_either_side_so_far_apart():
    states = np.arange(1, 10, dtype=np.float32)[None, :, None]
    assert _beside(np, states, 1)[0, 4].tolist() == [3, 4, 5, 6, 7]
    assert _beside(np, states, 2)[0, 4].tolist() == [1, 3, 5, 7, 9]
    assert _beside(np, states, 2)[0, 0].tolist() == [0, 0, 1, 3, 5]


def test_pools_are_over_what_there_is():
    states = np.array([[[1.0], [-4.0], [9.0]]], np.float32)
    among = np.array([[[True], [True], [False]]])
    assert [one.tolist() for one in _pooled(np, states, among)] == [[[-1.5]], [[1.0]]]
    assert [one.tolist() for one in _pooled(np, states, ~among & among)] == [[[0.0]], [[0.0]]]


def test_what_fills_a_window_changes_nothing():
    config = config_for("conv", context=0)
    net = ConvNet()
    params = net.first(config, FACTS)
    windows = byte_windows(passages_of([b"a short one"]), 64, 0, config.rows)
    whole = net.forward(np, net.size(config), params, windows)
    cut = net.forward(np, net.size(config), params, windows.cut())
    for one, other in zip(whole, cut, strict=True):
        assert np.allclose(one, other, atol=1e-5)


def test_a_layer_keeps_its_size_however_many_inputs_it_has():
    net = ConvNet()
    config = config_for("conv")
    params = net.first(config, FACTS)
    for name in ("layer.0.kernel", "layer.0.narrow", "pool"):
        inputs = params[name].shape[0]
        value = np.random.default_rng(0).standard_normal((50, inputs)).astype(np.float32)
        assert abs(_linear(np, params, name, value).std() - 1) < 0.1, name
