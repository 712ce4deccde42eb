import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from sphere_ebm.errors import MissingPackageError, ShardError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.text import blt, blt_weights
from sphere_ebm.text.blt import BltEmbedder, BltEntropyModel, load_blt

WIDTH = 32
LAYERS = 3
HEADS = 4
KV_HEADS = 2
INNER = 48
SHORT = 8
RECEPTIVE = LAYERS * (SHORT - 1) + 1  # tokens that a state depends on
ARGS = {
    "dim": WIDTH,
    "n_layers": LAYERS,
    "n_heads": HEADS,
    "n_kv_heads": KV_HEADS,
    "vocab_size": 260,
}
ARGS |= {
    "attn_bias_type": "local_block_causal",
    "sliding_window": SHORT,
    "norm_eps": 1e-5,
    "rope_theta": 100.0,
}
BLT_CONFIG = {"args": ARGS}
SIZES = {
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "sliding_window": SHORT,
}
SIZES |= {"num_key_value_heads": KV_HEADS, "intermediate_size": INNER}
ROPE = {"rope_type": "default", "rope_theta": 100.0}
HF_CONFIG = {"model_type": "blt_patcher", "rms_norm_eps": 1e-5, "rope_parameters": ROPE, **SIZES}
WHOLE_CONFIG = {"hidden_size": 7, "patcher_config": SIZES | {"norm_eps": 1e-5, "rope_theta": 100.0}}


def _blt_weights():
    """Random weights, named as BLT names them, large enough for predictions that differ from byte
    to byte.
    """
    rng = np.random.default_rng(7)

    def drawn(*shape, scale=1.2):
        return (rng.standard_normal(shape) * scale / np.sqrt(shape[-1])).astype(np.float32)

    def near_one():
        return (1 + 0.1 * rng.standard_normal(WIDTH)).astype(np.float32)

    weights = {
        "tok_embeddings.weight": drawn(260, WIDTH, scale=6.0),
        "output.weight": drawn(260, WIDTH, scale=3.0),
    }
    weights["norm.weight"] = near_one()
    narrow = WIDTH // HEADS * KV_HEADS
    rows = {
        "attention.wq": WIDTH,
        "attention.wk": narrow,
        "attention.wv": narrow,
        "attention.wo": WIDTH,
    }
    rows |= {"feed_forward.w1": INNER, "feed_forward.w3": INNER}
    for i in range(LAYERS):
        weights |= {
            f"layers.{i}.{name}.weight": drawn(count, WIDTH) for name, count in rows.items()
        }
        weights |= {
            f"layers.{i}.{name}.weight": near_one() for name in ("attention_norm", "ffn_norm")
        }
        weights[f"layers.{i}.feed_forward.w2.weight"] = drawn(WIDTH, INNER)
    return weights


def _save(folder, config, weights):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def torch():
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    torch.set_num_threads(1)
    return torch


@pytest.fixture(scope="module")
def published(torch, tmp_path_factory):
    """The tiny model as BLT publishes its own."""
    return _save(tmp_path_factory.mktemp("blt") / "tiny-blt", BLT_CONFIG, _blt_weights())


def _document(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, count).astype(np.uint8)


def _reference(torch, octets):
    """Entropies, surprisals and states of all bytes, dense and in float64, from the names and
    formulas of BLT.
    """
    weights = {name: torch.from_numpy(array).double() for name, array in _blt_weights().items()}
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


def _whole(network, octets):
    """Entropies, surprisals and states of all bytes."""
    return [np.concatenate(parts) for parts in zip(*network.blocks(octets), strict=True)]


def _assert_same(folder, other):
    """The models in two folders give the same numbers, to the bit."""
    for got, expected in zip(
        *(_whole(load_blt(source), _document(60)) for source in (folder, other)), strict=True
    ):
        np.testing.assert_array_equal(got, expected)


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


def test_names_become_those_of_transformers_patcher():
    blt_names = [
        "layers.3.attention.wq.weight",
        "tok_embeddings.weight",
        "rope_embeddings.freqs_cis",
    ]
    ours = {"layers.3.self_attn.q_proj.weight": blt_names[0], "embed_tokens.weight": blt_names[1]}
    assert blt_weights.renamed(blt_names) == ours
    whole = [
        "model.patcher.lm_head.weight",
        "model.local_encoder.embed_tokens.weight",
        "lm_head.weight",
    ]
    assert blt_weights.renamed(whole) == {"lm_head.weight": whole[0]}


def test_every_layout_of_the_configuration_says_the_same():
    for config in (BLT_CONFIG, {"args": BLT_CONFIG}, HF_CONFIG, WHOLE_CONFIG):
        assert blt_weights.settings_of(Path("config.json"), config) == (
            WIDTH,
            LAYERS,
            HEADS,
            KV_HEADS,
            SHORT,
            100.0,
            1e-5,
        )


def test_a_configuration_without_window_or_groups_means_those_of_the_published_weights():
    bare = {
        "args": {
            "dim": 768,
            "n_layers": 14,
            "n_heads": 12,
            "n_kv_heads": None,
            "sliding_window": None,
        }
    }
    assert blt_weights.settings_of(Path("config.json"), bare) == (
        768,
        14,
        12,
        12,
        512,
        10000.0,
        1e-5,
    )


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("n_layers", None, "`n_layers` is None"),
        ("n_heads", 0, "`n_heads` is 0"),
        ("dim", True, "`dim` is True"),
        ("sliding_window", 8.5, "`sliding_window` is 8.5"),
        ("rope_theta", "x", "`rope_theta` is x"),
        ("n_heads", 5, "do not divide a width of 32"),
        ("n_kv_heads", 3, "do not divide a width of 32"),
        ("rope_parameters", {"rope_type": "yarn"}, "`rope_type` 'yarn' is not supported"),
    ],
)
def test_a_configuration_of_something_else_is_refused(key, value, problem):
    with pytest.raises(ShardError, match=rf"^config\.json: .*{problem}"):
        blt_weights.settings_of(Path("config.json"), {"args": ARGS | {key: value}})


def test_without_the_packages_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        MissingPackageError, match=r"needs the package `torch`: pip install 'sphere-ebm\[blt\]'"
    ):
        load_blt(tmp_path)


@pytest.mark.parametrize("count", [1, 600])
@pytest.mark.parametrize("chunk", [1, 5, 8, 512, 600, 601, 1000])
def test_all_numbers_are_those_of_the_dense_computation_whatever_the_chunk(
    torch, published, chunk, count
):
    octets = _document(count)
    network = load_blt(published, chunk=chunk)
    entropies, surprisals, states = _reference(torch, octets)
    assert count == 1 or entropies.std() > 0.1
    reading = BltEntropyModel(network).read(octets)
    np.testing.assert_allclose(reading, (entropies, surprisals), atol=2e-4)
    np.testing.assert_allclose(_whole(network, octets)[2], states, atol=2e-4)
    assert reading.entropies.dtype == reading.surprisals.dtype == np.float32


@pytest.fixture
def theirs(torch, published):
    """The same model, wholly in the hands of transformers."""
    from transformers.models.blt.modeling_blt import BltPatcher

    loaded = load_blt(published)._patcher
    loaded.config.rope_parameters = ROPE
    patcher = BltPatcher(loaded.config).eval()
    patcher.load_state_dict(loaded.state_dict())
    return patcher


@pytest.mark.parametrize("count", [SHORT - 2, 90])
def test_entropies_are_those_of_transformers_own_forward(torch, published, theirs, count):
    octets = _document(count)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(blt.tokens_of(octets))[None])[0][0, 1:].numpy()
    np.testing.assert_allclose(_whole(load_blt(published), octets)[0], expected, atol=2e-4)


def test_a_byte_changes_the_future_as_far_as_the_windows_reach(published):
    network = load_blt(published, chunk=16)
    octets = _document(90)
    other = octets.copy()
    other[30] ^= 1
    change, surprise, _ = (
        np.abs(a - b) for a, b in zip(_whole(network, octets), _whole(network, other), strict=True)
    )
    assert change[:30].max() == surprise[:30].max() == 0
    assert (change[30 : 30 + RECEPTIVE] > 1e-5).all()
    assert change[30 + RECEPTIVE :].max() < 1e-6
    assert surprise[30] > 1e-3


def test_a_document_is_read_on_its_own_and_always_alike(published):
    model = BltEntropyModel(load_blt(published, chunk=16))
    octets = _document(60)
    first = model.read(octets)
    model.read(_document(40, seed=1))
    for again in (model.read(octets), BltEntropyModel(load_blt(published, chunk=16)).read(octets)):
        np.testing.assert_array_equal(again, first)


def test_an_empty_document_has_no_entropies_and_no_patches(published):
    network = load_blt(published)
    nothing = np.empty(0, np.uint8)
    assert [len(values) for values in BltEntropyModel(network).read(nothing)] == [0, 0]
    assert list(BltEmbedder(network).embed(nothing, np.empty(0, np.int64))) == []


@pytest.mark.parametrize("chunk", [1, 7, 512])
def test_embeddings_are_mean_states_and_prominence_the_largest_norm(torch, published, chunk):
    octets = _document(50)
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
        BltEmbedder(load_blt(published)).embed(_document(8), np.array(lengths, np.int64))


def test_entropies_and_embeddings_of_a_document_are_computed_once(published, monkeypatch):
    network = load_blt(published, chunk=16)
    octets = _document(40)
    BltEntropyModel(network).read(octets)
    expected = _whole(load_blt(published, chunk=16), octets)[2]
    monkeypatch.setattr(type(network), "_advance", None)
    parts = [
        embeddings for embeddings, _ in BltEmbedder(network).embed(octets, np.ones(40, np.int64))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), expected)


def test_only_short_documents_that_were_read_to_the_end_are_kept(published, monkeypatch):
    monkeypatch.setattr("sphere_ebm.text.blt._REMEMBERED", 30)
    network = load_blt(published, chunk=16)
    for count, kept in ((30, 30), (31, 30), (29, 29)):
        _whole(network, _document(count))
        next(network.blocks(_document(28)))
        assert len(network._last[0]) == sum(len(block.states) for block in network._last[1]) == kept


@pytest.mark.parametrize(("config", "prefix"), [(HF_CONFIG, ""), (WHOLE_CONFIG, "model.patcher.")])
def test_every_layout_of_the_weights_gives_the_same_model(published, tmp_path, config, prefix):
    weights = {
        prefix + name: _blt_weights()[stored]
        for name, stored in blt_weights.renamed(_blt_weights()).items()
    }
    if prefix:
        weights |= {"model.local_encoder.embed_tokens.weight": np.ones((260, 7), np.float32)}
    _assert_same(_save(tmp_path, config, weights), published)


def test_what_transformers_saves_is_loaded(published, theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    _assert_same(tmp_path, published)


def test_weights_in_several_files_and_in_bfloat16_are_read(torch, tmp_path):
    from safetensors.torch import save_file as save_torch

    half = {name: torch.from_numpy(array).bfloat16() for name, array in _blt_weights().items()}
    rounded = _save(
        tmp_path / "rounded",
        BLT_CONFIG,
        {name: tensor.float().numpy() for name, tensor in half.items()},
    )
    (tmp_path / "config.json").write_text(json.dumps(BLT_CONFIG))
    for i in range(2):
        part = {name: half[name] for name in sorted(half)[i::2]}
        save_torch(part, tmp_path / f"model-0000{i + 1}-of-00002.safetensors")
    _assert_same(tmp_path, rounded)


def test_names_tell_the_model_and_the_weights_but_no_path(published):
    network = load_blt(published)
    digest = sha256_of(published / "model.safetensors")[:16]
    for name in (BltEntropyModel(network).name, BltEmbedder(network).name):
        assert f"of tiny-blt sha256={digest} window=8 heads=4 rope_theta=100 norm_eps=1e-05" in name
        assert str(published.parent) not in name
    assert BltEntropyModel(network).name != BltEmbedder(network).name


@pytest.fixture
def hub(monkeypatch, tmp_path, torch):
    """An empty cache of the hub, and no way out to the network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", None)


def test_a_model_in_the_cache_of_the_hub_is_found_by_its_id(hub, published, tmp_path):
    model = tmp_path / "models--someone--tiny"
    _save(model / "snapshots" / "0123abcd", BLT_CONFIG, _blt_weights())
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123abcd")
    assert load_blt("someone/tiny").name.startswith("someone/tiny sha256=")
    _assert_same("someone/tiny", published)


@pytest.mark.parametrize(
    "source", ["facebook/blt-entropy", "no such\nthing", "/nowhere/at/all", Path("/nowhere")]
)
def test_a_model_that_is_not_there_is_told_in_one_line_with_the_cure(hub, source):
    with pytest.raises(ShardError, match=r"hf download facebook/blt-entropy") as caught:
        load_blt(source)
    assert "is no folder, and no model of this id" in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("config.json", None, r"config\.json: is no readable configuration"),
        ("config.json", b"{", r"config\.json: is no readable configuration"),
        ("config.json", b"[1]", r"config\.json: is no readable configuration"),
        (
            "config.json",
            {"n_layers": 10**9},
            r"`layers\.999999999\.mlp.gate_proj.weight`: is missing",
        ),
        (
            "config.json",
            {"n_layers": 2},
            r"model\.safetensors: `layers\.2\..*`: is no part of the model",
        ),
        ("model.safetensors", None, r"holds no weights"),
        ("model.safetensors", b"x" * 40, r"model\.safetensors: cannot be read"),
        ("model.safetensors", {"norm.weight": None}, r"`norm\.weight`: is missing"),
        (
            "model.safetensors",
            {"output.weight": np.ones((9, 32))},
            r"has shape \(9, 32\), .* wants \(260, 32\)",
        ),
        (
            "model.safetensors",
            {"norm.weight": np.full(32, np.nan)},
            r"`norm\.weight`: holds what is no finite number",
        ),
        (
            "model.safetensors",
            {"norm.weight": np.ones(32, np.int32)},
            r"no finite number \(torch\.int32\)",
        ),
    ],
)
def test_a_folder_that_is_not_such_a_model_is_told_in_one_line(
    torch, tmp_path, name, change, problem
):
    content = {"config.json": ARGS, "model.safetensors": _blt_weights()}
    if isinstance(change, dict):
        content[name] = {
            key: value for key, value in (content[name] | change).items() if value is not None
        }
    _save(tmp_path, {"args": content["config.json"]}, content["model.safetensors"])
    if change is None:
        (tmp_path / name).unlink()
    elif isinstance(change, bytes):
        (tmp_path / name).write_bytes(change)
    with pytest.raises(ShardError, match=problem) as caught:
        load_blt(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert str(caught.value).isprintable()
    assert "hf download facebook/blt-entropy" in str(caught.value)


def test_a_chunk_must_hold_something(published):
    with pytest.raises(ValueError, match="`chunk` must be at least 1; got 0"):
        load_blt(published, chunk=0)
