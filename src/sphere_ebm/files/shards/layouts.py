"""Which layout a safetensors shard has.

Its tensors and metadata decide, never a version string.

Per-token layouts (A-D, G) hold one row per token and boundaries; per-patch layouts (F, H) one row
per patch. A, B and C differ in nothing that a file shows, hence one name for the three. E has no
embeddings.
"""

from pathlib import Path
from typing import Literal

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import Container, TensorInfo

LABEL_FORMAT = "sphere_labels_v1"
PLACEMENT_FORMAT = "sphere_placement_v1"
PYRAMID_FORMAT = "sphere_pyramid_v1"
TEXT_FILE = "text_file"
"""What metadata call the name of the text that patches were cut from: its path below the input."""
FROZEN_FORMAT = "sphere_frozen_v1"
Layout = Literal["A-C", "D", "E", "F", "G", "H"]

_PER_PATCH = ("bytes", "patch_entropies")
_PER_TOKEN = ("patch_indices", "patch_mask", "tokens", "mask")


def is_labels(container: Container) -> bool:
    """Whether the file is one of our own label files."""
    return container.metadata.get("format") == LABEL_FORMAT


def detect_layout(container: Container) -> Layout:
    """The layout of a shard.

    Raises:
        ShardError: it has neither embeddings nor the tensors of layout E.
    """
    has = container.tensors.keys()
    if "embeddings" not in has:
        # Layout E, blt_patches_v2, is the only one without embeddings.
        if {"bytes", "patch_lengths"} <= has or container.metadata.get(
            "format"
        ) == "blt_patches_v2":
            return "E"
        found = ", ".join(sorted(has)[:8]) or "no tensor at all"
        raise ShardError(
            container.path,
            f"has no `embeddings` (found: {found})",
            cure="store them as (patches, dim)",
        )
    per_patch = any(name in has for name in _PER_PATCH)
    per_token = len(container.tensors["embeddings"].shape) == 3 or any(
        name in has for name in _PER_TOKEN
    )
    if per_patch or not per_token:
        return "F" if "entropies" in has else "H"
    if "tokens" in has or "mask" in has:
        return "G"
    return "D" if "entropies" in has or "coherence_scores" in has else "A-C"


def readable_layout(container: Container) -> Layout:
    """`detect_layout`.

    Raises:
        ShardError: as `detect_layout` does, and for what holds no embeddings to place: layout E
            and files of our own.
    """
    kinds = {
        LABEL_FORMAT: "label file",
        PLACEMENT_FORMAT: "placement",
        PYRAMID_FORMAT: "pyramid",
        FROZEN_FORMAT: "frozen map",
    }
    own = kinds.get(container.metadata.get("format", ""))
    if own is not None:
        problem = f"is a {own} ({container.metadata['format']}), not a shard"
        raise ShardError(container.path, problem, cure="name the shard it was made from")
    layout = detect_layout(container)
    if layout == "E":
        problem = "format blt_patches_v2 holds bytes and patch lengths but no embeddings"
        raise ShardError(
            container.path,
            problem,
            cure="write it again as blt_patches_v3, which stores embeddings",
        )
    return layout


def drop_leading_ones(shape: tuple[int, ...], axes: int) -> tuple[int, ...]:
    """`shape` without leading axes of 1 that exceed `axes`."""
    while len(shape) > axes and shape[0] == 1:
        shape = shape[1:]
    return shape


def require_length(path: Path, info: TensorInfo, length: int, unit: str) -> None:
    """Refuse a tensor that is not one-dimensional with `length` values.

    Leading axes of 1 are allowed. Raises ShardError.
    """
    if drop_leading_ones(info.shape, 1) != (length,):
        problem = f"shape {info.shape} does not match the {length} {unit} of `embeddings`"
        raise ShardError(path, problem, info.name, cure="write the tensors of one file together")
