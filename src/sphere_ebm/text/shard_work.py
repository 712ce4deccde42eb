"""The shards of a run of `ingest` while they are written, and what they are made with."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

from sphere_ebm.errors import LabelError, Refused, ShardError, one_line
from sphere_ebm.files.container import read_container
from sphere_ebm.files.journal import Journal
from sphere_ebm.files.shards.layouts import TEXT_FILE
from sphere_ebm.files.shards.own import NORM, TableColumns
from sphere_ebm.progress import StageProgress
from sphere_ebm.text.base import AbstractEmbedder, AbstractEntropyModel
from sphere_ebm.text.documents import FileText, read_texts
from sphere_ebm.text.finding import TextItem
from sphere_ebm.text.folder import MADE_WITH
from sphere_ebm.text.own import with_columns
from sphere_ebm.text.patching import Patching
from sphere_ebm.text.shard_writer import write_shard

_TOLERANCE = 0.1
_LONG_ENOUGH = 50
"""A mean length this far off is told, in texts of at least so many patches."""


@final
@dataclass(frozen=True)
class ShardSettings:
    """What every shard of a run is made with."""

    patching: Patching
    mean_length: float
    entropy: AbstractEntropyModel
    embedder: AbstractEmbedder
    columns: TableColumns
    encoding: str
    max_bytes: int
    prominence: str
    keep_finished: bool

    @property
    def made_with(self) -> str:
        """What a shard's bytes depend on besides its text, in one line."""
        return json.dumps(self.to_dict(), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """The same by names, for `ingest.json`."""
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
            # left out where it is the default, so that shards of older versions are known again
            **({} if self.prominence == NORM else {"prominence": self.prominence}),
        }


@final
@dataclass
class ShardWork:
    """The shards of a run while they are written."""

    journal: Journal
    settings: ShardSettings
    refused: list[Refused]
    files: dict[Path, Path] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    kept: int = 0

    def write_all(
        self, items: Sequence[TextItem], names: Sequence[str], progress: StageProgress | None
    ) -> None:
        """Write the shard of every text that can be read.

        Raises LabelError where there is none, or a text has changed that must not.
        """
        for done, (item, name) in enumerate(zip(items, names, strict=True)):
            if progress is not None:
                progress("ingest", done, len(items))
            try:
                self._write(item, name)
            except LabelError:
                self.journal.close()
                raise
            except ShardError as problem:
                self.refused.append(Refused(item.source, str(problem)))
                _forget(self.journal, name)
        if not self.files:
            self.journal.close()
            raise LabelError("no input could be used", self.refused)

    def _write(self, item: TextItem, name: str) -> None:
        settings = self.settings
        text = read_texts(
            item,
            column=settings.columns.text,
            encoding=settings.encoding,
            max_bytes=settings.max_bytes,
        )
        text = with_columns(text, settings.columns, settings.encoding)
        self.kept += _write(self.journal, name, text, settings)
        path = self.journal.folder / name
        said = (*text.warnings, *_about_length(path, settings))
        self.warnings += [f"{item.source}: {warning}" for warning in said]
        self.files[item.source] = path


def _write(journal: Journal, name: str, text: FileText, settings: ShardSettings) -> bool:
    """Write the shard, unless it is there already; returns whether it was."""
    path = journal.folder / name
    if journal.holds(name):
        metadata = read_container(path).metadata
        held = (metadata.get("source_sha256"), metadata.get(MADE_WITH))
        same = held == (text.digest, settings.made_with)
        # one of a finished map may be of a version that named texts otherwise
        if same and (settings.keep_finished or metadata.get(TEXT_FILE) == one_line(text.name)):
            return True
        if settings.keep_finished:
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
        metadata={MADE_WITH: settings.made_with},
        prominence=settings.prominence,
    )
    journal.record(name, digest)
    return False


def _about_length(shard: Path, settings: ShardSettings) -> Iterator[str]:
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
