"""The entropy model of the Byte Latent Transformer.

What it expects of the next byte, and its states as embeddings.

The weights are `facebook/blt-entropy` (14 layers, 768 wide; FAIR non-commercial research licence):
the user downloads them, nothing is downloaded here. torch and transformers (the extra `blt`) are
imported only when a model is loaded.

**Tokens.** BOS (1), then byte + 4, as BLT's own tokenizer makes them. It also adds EOS at the end,
which changes no number before it: here there is none. (BLT-Burn's later versions have no BOS
either: numbers of its shards differ.)

**Attention.** A token sees the last `window` (512) tokens of its document, itself included, in
every layer: what `attn_bias_type: local_block_causal` with `sliding_window: 512` means in
`bytelatent/model/utils.py` for one document (its blocks end at EOS tokens, which no byte is). After
14 layers a state depends on the last 14 * 511 + 1 tokens. The document is computed in chunks; keys
and values of the last `window - 1` tokens are carried over, so that the chunk changes nothing but
rounding, and time is linear in the length.

**Where this deviates.** `calculate_entropies` of `bytelatent/data/patcher.py` cuts the tokens every
8192 and predicts each piece from nothing; the first piece is the same here. Rotary angles are
computed in float64: only differences of positions within the window matter, and so no position is
too large. Stored in bfloat16, used in float32.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from typing_extensions import override

from sphere_ebm.errors import ShardError, one_line, require
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel, Reading
from sphere_ebm.text.blt_weights import (
    CURE,
    FOREIGN,
    BltSettings,
    load_weights,
    locate,
    places_of,
    read_settings,
)

BOS = 1
OFFSET = 4
VOCABULARY = 260
_CHUNK = 512
_REMEMBERED = 1 << 14
"""Bytes of the longest document whose states are kept for a second reader: 50 MB at 768 wide."""


def tokens_of(octets: UInt8[np.ndarray, " bytes"]) -> Int64[np.ndarray, " tokens"]:
    """BOS and the bytes of a document: one token more than bytes."""
    return np.concatenate((np.array([BOS]), octets.astype(np.int64) + OFFSET))


def visible(first: int, count: int, window: int) -> Bool[np.ndarray, "count keys"]:
    """Which keys each of `count` tokens from position `first` on sees.

    It sees its own and the `window` - 1 before it.

    The keys are those of the last min(first, window - 1) tokens before `first`, then those of the
    `count` themselves.
    """
    kept = min(first, window - 1)
    back = np.arange(count)[:, None] - np.arange(-kept, count)[None, :]
    return (back >= 0) & (back < window)


def rotation(
    first: int, count: int, width: int, theta: float
) -> tuple[Float32[np.ndarray, "count width"], Float32[np.ndarray, "count width"]]:
    """Cosine and sine of the rotary angles at `count` positions from `first` on.

    The angle of pair i is position * theta^(-2 i / width).
    """
    frequencies = theta ** (-np.arange(0, width, 2) / width)
    angles = np.repeat(np.arange(first, first + count)[:, None] * frequencies, 2, axis=1)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def pool_blocks(
    blocks: Iterable[Float32[np.ndarray, "_ dim"]], lengths: Int64[np.ndarray, " patches"]
) -> Iterator[tuple[Float32[np.ndarray, "block dim"], Float32[np.ndarray, " block"]]]:
    """Mean state and largest norm of a state, of each patch.

    `blocks` are the states of all tokens, in order.

    One block is held at a time, and the float64 sum of the patch that reaches beyond it.
    """
    ends = np.cumsum(lengths)
    position = patch = 0
    total: Any = 0.0
    highest: Any = 0.0
    for states in blocks:
        stop = position + len(states)
        last = int(np.searchsorted(ends, stop))  # the patch of the block's last token
        starts = np.append(0, ends[patch:last] - position)
        sums = np.add.reduceat(states, starts, axis=0, dtype=np.float64)
        norms = np.maximum.reduceat(np.linalg.norm(states, axis=1), starts)
        sums[0] += total
        norms[0] = max(norms[0], highest)
        whole = bool(ends[last] == stop)
        total, highest = (0.0, 0.0) if whole else (sums[-1], norms[-1])
        done = last - patch + whole
        if done:
            yield (
                (sums[:done] / lengths[patch : patch + done, None]).astype(np.float32),
                norms[:done],
            )
        position = stop
        patch = patch + done


@final
class _Carried:
    """Keys and values of the last `size` tokens of each layer.

    It stands where transformers expects its cache.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: dict[int, tuple[Any, Any]] = {}

    def update(self, keys: Any, values: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """All that the new tokens may see: what was carried over, and their own keys and values."""
        import torch

        if layer in self._kept:
            before = self._kept[layer]
            keys = torch.cat((before[0], keys), dim=2)
            values = torch.cat((before[1], values), dim=2)
        start = max(keys.shape[2] - self._size, 0)
        self._kept[layer] = keys[:, :, start:], values[:, :, start:]
        return keys, values


class Block(NamedTuple):
    """Entropies and states of a chunk's bytes, and surprisals of those that its tokens predict."""

    entropies: Float32[np.ndarray, " block"]
    surprisals: Float32[np.ndarray, " predicted"]
    states: Float32[np.ndarray, "block dim"]


@final
class BltNetwork:
    """The loaded model, made by `load_blt`: one pass over a document gives entropies and states.

    Those of the last document are kept if it has no more than 16384 bytes, so that a
    `BltEntropyModel` and a `BltEmbedder` of the same network compute it once. A longer document is
    computed for each of them. A byte costs 0.2 GFLOP with the published weights: one core of a CPU
    does some 500 bytes in a second.
    """

    def __init__(self, patcher: Any, settings: BltSettings, name: str, chunk: int = _CHUNK) -> None:
        if chunk < 1:
            raise ValueError(f"`chunk` must be at least 1; got {chunk}.")
        self.name = name
        self.width = settings.width
        self._patcher = patcher
        self._settings = settings
        self._chunk = chunk
        self._last: tuple[bytes, list[Block]] = (b"", [])

    def blocks(self, octets: UInt8[np.ndarray, " bytes"]) -> Iterator[Block]:
        """Yields entropies and surprisals in nats, and states before the last norm, of all bytes.

        Blocks come in the order of the document. Laws are over all 260 tokens. `chunk` tokens are
        computed at a time: on the CPU, the same document gives the same numbers every time.
        """
        key = octets.tobytes() if len(octets) <= _REMEMBERED else None
        if key is not None and key == self._last[0]:
            yield from self._last[1]
            return
        kept = []
        tokens = tokens_of(octets)
        carried = _Carried(self._settings.window - 1)
        for first in range(0, len(tokens) if len(octets) else 0, self._chunk):
            block = self._advance(tokens, first, carried)
            if key is not None:
                kept.append(block)
            yield block
        if key is not None:
            self._last = key, kept

    def _advance(
        self, tokens: Int64[np.ndarray, " tokens"], first: int, carried: _Carried
    ) -> Block:
        """The chunk of `tokens` from `first` on."""
        import torch

        patcher = self._patcher
        settings = self._settings
        device = patcher.norm.weight.device
        read = torch.from_numpy(tokens[first : first + self._chunk]).to(device)
        predicted = torch.from_numpy(tokens[first + 1 : first + 1 + self._chunk]).to(device)
        cosine, sine = rotation(
            first, len(read), settings.width // settings.heads, settings.rope_theta
        )
        turned = torch.from_numpy(cosine)[None].to(device), torch.from_numpy(sine)[None].to(device)
        seen = visible(first, len(read), settings.window)
        mask = torch.from_numpy(np.where(seen, np.float32(0), np.float32(-np.inf)))[None, None].to(
            device
        )
        cache = {_cache_argument(type(patcher.layers[0]).forward): carried}
        with torch.inference_mode():
            state = patcher.embed_tokens(read)[None]
            for layer in patcher.layers:
                state = layer(state, attention_mask=mask, position_embeddings=turned, **cache)
            logs = torch.log_softmax(patcher.lm_head(patcher.norm(state)), dim=-1)[0]
            entropies = -(logs.exp() * logs).sum(dim=-1)
            surprisals = -logs[: len(predicted)].gather(1, predicted[:, None])[:, 0]
        begin = 1 if first == 0 else 0  # BOS is no byte
        return Block(
            entropies[begin:].cpu().numpy(),
            surprisals.cpu().numpy(),
            state[0, begin:].cpu().numpy(),
        )


def _cache_argument(forward: Callable[..., Any]) -> str:
    """What a layer calls the cache: `cache` from transformers 5.24 on, `past_key_values` before."""
    return "cache" if "cache" in inspect.signature(forward).parameters else "past_key_values"


def load_blt(source: str | Path, *, chunk: int = _CHUNK) -> BltNetwork:
    """Load the entropy model, in float32, on the GPU if torch sees one, else on the CPU.

    Nothing is downloaded.

    Args:
        source: a folder with `config.json` and `model*.safetensors`, or the id of a model in the
            hub's cache. Names may be BLT's own (`facebook/blt-entropy` as published), those of
            transformers' `BltPatcher`, or those of a whole BLT in transformers' layout
            (`itazap/blt-1b-hf`), of which only the patcher is read.
        chunk: tokens computed at a time. Memory and speed depend on it, results do not beyond
            rounding.

    Raises:
        ShardError: there is no such model.
        MissingPackageError: a package of the extra `blt` is not installed.
    """
    torch = require("torch", "blt", "the BLT entropy model")
    described = require("transformers.models.blt.configuration_blt", "blt", "the BLT entropy model")
    library = require("transformers.models.blt.modeling_blt", "blt", "the BLT entropy model")
    folder, title = locate(source)
    settings = read_settings(folder / "config.json")
    places = places_of(folder)
    gate = f"layers.{settings.layers - 1}.mlp.gate_proj.weight"
    if gate not in places:
        raise ShardError(folder, FOREIGN, gate, cure=CURE)
    config = described.BltPatcherConfig(
        vocab_size=VOCABULARY,
        hidden_size=settings.width,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        intermediate_size=math.prod(places[gate][2][:1]),
        rms_norm_eps=settings.norm_eps,
        sliding_window=settings.window,
    )
    # Without memory for weights that are about to be replaced, and without a draw from torch's
    # random numbers.
    with torch.device("meta"):
        patcher = library.BltPatcher(config)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    patcher.load_state_dict(load_weights(folder, places, patcher.state_dict(), device), assign=True)
    digest = sha256_of(*sorted({path for path, _, _ in places.values()}))
    name = (
        f"{title} sha256={digest[:16]} window={settings.window} heads={settings.heads} "
        f"rope_theta={settings.rope_theta:g} norm_eps={settings.norm_eps:g}"
    )
    return BltNetwork(patcher.eval(), settings, one_line(name), chunk)


@final
class BltEntropyModel(AbstractEntropyModel):
    """The BLT entropy model as reader of documents.

    See this module for tokens, attention and deviations.
    """

    def __init__(self, network: BltNetwork) -> None:
        self._network = network

    @property
    @override
    def name(self) -> str:
        return f"blt-entropy of {self._network.name}"

    @override
    def read(self, octets: UInt8[np.ndarray, " bytes"]) -> Reading:
        blocks = [(block.entropies, block.surprisals) for block in self._network.blocks(octets)]
        none = np.empty(0, np.float32)
        return Reading(
            *(np.concatenate(parts) for parts in zip((none, none), *blocks, strict=True))
        )


@final
class BltEmbedder(AbstractEmbedder):
    """States of the BLT entropy model before its last norm, pooled as in layout F of the shards.

    The embedding of a patch is the mean of its bytes' states, its prominence the largest norm of
    one of them. States are pooled as they are computed: those of a long document are never all
    held.
    """

    def __init__(self, network: BltNetwork) -> None:
        self._network = network

    @property
    @override
    def name(self) -> str:
        return f"blt-states, mean, of {self._network.name}"

    @property
    @override
    def width(self) -> int:
        return self._network.width

    @override
    def embed(
        self, octets: UInt8[np.ndarray, " bytes"], lengths: Int64[np.ndarray, " patches"]
    ) -> Iterator[tuple[Float32[np.ndarray, "block dim"], Float32[np.ndarray, " block"]]]:
        if (lengths < 1).any() or int(lengths.sum()) != len(octets):
            problem = f"got a least of {lengths.min(initial=0)} and a sum of {lengths.sum()}"
            raise ValueError(
                f"`lengths` must be positive and add up to {len(octets)} bytes; {problem}."
            )
        return pool_blocks(
            (b.states for b in self._network.blocks(octets) if len(b.states)), lengths
        )
