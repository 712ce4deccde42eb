"""Small BLT entropy models with random weights, in every layout of the files."""

import json

import numpy as np
from safetensors.numpy import save_file

from sphere_ebm.text.blt import load_blt

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


def published_weights():
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
    attention = {"wq": WIDTH, "wk": narrow, "wv": narrow, "wo": WIDTH}
    rows = {f"attention.{name}": count for name, count in attention.items()}
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


def save_model(folder, config, weights):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors")
    return folder


def random_document(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, count).astype(np.uint8)


def read_whole(network, octets):
    """Entropies, surprisals and states of all bytes."""
    return [np.concatenate(parts) for parts in zip(*network.blocks(octets), strict=True)]


def assert_same(folder, other):
    """The models in two folders give the same numbers, to the bit."""
    for got, expected in zip(
        *(read_whole(load_blt(source), random_document(60)) for source in (folder, other)),
        strict=True,
    ):
        np.testing.assert_array_equal(got, expected)
