"""Label files, format `sphere_labels_v1`: where each patch of a shard lies on the map."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from sphere_ebm.errors import ShardError, one_line
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.container import Container, read_container
from sphere_ebm.files.shards.layouts import LABEL_FORMAT, is_labels
from sphere_ebm.files.shards.table import PatchTable
from sphere_ebm.files.tensors import write_tensors

_RESERVED = ("format", "version", "source_file", "source_sha256", "source_parts", "documents")
_UNIT_TOLERANCE = 1e-3
_CURE = "label the shard again"


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Labels:
    """What a label file holds, rows in the shard's patch order.

    `embeddings`, `prominence`, `patch_start`, `patch_length`, `bytes` and `bytes_offset` are those
    of the shard's `PatchTable`.
    """

    path: Path
    direction: Float32[np.ndarray, "patches 3"]
    """(P, 3) unit vectors: the mean direction of each patch over the last samples of the run that
    placed it.
    """
    radius: Float32[np.ndarray, " patches"]
    """(P,) mean radius over the last samples, >= 0, in shell units."""
    theta: Float32[np.ndarray, " patches"]
    """(P,) colatitude in [0, pi], in radians."""
    phi: Float32[np.ndarray, " patches"]
    """(P,) azimuth in [0, 2 pi), in radians."""
    shell: Int32[np.ndarray, " patches"]
    """(P,) number of the shell, 0 innermost."""
    radius_std: Float32[np.ndarray, " patches"]
    """(P,) spread of the radius over the last samples, in shell units: the standard deviation of
    each patch by itself.
    """
    angle_std: Float32[np.ndarray, " patches"]
    """(P,) spread of the direction over the last samples, in radians; 1 for a patch that wandered
    over the whole sphere.
    """
    embeddings: Float32[np.ndarray, "patches dim"]
    prominence: Float32[np.ndarray, " patches"]
    patch_start: Int32[np.ndarray, " patches"]
    patch_length: Int32[np.ndarray, " patches"]
    bytes: UInt8[np.ndarray, " bytes"] | None
    bytes_offset: Int64[np.ndarray, " offsets"] | None
    metadata: dict[str, str]
    """As stored."""

    def __len__(self) -> int:
        return len(self.radius)

    @property
    def documents(self) -> list[tuple[str, int]]:
        """Documents of the file and how many patches each has, in order.

        One, named as the source, where nothing else is said. Raises ShardError for metadata that do
        not fit.
        """
        if "documents" not in self.metadata:
            return [(Path(self.metadata.get("source_file", self.path.name)).stem, len(self))]
        try:
            found = [
                (str(name), int(count)) for name, count in json.loads(self.metadata["documents"])
            ]
        except (ValueError, TypeError) as error:
            raise ShardError(
                self.path, f"metadata 'documents' cannot be read ({error})", cure=_CURE
            ) from error
        if sum(count for _, count in found) != len(self):
            raise ShardError(
                self.path, f"metadata 'documents' do not add up to {len(self)} patches", cure=_CURE
            )
        return found

    @property
    def sphere_coords(self) -> Float32[np.ndarray, "patches 3"]:
        """(r, theta, phi)."""
        return np.stack([self.radius, self.theta, self.phi], axis=1)


def write_labels(
    path: Path | str,
    table: PatchTable,
    *,
    direction: Float32[np.ndarray, "patches 3"],
    radius: Float32[np.ndarray, " patches"],
    shell: Int32[np.ndarray, " patches"],
    radius_std: Float32[np.ndarray, " patches"],
    angle_std: Float32[np.ndarray, " patches"],
    metadata: Mapping[str, str],
    source_sha256: str | None = None,
) -> str:
    """Write the labels of `table`'s patches, atomically; returns the SHA-256 (hex) of the file.

    The same arguments give the same bytes, in any process. To `metadata` are added `format`,
    `version` (of the package), `source_file`, `source_sha256`, of a document in several files
    `source_parts` (JSON list of names), and of several documents in one file `documents` (JSON list
    of [name, patches], in the order of the rows). The hash of several parts is that of their bytes
    one after another. It is `source_sha256` where the caller took it when reading, else that of the
    source as it is now.

    Raises:
        ValueError: columns of other shapes, not finite values, directions that are no unit vectors
            and reserved metadata keys.
        ShardError: the source can no longer be read.
        OSError: the file cannot be written.
    """
    columns = {
        "direction": np.asarray(direction, np.float32),
        "radius": np.asarray(radius, np.float32),
        "shell": np.asarray(shell, np.int32),
        "radius_std": np.asarray(radius_std, np.float32),
        "angle_std": np.asarray(angle_std, np.float32),
    }
    _check_columns(len(table), columns)
    taken = [key for key in _RESERVED if key in metadata]
    if taken:
        raise ValueError(
            f"`metadata` must leave {', '.join(_RESERVED)} to the writer; got {', '.join(taken)}."
        )
    # Only here: it imports JAX, which takes seconds and 150 MB, and readers need none of it.
    from sphere_ebm.geometry.sphere import angles

    theta, phi = angles(columns["direction"])
    radii = columns.pop("radius")
    coordinates = np.stack([radii, theta, phi], axis=1)
    tensors = columns | {"radii": radii, "theta": theta, "phi": phi, "sphere_coords": coordinates}
    tensors |= {
        "embeddings": table.embeddings,
        "prominence": table.prominence,
        "patch_start": table.patch_start,
        "patch_length": table.patch_length,
    }
    if table.bytes is not None and table.bytes_offset is not None:
        tensors |= {"bytes": table.bytes, "bytes_offset": table.bytes_offset}
    return write_tensors(Path(path), tensors, {**metadata, **_provenance(table, source_sha256)})


def _check_columns(patches: int, columns: dict[str, np.ndarray]) -> None:
    for name, column in columns.items():
        shape = (patches, 3) if name == "direction" else (patches,)
        if column.shape != shape:
            raise ValueError(
                f"`{name}` must have shape {shape}, one row per patch; got {column.shape}."
            )
        if not np.isfinite(column).all():
            raise ValueError(f"`{name}` must be finite; got {column[~np.isfinite(column)][0]}.")
    norm = np.linalg.norm(columns["direction"].astype(np.float64), axis=1)
    if patches and np.abs(norm - 1).max() > _UNIT_TOLERANCE:
        worst = int(np.argmax(np.abs(norm - 1)))
        raise ValueError(
            f"`direction` must hold unit vectors; row {worst} has length {norm[worst]:.6g}."
        )


def _provenance(table: PatchTable, digest: str | None) -> dict[str, str]:
    parts = table.parts or (table.source,)
    try:
        digest = digest or sha256_of(*parts)
    except OSError as error:
        problem = f"the source can no longer be read ({error.strerror or error})"
        raise ShardError(table.source, problem, cure="put the file back and label again") from error
    provenance = {
        "format": LABEL_FORMAT,
        "version": version("sphere-ebm"),
        "source_file": one_line(table.source.name),
        "source_sha256": digest,
    }
    if len(table.documents) > 1 and (np.diff(table.document) >= 0).all():
        counts = np.bincount(table.document, minlength=len(table.documents))
        named = [
            [one_line(name), int(count)]
            for name, count in zip(table.documents, counts, strict=True)
        ]
        provenance["documents"] = json.dumps(named, ensure_ascii=False)
    if len(parts) > 1:
        provenance["source_parts"] = json.dumps([one_line(part.name) for part in parts])
    return provenance


def read_labels(path: Path | str) -> Labels:
    """Read a label file and verify its format and shapes.

    Raises:
        ShardError: it is damaged, of another format, or its tensors do not belong together.
    """
    container = read_container(Path(path))
    if not is_labels(container):
        problem = f"format is {container.metadata.get('format')!r}, not {LABEL_FORMAT!r}"
        raise ShardError(container.path, problem, cure="name a *.sphere.safetensors file")
    patches = _shape(container, "radii")[0] if len(_shape(container, "radii")) == 1 else -1
    floats = {
        name: _floats(container, name, (patches,))
        for name in ("theta", "phi", "radius_std", "angle_std")
    }
    dim = _shape(container, "embeddings")[-1] if _shape(container, "embeddings") else 0
    radius = _floats(container, "radii", (patches,))
    if not np.array_equal(
        _floats(container, "sphere_coords", (patches, 3)),
        np.stack([radius, floats["theta"], floats["phi"]], axis=1),
    ):
        raise ShardError(
            container.path,
            "does not agree with `radii`, `theta` and `phi`",
            "sphere_coords",
            cure=_CURE,
        )
    octets, offset = _bytes(container, patches)
    return Labels(
        path=container.path,
        direction=_floats(container, "direction", (patches, 3)),
        radius=radius,
        shell=_integers(container, "shell", patches),
        embeddings=_floats(container, "embeddings", (patches, dim)),
        prominence=_floats(container, "prominence", (patches,)),
        patch_start=_integers(container, "patch_start", patches),
        patch_length=_integers(container, "patch_length", patches),
        bytes=octets,
        bytes_offset=offset,
        metadata=container.metadata,
        **floats,
    )


def _shape(container: Container, name: str) -> tuple[int, ...]:
    if name not in container.tensors:
        raise ShardError(container.path, f"`{name}` is missing", name, cure=_CURE)
    return container.tensors[name].shape


def _require(container: Container, name: str, shape: tuple[int, ...], dtype: str) -> None:
    if _shape(container, name) != shape or container.tensors[name].dtype != dtype:
        found = f"{container.tensors[name].dtype} {list(container.tensors[name].shape)}"
        raise ShardError(container.path, f"is {found}, not {dtype} {list(shape)}", name, cure=_CURE)


def _floats(container: Container, name: str, shape: tuple[int, ...]) -> np.ndarray:
    _require(container, name, shape, "F32")
    return container.floats(name).reshape(shape)


def _integers(container: Container, name: str, patches: int) -> np.ndarray:
    _require(container, name, (patches,), "I32")
    return container.integers(name).astype(np.int32)


def _bytes(container: Container, patches: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    if "bytes" not in container.tensors and "bytes_offset" not in container.tensors:
        return None, None
    shape = _shape(container, "bytes")
    _require(container, "bytes", (shape[0] if shape else 0,), "U8")
    _require(container, "bytes_offset", (patches + 1,), "I64")
    offset = container.integers("bytes_offset")
    if offset[0] != 0 or offset[-1] != shape[0] or (np.diff(offset) < 0).any():
        raise ShardError(
            container.path, f"does not rise from 0 to {shape[0]}", "bytes_offset", cure=_CURE
        )
    return container.octets("bytes"), offset
