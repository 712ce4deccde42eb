"""The files of a BLT model: configurations, names of weights, and what is no such model."""

import json
from pathlib import Path

import numpy as np
import pytest

from blt_models import (
    ARGS,
    BLT_CONFIG,
    HEADS,
    HF_CONFIG,
    KV_HEADS,
    LAYERS,
    SHORT,
    WHOLE_CONFIG,
    WIDTH,
    assert_same,
    published_weights,
    save_model,
)
from sphere_ebm.errors import ShardError
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.text import blt_weights
from sphere_ebm.text.blt import BltEmbedder, BltEntropyModel, load_blt


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


@pytest.mark.parametrize(("config", "prefix"), [(HF_CONFIG, ""), (WHOLE_CONFIG, "model.patcher.")])
def test_every_layout_of_the_weights_gives_the_same_model(published, tmp_path, config, prefix):
    weights = {
        prefix + name: published_weights()[stored]
        for name, stored in blt_weights.renamed(published_weights()).items()
    }
    if prefix:
        weights |= {"model.local_encoder.embed_tokens.weight": np.ones((260, 7), np.float32)}
    assert_same(save_model(tmp_path, config, weights), published)


def test_what_transformers_saves_is_loaded(published, theirs, tmp_path):
    theirs.save_pretrained(tmp_path)
    assert_same(tmp_path, published)


def test_weights_in_several_files_and_in_bfloat16_are_read(torch, tmp_path):
    from safetensors.torch import save_file as save_torch

    half = {name: torch.from_numpy(array).bfloat16() for name, array in published_weights().items()}
    rounded = save_model(
        tmp_path / "rounded",
        BLT_CONFIG,
        {name: tensor.float().numpy() for name, tensor in half.items()},
    )
    (tmp_path / "config.json").write_text(json.dumps(BLT_CONFIG))
    for i in range(2):
        part = {name: half[name] for name in sorted(half)[i::2]}
        save_torch(part, tmp_path / f"model-0000{i + 1}-of-00002.safetensors")
    assert_same(tmp_path, rounded)


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
    save_model(model / "snapshots" / "0123abcd", BLT_CONFIG, published_weights())
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0123abcd")
    assert load_blt("someone/tiny").name.startswith("someone/tiny sha256=")
    assert_same("someone/tiny", published)


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
    content = {"config.json": ARGS, "model.safetensors": published_weights()}
    if isinstance(change, dict):
        content[name] = {
            key: value for key, value in (content[name] | change).items() if value is not None
        }
    save_model(tmp_path, {"args": content["config.json"]}, content["model.safetensors"])
    if change is None:
        (tmp_path / name).unlink()
    elif isinstance(change, bytes):
        (tmp_path / name).write_bytes(change)
    with pytest.raises(ShardError, match=problem) as caught:
        load_blt(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert str(caught.value).isprintable()
    assert "hf download facebook/blt-entropy" in str(caught.value)
