"""What NumPy predicts is what JAX learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from planted import FACTS, config_for, passages_for
from sphere_ebm.librarian.students.cone import ConeNet
from sphere_ebm.librarian.students.conv import ConvNet
from sphere_ebm.librarian.students.net_trainer import _dropping


@pytest.mark.parametrize("net", [ConeNet(), ConvNet()], ids=["cone", "conv"])
def test_numpy_and_jax_say_the_same(net):
    config = config_for("cone", context=2)
    params = net.first(config, FACTS)
    rng = np.random.default_rng(0)
    stirred = {
        name: (value + 0.1 * rng.standard_normal(value.shape)).astype(np.float32)
        for name, value in params.items()
    }
    windows = net.windows(config, passages_for(6, 1)[0])
    run = jax.jit(lambda params, windows: net.forward(jnp, net.size(config), params, windows))
    for one, other in zip(
        run(jax.tree.map(jnp.asarray, stirred), jax.tree.map(jnp.asarray, windows)),
        net.forward(np, net.size(config), stirred, windows),
        strict=True,
    ):
        assert np.allclose(one, other, atol=1e-4)


def test_dropout_leaves_out_its_share_and_keeps_the_mean():
    drop = _dropping(jax.random.key(0))
    ones = jnp.ones((100, 100))
    first = np.asarray(drop(ones))
    second = np.asarray(drop(ones))
    assert abs((first == 0).mean() - 0.1) < 0.01
    assert abs(first.mean() - 1) < 0.01
    assert not np.array_equal(first, second)
