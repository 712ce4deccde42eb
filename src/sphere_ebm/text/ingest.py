"""`ingest`: texts in, shards out, one per file.

Resumable: the same command continues what a dead run began.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from sphere_ebm.errors import LabelError, MissingPackageError, Refused, one_line
from sphere_ebm.files.container import Container, read_container
from sphere_ebm.files.folders import locked
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.shards.naming import unique_names
from sphere_ebm.files.shards.own import NORM, TableColumns
from sphere_ebm.progress import StageProgress
from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel
from sphere_ebm.text.byte_model import ByteModel
from sphere_ebm.text.converting import PDF_SUFFIX
from sphere_ebm.text.documents import MAX_BYTES, check_reading
from sphere_ebm.text.finding import Found, Patterns, TextItem, search_texts
from sphere_ebm.text.folder import SHARD_SUFFIX, claim_shards, write_manifest
from sphere_ebm.text.patching import Patching
from sphere_ebm.text.prominence import check_prominence, ordering_column
from sphere_ebm.text.shard_work import ShardSettings, ShardWork
from sphere_ebm.text.static_embedder import StaticEmbedder
from sphere_ebm.text.statistics import PatchStatistics, joined

MEAN_LENGTH = 32.0
"""Bytes that a patch has on average, unless the caller says otherwise."""

_LISTED = 20
"""Files with one ending that are listed by name where they are passed over."""


@final
@dataclass(frozen=True)
class IngestRun:
    """What `ingest` did.

    `files`: the shard of each text that was read, by the text's path. `statistics`: of all patches.
    `bits_per_byte`: cross-entropy of the entropy model (`"model"`) and of two compressors
    (`"bzip2"`, `"xz"`), each file on its own. `kept`: how many shards an earlier run had written.
    `warnings`: what the texts said about themselves. `passed_over`: files in searched folders and
    globs that are empty or evidently no text, sorted by path. `excluded`: those that the patterns
    left out.
    """

    output: Path
    files: dict[Path, Path]
    statistics: PatchStatistics
    bits_per_byte: dict[str, float]
    refused: tuple[Refused, ...]
    warnings: tuple[str, ...]
    kept: int
    passed_over: tuple[Path, ...] = ()
    excluded: tuple[Path, ...] = ()


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
    prominence: str = NORM,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    id_column: str | None = None,
    keep: Sequence[str] = (),
    overwrite: bool = False,
    keep_finished: bool = False,
    not_searched: Path | str | None = None,
    progress: StageProgress | None = None,
) -> IngestRun:
    """Cut texts into patches, embed them, and write a shard for each file into `output`.

    `label` places them.

    Nothing that a shard holds depends on other files, its name aside where others have the same:
    neither their order nor their number changes a byte of it.

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
        prominence: what the radius of a patch is to order: a kind of `PROMINENCES`, see
            `prominence_of`, or a column of numbers in files of rows.
        include: shell patterns of the files that are taken of folders and globs, see `Patterns`;
            none: all.
        exclude: shell patterns of files that are not taken of them.
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
            know, a `prominence` that cannot be.
        MissingPackageError: a model needs a package that is not installed.
        OSError: the output cannot be written.
    """
    check_reading(encoding, max_bytes)
    _check_mean_length(mean_length)
    check_prominence(prominence)
    patterns = Patterns(tuple(include), tuple(exclude))
    found, refused = _found(inputs, output if not_searched is None else not_searched, patterns)
    settings = ShardSettings(
        patching or Patching(forced_starts=False),
        mean_length,
        entropy or ByteModel(),
        embedder or StaticEmbedder(),
        TableColumns(
            text=column, id=id_column, keep=tuple(keep), prominence=ordering_column(prominence)
        ),
        encoding,
        max_bytes,
        prominence,
        keep_finished and not overwrite,
    )
    return _written(Path(output), found, refused, settings, overwrite, progress)


def _written(
    folder: Path,
    found: Found,
    refused: list[Refused],
    settings: ShardSettings,
    overwrite: bool,
    progress: StageProgress | None,
) -> IngestRun:
    """Write the shards of what was found, and their list."""
    names = _shard_names(found.items)
    with locked(folder):
        run_id = _run_id(names, settings.made_with)
        journal, stale = claim_shards(folder, run_id, names, overwrite)
        with _dropped_if_vain(journal):
            work = ShardWork(journal, settings, refused)
            work.write_all(found.items, names, progress)
            for name in stale:
                (folder / name).unlink(missing_ok=True)
            statistics, bits = _totals(work.files.values())
            told = {
                "statistics": statistics.to_dict(),
                "bits_per_byte": bits,
                "passed_over": by_ending(found.passed_over),
                "excluded": len(found.excluded),
            }
            write_manifest(journal, settings.to_dict() | told)
    if progress is not None:
        progress("ingest", len(names), len(names))
    return IngestRun(
        folder,
        work.files,
        statistics,
        bits,
        tuple(refused),
        (*work.warnings, *_about_pdf(found.passed_over)),
        work.kept,
        tuple(found.passed_over),
        tuple(found.excluded),
    )


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
    inputs: Path | str | Iterable[Path | str], not_searched: Path | str, patterns: Patterns
) -> tuple[Found, list[Refused]]:
    """What can be read of the inputs or was left aside, and what is refused already.

    Raises:
        LabelError: nothing can be read.
    """
    given = [inputs] if isinstance(inputs, (str, Path)) else list(inputs)
    found = search_texts(given, not_searched, patterns)
    refused = [Refused(item.source, str(item.problem)) for item in found.items if item.problem]
    readable = [item for item in found.items if item.problem is None]
    if not readable:
        raise LabelError("no input could be used", refused)
    return replace(found, items=readable), refused


def _about_pdf(passed_over: Sequence[Path]) -> Iterator[str]:
    """What to say where PDF was passed over for want of a package."""
    count = sum(path.suffix.lower() == PDF_SUFFIX for path in passed_over)
    if count:
        missing = MissingPackageError("pypdf", "pdf", "reading PDF")
        yield f"PDF files passed over: {count}. {missing.problem}; {missing.cure}"


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
