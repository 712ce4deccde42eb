"""Entropy models and embedders by name, as the command line knows them."""

from typing import Literal, get_args

from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel
from sphere_ebm.text.blt import BltEmbedder, BltEntropyModel, load_blt
from sphere_ebm.text.byte_model import ByteModel
from sphere_ebm.text.passage_embedder import sentence_transformer
from sphere_ebm.text.static_embedder import StaticEmbedder

EntropyName = Literal["bytes", "blt"]
EmbedderName = Literal["static", "blt", "sentences"]
ENTROPY_MODELS: tuple[str, ...] = get_args(EntropyName)
EMBEDDERS: tuple[str, ...] = get_args(EmbedderName)


def make_models(
    entropy: EntropyName = "bytes",
    embedder: EmbedderName = "static",
    *,
    blt_model: str | None = None,
    sentence_model: str | None = None,
) -> tuple[AbstractEntropyModel, AbstractEmbedder]:
    """Load an entropy model and an embedder; where both are BLT's, they are one network.

    Args:
        entropy: `"bytes"` (`ByteModel`) or `"blt"`.
        embedder: `"static"` (`StaticEmbedder`), `"blt"` or `"sentences"` (`sentence_transformer`).
        blt_model: folder or hub name, for `"blt"` and nothing else.
        sentence_model: folder or hub name, for `"sentences"` and nothing else.

    Raises:
        ValueError: an unknown choice, a model without a name to load it by, or a name for one that
            is not asked for.
        MissingPackageError: the package of an extra is not installed.
        ShardError: there is no such model.
    """
    for choice, known in ((entropy, ENTROPY_MODELS), (embedder, EMBEDDERS)):
        if choice not in known:
            raise ValueError(f"a model must be one of {', '.join(known)}; got {choice!r}.")
    wanted = {"blt_model": "blt" in (entropy, embedder), "sentence_model": embedder == "sentences"}
    for name, given in (("blt_model", blt_model), ("sentence_model", sentence_model)):
        if wanted[name] != (given is not None):
            rule = (
                "must name the model to load"
                if wanted[name]
                else "must be left out: no such model is asked for"
            )
            raise ValueError(f"`{name}` {rule}; got {given!r}.")
    network = None if blt_model is None else load_blt(blt_model)
    reader = ByteModel() if network is None or entropy == "bytes" else BltEntropyModel(network)
    if sentence_model is not None:
        return reader, sentence_transformer(sentence_model)
    if network is not None and embedder == "blt":
        return reader, BltEmbedder(network)
    return reader, StaticEmbedder()
