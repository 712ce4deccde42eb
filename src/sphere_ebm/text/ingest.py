"""`ingest`: texts in, shards out, one per file.

Resumable: the same command continues what a dead run began.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import numpy as np

from sphere_ebm.errors import LabelError, Refused, ShardError, one_line
from sphere_ebm.files.container import Container, read_container
from sphere_ebm.files.folders import locked
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.shards.naming import unique_names
from sphere_ebm.files.shards.own import TableColumns
from sphere_ebm.progress import StageProgress
from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel
from sphere_ebm.text.byte_model import ByteModel
from sphere_ebm.text.documents import (
    MAX_BYTES,
    FileText,
    TextItem,
    check_reading,
    read_texts,
    search_texts,
)
from sphere_ebm.text.folder import MADE_WITH, SHARD_SUFFIX, claim_shards, write_manifest
from sphere_ebm.text.own import with_columns
from sphere_ebm.text.patching import Patching
from sphere_ebm.text.shard_writer import write_shard
from sphere_ebm.text.static_embedder import StaticEmbedder
from sphere_ebm.text.statistics import PatchStatistics, joined

MEAN_LENGTH = 32.0
"""Bytes that a patch has on average, unless the caller says otherwise."""

_LISTED = 20
"""Files with one ending that are listed by name where they are passed over."""

_TOLERANCE = 0.1
_LONG_ENOUGH = 50
"""A mean length this far off is told, in texts of at least so many patches."""


@final
@dataclass(frozen=True)
class IngestRun:
    """What `ingest` did.

    `files`: the shard of each text that was read, by the text's path. `statistics`: of all patches.
    `bits_per_byte`: cross-entropy of the entropy model (`"model"`) and of two compressors
    (`"bzip2"`, `"xz"`), each file on its own. `kept`: how many shards an earlier run had written.
    `warnings`: what the texts said about themselves. `passed_over`: files in searched folders and
    globs that are empty or evidently no text, sorted by path.
    """

    output: Path
    files: dict[Path, Path]
    statistics: PatchStatistics
    bits_per_byte: dict[str, float]
    refused: tuple[Refused, ...]
    warnings: tuple[str, ...]
    kept: int
    passed_over: tuple[Path, ...] = ()


@final
@dataclass(frozen=True)
class _Settings:
    """What every shard of a run is made with."""

    patching: Patching
    mean_length: float
    entropy: AbstractEntropyModel
    embedder: AbstractEmbedder
    columns: TableColumns
    encoding: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "version": version("sphere-ebm"),
            "patching": asdict(self.patching),
            "mean_length": self.mean_length if self.patching.threshold is None else None,
            "entropy_model": self.entropy.name,
            "embedding_model": self.embedder.name,
            "column": self.columns.text,
            "encoding": self.encoding,
            **({"keep": self.columns.kept} if self.columns.kept else {}),
            **({"id_column": self.columns.id} if self.columns.id is not None else {}),
        }


def ingest(
    inputs: Path | str | Iterable[Path | str],
    output: Path | str,
    *,
    patching: Patching | None = None,
    mean_length: float = MEAN_LENGTH,
    entropy: AbstractEntropyModel | None = None,
    embedder: AbstractEmbedder | None = None,
    column: str | None = None,
    encoding: str = "utf-8",
    max_bytes: int = MAX_BYTES,
    id_column: str | None = None,
    keep: Sequence[str] = (),
    overwrite: bool = False,
    keep_finished: bool = False,
    not_searched: Path | str | None = None,
    progress: StageProgress | None = None,
) -> IngestRun:
    """Cut texts into patches, embed them, and write a shard for each file into `output`.

    `label` places them.

    Nothing that a shard holds depends on other files: neither their order nor their number changes
    a byte of it.

    Args:
        inputs: files, folders (searched recursively) and globs; one, or several. See `find_texts`
            and `read_texts`.
        output: folder for the shards, made when missing; it may already hold those of this very
            run, finished or not.
        patching: where patches begin; None: `Patching(forced_starts=False)`. Without a threshold in
            it, each file gets the one that brings the mean length of its patches nearest to
            `mean_length` bytes.
        mean_length: of the patches of a file, in bytes, where `patching` has no threshold.
        entropy: model of the next byte; None: `ByteModel`.
        embedder: model of what a patch means; None: `StaticEmbedder`.
        column: the text column of files of rows; None: `text`, else `content`.
        encoding: of text files and JSON lines.
        max_bytes: of text that one file may hold.
        id_column: the column of files of rows that names their documents; None: `line 3`, `row 3`.
        keep: columns of files of rows that every patch of the row carries on.
        overwrite: replace the shards that another run has left in `output`; those that would be the
            same are kept.
        keep_finished: refuse to write a finished shard again whose text has changed.
        not_searched: a folder that is passed over where it lies in a folder of `inputs`; None:
            `output`.
        progress: called as progress("ingest", done, total) with the number of files.

    Raises:
        LabelError: no input could be used, or `output` holds the shards of another run, or files of
            these names, or a text has changed that must not.
        ValueError: `mean_length` below 1, `max_bytes` below 1, an encoding that Python does not
            know.
        MissingPackageError: a model needs a package that is not installed.
        OSError: the output cannot be written.
    """
    check_reading(encoding, max_bytes)
    _check_mean_length(mean_length)
    items, refused, passed = _found(inputs, output if not_searched is None else not_searched)
    entropy = entropy or ByteModel()
    embedder = embedder or StaticEmbedder()
    patching = patching or Patching(forced_starts=False)
    columns = TableColumns(text=column, id=id_column, keep=tuple(keep))
    settings = _Settings(patching, mean_length, entropy, embedder, columns, encoding)
    names = _shard_names(items)
    made_with = json.dumps(settings.to_dict(), sort_keys=True)
    folder = Path(output)
    files = {}
    warnings = list[str]()
    kept = 0
    with locked(folder):
        journal, stale = claim_shards(folder, _run_id(names, made_with), names, overwrite)
        with _dropped_if_vain(journal):
            for done, (item, name) in enumerate(zip(items, names, strict=True)):
                if progress is not None:
                    progress("ingest", done, len(items))
                try:
                    text = read_texts(item, column=column, encoding=encoding, max_bytes=max_bytes)
                    text = with_columns(text, columns, encoding)
                    kept += _write(
                        journal, name, text, settings, made_with, keep_finished and not overwrite
                    )
                except LabelError:
                    journal.close()
                    raise
                except ShardError as problem:
                    refused.append(Refused(item.source, str(problem)))
                    _forget(journal, name)
                    continue
                said = (*text.warnings, *_about_length(folder / name, settings))
                warnings += [f"{item.source}: {warning}" for warning in said]
                files[item.source] = folder / name
            if not files:
                journal.close()
                raise LabelError("no input could be used", refused)
            for name in stale:
                (folder / name).unlink(missing_ok=True)
            statistics, bits = _totals(files.values())
            found = {
                "statistics": statistics.to_dict(),
                "bits_per_byte": bits,
                "passed_over": by_ending(passed),
            }
            write_manifest(journal, settings.to_dict() | found)
    if progress is not None:
        progress("ingest", len(items), len(items))
    told = (tuple(refused), tuple(warnings))
    return IngestRun(folder, files, statistics, bits, *told, kept, tuple(passed))


@contextmanager
def _dropped_if_vain(journal: Journal) -> Iterator[None]:
    """A run that fails leaves no journal that has nothing to tell.

    It has where shards are there, be they written down or not.
    """
    try:
        yield
    except Exception:
        if not any((journal.folder / name).exists() for name in journal.planned):
            journal.close()
        raise


def by_ending(passed: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """How many files were passed over, by the endings of their names, most first.

    Each with the names of the first few; an ending is in lower case, and empty where there is none.
    """
    names: dict[str, list[str]] = {}
    for path in passed:
        names.setdefault(path.suffix.lower(), []).append(one_line(path.name))
    ordered = sorted(names, key=lambda ending: (-len(names[ending]), ending))
    return {
        ending: {"count": len(names[ending]), "first": names[ending][:_LISTED]}
        for ending in ordered
    }


def _check_mean_length(mean_length: float) -> None:
    if not 1 <= mean_length < math.inf:
        raise ValueError(f"`mean_length` must be a finite number of bytes >= 1; got {mean_length}.")


def _found(
    inputs: Path | str | Iterable[Path | str], not_searched: Path | str
) -> tuple[list[TextItem], list[Refused], list[Path]]:
    """What can be read of the inputs, what is refused already, and what was passed over.

    Raises:
        LabelError: nothing can be read.
    """
    given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    found, passed = search_texts(given, not_searched)
    refused = [Refused(item.source, str(item.problem)) for item in found if item.problem]
    items = [item for item in found if item.problem is None]
    if not items:
        raise LabelError("no input could be used", refused)
    return items, refused, passed


def _shard_names(items: Sequence[TextItem]) -> list[str]:
    """A file name for each text's shard.

    `x.sphere.txt` keeps its suffix: `x.sphere.safetensors` would be labels.
    """
    return unique_names(
        [
            replace(item, stem=item.source.name) if item.stem.endswith(".sphere") else item
            for item in items
        ],
        SHARD_SUFFIX,
    )


def _run_id(names: list[str], made_with: str) -> str:
    return hashlib.sha256(json.dumps([sorted(names), made_with]).encode()).hexdigest()[:32]


def _write(
    journal: Journal,
    name: str,
    text: FileText,
    settings: _Settings,
    made_with: str,
    keep_finished: bool,
) -> bool:
    """Write the shard, unless it is there already; returns whether it was."""
    path = journal.folder / name
    if journal.holds(name):
        metadata = read_container(path).metadata
        if (metadata.get("source_sha256"), metadata.get(MADE_WITH)) == (text.digest, made_with):
            return True
        if keep_finished:
            raise LabelError(
                f"{text.source} has changed since the map was made; make it again with --overwrite"
            )
    digest = write_shard(
        path,
        text,
        patching=settings.patching,
        mean_length=settings.mean_length,
        entropy=settings.entropy,
        embedder=settings.embedder,
        metadata={MADE_WITH: made_with},
    )
    journal.record(name, digest)
    return False


def _about_length(shard: Path, settings: _Settings) -> Iterator[str]:
    """What to say where a text of some length cannot be cut as it was wanted."""
    found = json.loads(read_container(shard).metadata["statistics"])
    wanted = settings.mean_length
    if settings.patching.threshold is not None or found["bytes"] < _LONG_ENOUGH * wanted:
        return
    if abs(found["mean"] / wanted - 1) > _TOLERANCE:
        yield (
            f"its patches have {found['mean']:.1f} bytes on average, not {wanted:g}: no threshold"
            " comes nearer"
        )


def _forget(journal: Journal, name: str) -> None:
    """Remove the shard of a text that can no longer be read.

    A killed run may not have written it down.
    """
    journal.finished.pop(name, None)
    (journal.folder / name).unlink(missing_ok=True)


def _totals(shards: Iterable[Path]) -> tuple[PatchStatistics, dict[str, float]]:
    """Statistics of all patches of these shards, and bits per byte of all their bytes.

    They are read from the shards themselves.
    """
    containers = [read_container(path) for path in shards]
    statistics = joined(container.integers("patch_lengths") for container in containers)
    sizes = np.array([_size(container) for container in containers])
    bits: list[Mapping[str, float]] = [
        json.loads(container.metadata["bits_per_byte"]) for container in containers
    ]
    return statistics, {
        name: round(float(np.average([one[name] for one in bits], weights=sizes)), 4)
        for name in bits[0]
    }


def _size(container: Container) -> int:
    return container.tensors["bytes"].shape[0]
