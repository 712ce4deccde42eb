"""The files of a BLT entropy model: what `config.json` says, and the weights by their names.

Names may be BLT's own, those of transformers' patcher, or those of a whole BLT; see `load_blt`.
"""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open

from sphere_ebm.errors import ShardError

WINDOW = 512
"""The window where a configuration names none, as `bytelatent/entropy_model.py` sets it for these
weights.
"""

CURE = (
    "accept the licence at https://huggingface.co/facebook/blt-entropy, then run: hf download"
    " facebook/blt-entropy"
)
FOREIGN = "is missing: these are not the weights of the model that config.json describes"

# Parts of tensor names: BLT's own, as the model is published, and those of transformers.
_RENAMED = {
    "tok_embeddings": "embed_tokens",
    "output": "lm_head",
    "attention": "self_attn",
    "feed_forward": "mlp",
}
_RENAMED |= {"attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
_RENAMED |= {"wq": "q_proj", "wk": "k_proj", "wv": "v_proj", "wo": "o_proj"}
_RENAMED |= {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}
# Tables of rotations that some versions store; they follow from the configuration.
_DERIVED = ("rope_embeddings", "rotary_emb")

Place = tuple[Path, str, tuple[int, ...]]


class BltSettings(NamedTuple):
    """What a configuration says and the shapes of the weights do not, or must confirm."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    window: int
    rope_theta: float
    norm_eps: float


def settings_of(file: Path, config: dict[str, Any]) -> BltSettings:
    """Settings from a `config.json`.

    The file is BLT's (`args`), that of transformers' patcher, or that of a whole BLT with a
    patcher.

    Raises:
        ShardError: `file` describes no such model.
    """
    found: dict[str, Any] = config
    for key in ("patcher_config", "args", "args"):
        found = found[key] if isinstance(found.get(key), dict) else found
    if isinstance(found.get("rope_parameters"), dict):
        found = found | found["rope_parameters"]

    def value(kind: type, default: Any, *keys: str) -> Any:
        got: Any = next((found[key] for key in keys if found.get(key) is not None), default)
        if type(got) not in (int, kind) or not 0 < got < math.inf:  # True is no number
            raise ShardError(
                file, f"describes no BLT entropy model: `{keys[-1]}` is {got}", cure=CURE
            )
        return kind(got)

    heads = value(int, None, "num_attention_heads", "n_heads")
    settings = BltSettings(
        width=value(int, None, "hidden_size", "dim"),
        layers=value(int, None, "num_hidden_layers", "n_layers"),
        heads=heads,
        kv_heads=value(int, heads, "num_key_value_heads", "n_kv_heads"),
        window=value(int, WINDOW, "sliding_window"),
        rope_theta=value(float, 10000.0, "rope_theta"),
        norm_eps=value(float, 1e-5, "rms_norm_eps", "norm_eps"),
    )
    if settings.width % (2 * heads) or heads % settings.kv_heads:
        problem = (
            f"{heads} heads, {settings.kv_heads} of them with keys, do not divide a width of"
            f" {settings.width}"
        )
        raise ShardError(file, problem, cure=CURE)
    if found.get("rope_type", "default") != "default":
        raise ShardError(
            file, f"`rope_type` {found['rope_type']!r} is not supported", cure="only 'default' is"
        )
    return settings


def renamed(stored: Iterable[str]) -> dict[str, str]:
    """Names as stored by names in transformers' patcher.

    They are those of the patcher's tensors only, where a whole BLT is stored.
    """
    names = list(stored)
    prefix = next(
        p
        for p in ("model.patcher.", "patcher.", "")
        if not p or any(n.startswith(p) for n in names)
    )
    parts = {
        name: name.removeprefix(prefix).split(".") for name in names if name.startswith(prefix)
    }
    return {
        ".".join(_RENAMED.get(part, part) for part in split): name
        for name, split in parts.items()
        if split[0] not in _DERIVED
    }


def locate(source: str | Path) -> tuple[Path, str]:
    """The model's folder and what to call it: never an absolute path."""
    path = Path(source)
    if path.is_dir():
        return path, path.resolve().name
    from huggingface_hub import hf_hub_download

    try:
        config = hf_hub_download(str(source), "config.json", local_files_only=True)
    except (OSError, ValueError) as error:
        raise ShardError(
            source, "is no folder, and no model of this id is in the hub's cache", cure=CURE
        ) from error
    return Path(config).parent, str(source)


def read_settings(file: Path) -> BltSettings:
    """Settings from the file itself; see `settings_of`, also for what is raised."""
    try:
        config = dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ShardError(file, f"is no readable configuration ({error})", cure=CURE) from error
    return settings_of(file, config)


def places_of(folder: Path) -> dict[str, Place]:
    """File, name as stored and shape by the name in transformers' patcher.

    They are read from the headers of the weight files.
    """
    stored: dict[str, tuple[Path, tuple[int, ...]]] = {}
    for path in sorted(folder.glob("model*.safetensors")):
        try:
            with safe_open(path, "numpy") as file:
                names = file.keys()
                stored |= {name: (path, tuple(file.get_slice(name).get_shape())) for name in names}
        except (SafetensorError, OSError) as error:
            raise ShardError(path, f"cannot be read ({error})", cure=CURE) from error
    if not stored:
        raise ShardError(folder, "holds no weights (model*.safetensors)", cure=CURE)
    return {
        ours: (stored[name][0], name, stored[name][1]) for ours, name in renamed(stored).items()
    }


def load_weights(
    folder: Path, places: dict[str, Place], wanted: dict[str, Any], device: str
) -> dict[str, Any]:
    """The tensors that the model wants, in float32, on the device.

    Raises:
        ShardError: they are not those.
    """
    for name in sorted(set(wanted) ^ set(places)):
        path, stored, _ = places.get(name, (folder, name, ()))
        problem = (
            FOREIGN if name in wanted else "is no part of the model that config.json describes"
        )
        raise ShardError(path, problem, stored, cure=CURE)
    import torch

    tensors = {}
    for name, (path, stored, shape) in places.items():
        if shape != wanted[name].shape:
            problem = f"has shape {shape}, config.json wants {tuple(wanted[name].shape)}"
            raise ShardError(path, problem, stored, cure=CURE)
        with safe_open(path, "pt") as file:
            tensor = file.get_tensor(stored)
        if not (tensor.is_floating_point() and torch.isfinite(tensor).all()):
            raise ShardError(
                path, f"holds what is no finite number ({tensor.dtype})", stored, cure=CURE
            )
        tensors[name] = tensor.to(device, torch.float32)
    return tensors
