"""Label files, format `sphere_labels_v1`: where each patch of a shard lies on the map."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float32, Int32, Int64, UInt8

from sphere_ebm.errors import ShardError, one_line
from sphere_ebm.files.atomic import sha256_of
from sphere_ebm.files.container import Container, read_container
from sphere_ebm.files.frames import pandas_frame
from sphere_ebm.files.shards.columns import COLUMNS, Columns
from sphere_ebm.files.shards.layouts import LABEL_FORMAT, TEXT_FILE, is_labels
from sphere_ebm.files.shards.own import OWN_METADATA, OwnColumns
from sphere_ebm.files.shards.table import PatchTable, whole_names
from sphere_ebm.files.tensors import write_tensors

RESERVED = (
    *("format", "version", "source_file", "source_sha256", "source_parts", "documents"),
    TEXT_FILE,
    OWN_METADATA,
)
"""Metadata that the writer of label files adds."""
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
    """(P,) the error of the direction: root mean square angle, in radians, to where an independent
    run of the same map puts the patch.
    """
    thermal_std: Float32[np.ndarray, " patches"] | None = None
    """(P,) spread of the direction over the last samples of the map's own run, in radians; 1 for a
    patch that wandered over the whole sphere. None, as what follows, in a file of a version
    without it.
    """
    modes: Float32[np.ndarray, "patches 2 3"] | None = None
    """(P, 2, 3) two places where runs gather, the patch's own first; the same twice where there is
    one. None, as the next, where no replica was run.
    """
    mode_weight: Float32[np.ndarray, "patches 2"] | None = None
    """(P, 2) estimated probability that another run comes to lie within 10° of each mode."""
    point_energy: Float32[np.ndarray, " patches"] | None = None
    """(P,) the patch's own share of H."""
    kept: Float32[np.ndarray, " patches"] | None = None
    """(P,) share of its nearest in the embedding that are its nearest on the map, in [0, 1]."""
    kept_p_value: Float32[np.ndarray, " patches"] | None = None
    """(P,) probability that permuted neighbours keep as many or more, in (0, 1]."""
    copies: Int32[np.ndarray, " patches"] | None = None
    """(P,) how many patches of the map have the same embedding and prominence, and so the same
    place; None where no two do.
    """
    embeddings: Float32[np.ndarray, "patches dim"]
    prominence: Float32[np.ndarray, " patches"]
    patch_start: Int32[np.ndarray, " patches"]
    patch_length: Int32[np.ndarray, " patches"]
    bytes: UInt8[np.ndarray, " bytes"] | None
    bytes_offset: Int64[np.ndarray, " offsets"] | None
    metadata: dict[str, str]
    """As stored."""
    own: OwnColumns = field(default_factory=OwnColumns)
    """Columns of the user's own, a value per patch."""

    def __len__(self) -> int:
        return len(self.radius)

    @property
    def file_name(self) -> str:
        """The text that was cut into patches, by its path below the input, else the source's stem.

        Files of older versions know the stem only.
        """
        stem = Path(self.metadata.get("source_file", self.path.name)).stem
        return self.metadata.get(TEXT_FILE, stem)

    @property
    def named_documents(self) -> list[tuple[str, int]]:
        """`documents`, of a file of several each with the name of the file before its own."""
        found = self.documents
        names = whole_names([name for name, _ in found], self.file_name)
        return [(name, count) for name, (_, count) in zip(names, found, strict=True)]

    @property
    def documents(self) -> list[tuple[str, int]]:
        """Documents of the file and how many patches each has, in order.

        One, named as its text or else its source, where nothing else is said. Raises ShardError for
        metadata that do not fit.
        """
        if "documents" not in self.metadata:
            return [(self.file_name, len(self))]
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

    def to_pandas(self) -> Any:
        """A data frame with a row for each patch, in the shard's order.

        `document`, `text` (where the file has bytes; decoded as UTF-8 with replacements),
        `prominence`, `radius`, `theta`, `phi`, `x`, `y`, `z` and the other columns of one number
        for each patch, by the names that they have here.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        columns: dict[str, Any] = {
            "document": [name for name, count in self.named_documents for _ in range(count)]
        }
        if self.bytes is not None and self.bytes_offset is not None:
            whole = self.bytes.tobytes()
            ends = itertools.pairwise(self.bytes_offset.tolist())
            columns["text"] = [whole[begin:end].decode("utf-8", "replace") for begin, end in ends]
        for name in ("prominence", "patch_start", "patch_length", "theta", "phi", *COLUMNS):
            held = getattr(self, name)
            if held is not None:
                columns[name] = held
        return pandas_frame(columns)


def write_labels(
    path: Path | str,
    table: PatchTable,
    columns: Columns,
    *,
    metadata: Mapping[str, str],
    source_sha256: str | None = None,
) -> str:
    """Write the labels of `table`'s patches, atomically; returns the SHA-256 (hex) of the file.

    `columns` are those of `COLUMNS`, a row per patch; what is optional there may be missing. The
    same arguments give the same bytes, in any process. To `metadata` are added `format`,
    `version` (of the package), `source_file`, `text_file` where it is known, `source_sha256`, of a
    document in several files `source_parts` (JSON list of names), and of several documents in one
    file `documents` (JSON list of [name, patches], in the order of the rows). The hash of several
    parts is that of their bytes one after another. It is `source_sha256` where the caller took it
    when reading, else that of the source as it is now.

    Raises:
        ValueError: columns that are missing, unknown or of other shapes, not finite values,
            directions that are no unit vectors and reserved metadata keys.
        ShardError: the source can no longer be read.
        OSError: the file cannot be written.
    """
    columns = _checked_columns(len(table), columns)
    taken = [key for key in RESERVED if key in metadata]
    if taken:
        raise ValueError(
            f"`metadata` must leave {', '.join(RESERVED)} to the writer; got {', '.join(taken)}."
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
    tensors |= table.own.tensors()
    return write_tensors(Path(path), tensors, {**metadata, **_provenance(table, source_sha256)})


def _checked_columns(patches: int, given: Columns) -> Columns:
    """The columns in the types of the format, in the order of `COLUMNS`."""
    needed = {name for name, column in COLUMNS.items() if not column.optional}
    wrong = sorted((needed - set(given)) | (set(given) - set(COLUMNS)))
    if wrong:
        raise ValueError(
            f"`columns` must be those of COLUMNS, {', '.join(COLUMNS)}; missing or unknown:"
            f" {', '.join(wrong)}."
        )
    columns = {
        name: np.asarray(given[name], column.dtype)
        for name, column in COLUMNS.items()
        if name in given
    }
    for name, column in columns.items():
        shape = COLUMNS[name].shape(patches)
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
    return columns


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
    if table.text_file is not None:
        provenance[TEXT_FILE] = one_line(table.text_file)
    provenance |= table.own.metadata()
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
    angle = {name: _floats(container, name, (patches,)) for name in ("theta", "phi")}
    dim = _shape(container, "embeddings")[-1] if _shape(container, "embeddings") else 0
    columns = _columns(container, patches)
    if not np.array_equal(
        _floats(container, "sphere_coords", (patches, 3)),
        np.stack([columns["radius"], angle["theta"], angle["phi"]], axis=1),
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
        embeddings=_floats(container, "embeddings", (patches, dim)),
        prominence=_floats(container, "prominence", (patches,)),
        patch_start=_integers(container, "patch_start", patches),
        patch_length=_integers(container, "patch_length", patches),
        bytes=octets,
        bytes_offset=offset,
        metadata=container.metadata,
        own=OwnColumns.of_file(container, patches),
        **angle,
        **columns,
    )


def _columns(container: Container, patches: int) -> dict[str, Any]:
    """The columns of `COLUMNS`, without the optional ones that the file does not have."""
    found = {}
    for name, column in COLUMNS.items():
        stored = "radii" if name == "radius" else name
        if column.optional and stored not in container.tensors:
            continue
        if column.dtype is np.int32:
            found[name] = _integers(container, stored, patches)
        else:
            found[name] = _floats(container, stored, column.shape(patches))
    return found


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
