import subprocess
import sys

import numpy as np
import pytest

from blt_models import (
    HEADS,
    KV_HEADS,
    LAYERS,
    RECEPTIVE,
    SHORT,
    WIDTH,
    published_weights,
    random_document,
    read_whole,
)
from sphere_ebm.errors import MissingPackageError
from sphere_ebm.text import blt
from sphere_ebm.text.blt import BltEmbedder, BltEntropyModel, load_blt


def _reference(torch, octets):
    """Entropies, surprisals and states of all bytes, dense and in float64, from the names and
    formulas of BLT.
    """
    weights = {
        name: torch.from_numpy(array).double() for name, array in published_weights().items()
    }
    tokens = torch.tensor([1] + [4 + int(b) for b in octets])
    n = len(tokens)
    size = WIDTH // HEADS
    pairs = 1.0 / 100.0 ** (torch.arange(0, size, 2).double() / size)
    turn = torch.polar(
        torch.ones(n, size // 2).double(), torch.arange(n).double()[:, None] * pairs
    )[:, None]
    back = torch.arange(n)[:, None] - torch.arange(n)[None, :]
    allowed = (back >= 0) & (back < SHORT)

    def norm(x, name):
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * weights[name]

    def turned(x):
        return torch.view_as_real(
            torch.view_as_complex(x.reshape(n, -1, size // 2, 2)) * turn
        ).flatten(-2)

    h = weights["tok_embeddings.weight"][tokens]
    for i in range(LAYERS):
        at = f"layers.{i}."
        x = norm(h, at + "attention_norm.weight")
        q, k, v = (x @ weights[f"{at}attention.w{kind}.weight"].T for kind in "qkv")
        q = turned(q)
        k = turned(k)
        v = v.reshape(n, -1, size)
        k, v = (y.repeat_interleave(HEADS // KV_HEADS, dim=1) for y in (k, v))
        scores = torch.einsum("qhd,khd->hqk", q, k) / size**0.5
        law = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
        h = (
            h
            + torch.einsum("hqk,khd->qhd", law, v).reshape(n, WIDTH)
            @ weights[f"{at}attention.wo.weight"].T
        )
        x = norm(h, at + "ffn_norm.weight")
        gate, up = (x @ weights[f"{at}feed_forward.w{kind}.weight"].T for kind in "13")
        h = h + (gate * gate.sigmoid() * up) @ weights[f"{at}feed_forward.w2.weight"].T
    law = (norm(h, "norm.weight") @ weights["output.weight"].T).softmax(-1)
    surprisals = -law[torch.arange(n - 1), tokens[1:]].log()
    return -(law * law.log()).sum(-1)[1:].numpy(), surprisals.numpy(), h[1:].numpy()


def test_the_module_can_be_imported_without_torch():
    code = (
        "import sphere_ebm.text.blt, sys; print(sorted({'torch', 'transformers'} &"
        " set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout
        == "[]\n"
    )


def test_a_document_begins_with_bos_and_a_byte_is_its_value_and_four():
    np.testing.assert_array_equal(blt.tokens_of(np.array([0, 65, 255], np.uint8)), [1, 4, 69, 259])
    np.testing.assert_array_equal(blt.tokens_of(np.empty(0, np.uint8)), [1])


@pytest.mark.parametrize("window", [1, 2, 5, 40])
@pytest.mark.parametrize("chunk", [1, 3, 7, 30])
def test_what_chunks_see_is_the_band_of_the_whole(window, chunk):
    back = np.arange(30)[:, None] - np.arange(30)[None, :]
    band = (back >= 0) & (back < window)
    for first in range(0, 30, chunk):
        count = min(chunk, 30 - first)
        kept = first - min(first, window - 1)
        rows = band[first : first + count, : first + count]
        np.testing.assert_array_equal(blt.visible(first, count, window), rows[:, kept:])
        assert not rows[:, :kept].any()


def test_rotations_depend_on_the_difference_of_positions_however_far_in():
    for first in (0, 10**9):
        cosine, sine = blt.rotation(first, 4, 8, 10000.0)
        turn = cosine + 1j * sine
        by_three = np.exp(1j * np.array([3, 3, 0.3, 0.3, 0.03, 0.03, 0.003, 0.003]))
        np.testing.assert_allclose(turn[3] * turn[0].conj(), by_three, atol=1e-6)


@pytest.mark.parametrize("sizes", [[20], [1] * 20, [7, 7, 6], [3, 1, 16], [19, 1]])
@pytest.mark.parametrize("lengths", [[20], [1] * 20, [5, 1, 9, 5], [6, 1, 13], [19, 1]])
def test_pooling_by_blocks_is_pooling_of_the_whole(sizes, lengths):
    states = np.random.default_rng(1).standard_normal((20, 3)).astype(np.float32)
    blocks = list(blt.pool_blocks(np.split(states, np.cumsum(sizes)[:-1]), np.array(lengths)))
    assert all(len(embeddings) for embeddings, _ in blocks)
    embeddings, prominence = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    patches = np.split(states, np.cumsum(lengths)[:-1])
    np.testing.assert_allclose(embeddings, [p.mean(axis=0) for p in patches], atol=1e-6)
    np.testing.assert_allclose(
        prominence, [np.linalg.norm(p, axis=1).max() for p in patches], rtol=1e-6
    )


def test_without_the_packages_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        MissingPackageError, match=r"needs the package `torch`: pip install 'torch>="
    ):
        load_blt(tmp_path)


@pytest.mark.parametrize("count", [1, 600])
@pytest.mark.parametrize("chunk", [1, 5, 8, 512, 600, 601, 1000])
def test_all_numbers_are_those_of_the_dense_computation_whatever_the_chunk(
    torch, published, chunk, count
):
    octets = random_document(count)
    network = load_blt(published, chunk=chunk)
    entropies, surprisals, states = _reference(torch, octets)
    assert count == 1 or entropies.std() > 0.1
    reading = BltEntropyModel(network).read(octets)
    np.testing.assert_allclose(reading, (entropies, surprisals), atol=2e-4)
    np.testing.assert_allclose(read_whole(network, octets)[2], states, atol=2e-4)
    assert reading.entropies.dtype == reading.surprisals.dtype == np.float32


def test_a_layer_gets_the_cache_by_its_own_name_for_it():
    def before(self, state, past_key_values=None, **others): ...

    def since(self, state, cache=None, **others): ...

    assert blt._cache_argument(before) == "past_key_values"
    assert blt._cache_argument(since) == "cache"


@pytest.mark.parametrize("count", [SHORT - 2, 90])
def test_entropies_are_those_of_transformers_own_forward(torch, published, theirs, count):
    from transformers.models.blt import modeling_blt

    if count > SHORT and "create_sliding_window_causal_mask" not in vars(modeling_blt):
        pytest.skip("the forward of this version of transformers has no window")
    octets = random_document(count)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(blt.tokens_of(octets))[None])[0][0, 1:].numpy()
    np.testing.assert_allclose(read_whole(load_blt(published), octets)[0], expected, atol=2e-4)


def test_a_byte_changes_the_future_as_far_as_the_windows_reach(published):
    network = load_blt(published, chunk=16)
    octets = random_document(90)
    other = octets.copy()
    other[30] ^= 1
    change, surprise, _ = (
        np.abs(a - b)
        for a, b in zip(read_whole(network, octets), read_whole(network, other), strict=True)
    )
    assert change[:30].max() == surprise[:30].max() == 0
    assert (change[30 : 30 + RECEPTIVE] > 1e-5).all()
    assert change[30 + RECEPTIVE :].max() < 1e-6
    assert surprise[30] > 1e-3


def test_a_document_is_read_on_its_own_and_always_alike(published):
    model = BltEntropyModel(load_blt(published, chunk=16))
    octets = random_document(60)
    first = model.read(octets)
    model.read(random_document(40, seed=1))
    for again in (model.read(octets), BltEntropyModel(load_blt(published, chunk=16)).read(octets)):
        np.testing.assert_array_equal(again, first)


def test_an_empty_document_has_no_entropies_and_no_patches(published):
    network = load_blt(published)
    nothing = np.empty(0, np.uint8)
    assert [len(values) for values in BltEntropyModel(network).read(nothing)] == [0, 0]
    assert list(BltEmbedder(network).embed(nothing, np.empty(0, np.int64))) == []


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_embeddings_are_mean_states_and_prominence_the_largest_norm(torch, published, chunk):
    octets = random_document(50)
    lengths = np.array([1, 20, 3, 17, 9])
    embedder = BltEmbedder(load_blt(published, chunk=chunk))
    embeddings, prominence = (
        np.concatenate(parts) for parts in zip(*embedder.embed(octets, lengths), strict=True)
    )
    patches = np.split(_reference(torch, octets)[2], np.cumsum(lengths)[:-1])
    np.testing.assert_allclose(embeddings, [p.mean(axis=0) for p in patches], atol=2e-4)
    np.testing.assert_allclose(
        prominence, [np.linalg.norm(p, axis=1).max() for p in patches], rtol=1e-4
    )
    assert embeddings.dtype == prominence.dtype == np.float32
    assert embedder.width == WIDTH


@pytest.mark.parametrize("lengths", [[3, 4], [9, -1], [0, 8], []])
def test_patches_that_are_not_the_document_are_refused(published, lengths):
    with pytest.raises(ValueError, match="`lengths` must be positive and add up to 8 bytes"):
        BltEmbedder(load_blt(published)).embed(random_document(8), np.array(lengths, np.int64))


def test_entropies_and_embeddings_of_a_document_are_computed_once(published, monkeypatch):
    network = load_blt(published, chunk=16)
    octets = random_document(40)
    BltEntropyModel(network).read(octets)
    expected = read_whole(load_blt(published, chunk=16), octets)[2]
    monkeypatch.setattr(type(network), "_advance", None)
    parts = [
        embeddings for embeddings, _ in BltEmbedder(network).embed(octets, np.ones(40, np.int64))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_only_short_documents_that_were_read_to_the_end_are_kept(published, monkeypatch):
    monkeypatch.setattr("sphere_ebm.text.blt._REMEMBERED", 30)
    network = load_blt(published, chunk=16)
    for count, kept in ((30, 30), (31, 30), (29, 29)):
        read_whole(network, random_document(count))
        next(network.blocks(random_document(28)))
        assert len(network._last[0]) == sum(len(block.states) for block in network._last[1]) == kept


def test_a_chunk_must_hold_something(published):
    with pytest.raises(ValueError, match="`chunk` must be at least 1; got 0"):
        load_blt(published, chunk=0)
