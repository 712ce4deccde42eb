"""The documents of one file as UTF-8 bytes: of plain text, rows, tables, HTML and PDF."""

import codecs
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple, final

import numpy as np
from jaxtyping import Float32, Int64, UInt8

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import open_regular
from sphere_ebm.files.shards.lines import CELL_SUFFIXES, LINE_SUFFIXES, rows_of_cells
from sphere_ebm.files.shards.own import OwnColumns
from sphere_ebm.text.converting import (
    HTML_SUFFIXES,
    MARKDOWN_SUFFIXES,
    PDF_SUFFIX,
    html_prose,
    pdf_prose,
    without_front_matter,
)
from sphere_ebm.text.delimited import (
    column_of_text,
    prose_of,
)
from sphere_ebm.text.finding import BINARY_SUFFIXES, MARKS, PARQUET_SUFFIX, TextItem
from sphere_ebm.text.tables import json_texts, parquet_texts

MAX_BYTES = 64 * 2**20
"""Bytes of text that one file may hold, unless the caller says otherwise."""

_SNIFFED = 8192  # bytes looked at to tell text from anything else
_HASHED_FIRST = (PARQUET_SUFFIX, PDF_SUFFIX)
_CHUNK = 1 << 18
_REPLACEMENT = "\ufffd".encode()


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class FileText:
    """The documents of one file: B bytes, N documents.

    - `source`: the file.
    - `name`: what it is called, see `TextItem`.
    - `octets` (B,): the documents in UTF-8, one after another with nothing between them.
    - `documents` (N,): their names, unique within the file: that of the file, or of a file of rows
      `line 3`, `row 3`, which is where the document stands in the file, counted from 1.
    - `lengths` (N,): bytes of each document, positive; they add up to B.
    - `digest`: SHA-256 (hex) of the file as it was read.
    - `warnings`: one line each, for the summary shown to the user.
    - `own`: columns of the user's own, a value per document.
    - `prominence` (N,): what the radii of a document's patches order, where a column says it.
    """

    source: Path
    name: str
    octets: UInt8[np.ndarray, " bytes"]
    documents: tuple[str, ...]
    lengths: Int64[np.ndarray, " documents"]
    digest: str
    warnings: tuple[str, ...] = ()
    own: OwnColumns = field(default_factory=OwnColumns)
    prominence: Float32[np.ndarray, " documents"] | None = None


def read_texts(
    item: TextItem,
    *,
    column: str | None = None,
    encoding: str = "utf-8",
    max_bytes: int = MAX_BYTES,
) -> FileText:
    """Read the documents of one file.

    - `.jsonl`, `.ndjson`: one document per line, see `json_texts`; blank lines are skipped.
    - `.parquet`: one document per row, see `parquet_texts`.
    - `.csv`, `.tsv`: one document per row of the text column; where there is none, one document of
      all cells that hold words, a line for each row.
    - `.html`, `.htm`, `.xhtml`, `.pdf`: one document, what a reader would see as text.
    - Any other file is one document, and in UTF-8 its bytes are kept as they are, a byte order mark
      included. Of Markdown the front matter is left out.

    Rows whose text is null or holds white space only are skipped with a warning. `column` matters
    to files of rows only, `encoding` to all but Parquet and PDF: what is in another encoding
    becomes UTF-8.

    Cost: the file is read once (Parquet and PDF: hashed, then read); memory is that of the text,
    and at most that of `max_bytes` and one line or page more.

    Raises:
        ShardError: the item's own `problem` first; a file that cannot be read, is empty or white
            space, is no text, is not in `encoding`, holds more than `max_bytes` bytes of text, or a
            line or row that cannot be used, or needs a package that is not installed. Nothing of
            such a file is taken.
        ValueError: an encoding that Python does not know, or `max_bytes` below 1.
    """
    check_reading(encoding, max_bytes)
    if item.problem is not None:
        raise item.problem
    digest = hashlib.sha256()
    with open_regular(item.source) as file:
        if not os.fstat(file.fileno()).st_size:
            raise ShardError(item.source, "is empty", cure="leave it out")
        if item.source.suffix.lower() in _HASHED_FIRST:
            found = _random_access(item, file, digest.update, column, max_bytes)
        else:
            found = _streamed(item, file, digest.update, column, encoding, max_bytes)
    return FileText(
        source=item.source,
        name=item.name,
        octets=np.frombuffer(found.octets, np.uint8),
        documents=found.documents,
        lengths=np.array(found.lengths, np.int64),
        digest=digest.hexdigest(),
        warnings=found.warnings,
    )


class _Gathered(NamedTuple):
    """What was read of a file, see `FileText`."""

    octets: bytes | bytearray
    documents: tuple[str, ...]
    lengths: list[int]
    warnings: tuple[str, ...] = ()


_Seen = Callable[[bytes], object]


def _random_access(
    item: TextItem, file: BinaryIO, seen: _Seen, column: str | None, max_bytes: int
) -> _Gathered:
    """Of formats that are not read from their beginning to their end, and so are hashed first."""
    path = item.source
    before = os.fstat(file.fileno())
    while chunk := file.read(_CHUNK):
        seen(chunk)
    file.seek(0)
    if path.suffix.lower() == PARQUET_SUFFIX:
        found = _gather(path, "row", parquet_texts(path, file, column), max_bytes)
    else:
        pages = (page.encode("utf-8", "replace") + b"\n\n" for page in pdf_prose(path, file))
        found = _whole(item, pages, max_bytes)
    after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ShardError(
            path, "was changed while it was read", cure="run again once it is complete"
        )
    return found


def _streamed(
    item: TextItem,
    file: BinaryIO,
    seen: _Seen,
    column: str | None,
    encoding: str,
    max_bytes: int,
) -> _Gathered:
    path = item.source
    suffix = path.suffix.lower()
    if suffix in LINE_SUFFIXES:
        blocks = _utf8(path, file, encoding, seen, broken_off=True)
        return _gather(path, "line", json_texts(path, blocks, column, max_bytes), max_bytes)
    found = _whole(item, _utf8(path, file, encoding, seen), max_bytes)
    if suffix in MARKDOWN_SUFFIXES:
        return _one(item, without_front_matter(bytes(found.octets)))
    if suffix in HTML_SUFFIXES:
        return _one(item, html_prose(path, found.octets.decode()).encode())
    if suffix in CELL_SUFFIXES:
        return _table(item, found.octets.decode(), column, max_bytes)
    return found


def _whole(item: TextItem, blocks: Iterable[bytes], max_bytes: int) -> _Gathered:
    octets = bytearray()
    for block in blocks:
        octets += block
        _check_size(item.source, len(octets), max_bytes)
    return _one(item, octets)


def _one(item: TextItem, octets: bytes | bytearray) -> _Gathered:
    if not octets.removeprefix(codecs.BOM_UTF8).strip():
        raise ShardError(item.source, "holds no text", cure="leave it out")
    return _Gathered(octets, (item.name,), [len(octets)])


def _table(item: TextItem, text: str, column: str | None, max_bytes: int) -> _Gathered:
    """Of a table its column of texts, a document for each row, or all of its prose as one."""
    rows = iter(rows_of_cells(item.source, text))
    heading = next(rows, [])
    number = column_of_text(item.source, heading, column)
    if number is None:
        lines = (prose_of(row) for row in (heading, *rows))
        return _one(item, "".join(f"{line}\n" for line in lines if line).encode())
    cells = ((i, row[number] if number < len(row) else None) for i, row in enumerate(rows, 1))
    return _gather(item.source, "row", cells, max_bytes)


def _gather(
    path: Path, unit: str, texts: Iterable[tuple[int, str | None]], max_bytes: int
) -> _Gathered:
    octets = bytearray()
    names = []
    lengths = []
    without = []
    for number, text in texts:
        if not text or text.isspace():
            without.append(number)
            continue
        try:
            document = text.encode("utf-8")
        except UnicodeEncodeError as error:
            half = f"U+{ord(text[error.start]):04X}"
            problem = f"{unit} {number} holds half a surrogate pair ({half}), which is no character"
            raise ShardError(path, problem, index=number, cure=f"repair the {unit}") from error
        if b"\0" in document:
            problem = f"{unit} {number} holds a NUL character"
            raise ShardError(path, problem, index=number, cure=f"repair the {unit}")
        _check_size(path, len(octets) + len(document), max_bytes)
        octets += document
        names.append(f"{unit} {number}")
        lengths.append(len(document))
    if not names:
        raise ShardError(path, "holds no text", cure=f"give at least one {unit} with text")
    warnings = (
        (f"{unit}s without text skipped: {len(without)}, first {unit} {without[0]}",)
        if without
        else ()
    )
    return _Gathered(octets, tuple(names), lengths, warnings)


def _check_size(path: Path, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        problem = f"holds more than {max_bytes} bytes of text"
        raise ShardError(path, problem, cure="split the file, or raise --max-bytes")


def check_reading(encoding: str, max_bytes: int) -> None:
    """Raises ValueError for what `read_texts` would refuse to work with, whatever the file."""
    if max_bytes < 1:
        raise ValueError(f"`max_bytes` must be at least 1; got {max_bytes}.")
    _check_encoding(encoding)


def _check_encoding(encoding: str) -> None:
    try:
        "a".encode(encoding)
    except (LookupError, ValueError) as error:
        raise ValueError(
            "`encoding` must be a text encoding that Python knows, such as 'utf-8', 'utf-16' or"
            f" 'latin-1'; got {encoding!r}."
        ) from error


def _utf8(
    path: Path,
    file: BinaryIO,
    encoding: str,
    seen: _Seen,
    *,
    broken_off: bool = False,
) -> Iterator[bytes]:
    """The text of an open file in UTF-8, in blocks.

    `seen` is called with every chunk as it was read. Where the file may have `broken_off`, a
    character that its end cuts becomes U+FFFD.

    Raises:
        ShardError: at the first byte that is not in `encoding`, and for NUL characters.
    """
    decoder = codecs.getincrementaldecoder(encoding)()
    head = b""
    end = 0
    while True:
        chunk = file.read(_CHUNK)
        seen(chunk)
        head = head or chunk[:_SNIFFED]
        end = end + len(chunk)
        try:
            # Decoding is strict, so that UTF-8 comes back byte for byte.
            block = decoder.decode(chunk, final=not chunk).encode("utf-8")
        except UnicodeError as error:
            # Bytes that no character begins with were refused before: here one is incomplete.
            if not (broken_off and not chunk and isinstance(error, UnicodeDecodeError)):
                raise _undecodable(path, head, encoding, end, error) from error
            block = _REPLACEMENT
        if b"\0" in block:
            raise _otherwise_encoded(path, head, encoding) or _binary(path)
        yield block
        if not chunk:
            return


def _undecodable(
    path: Path, head: bytes, encoding: str, end: int, error: UnicodeError
) -> ShardError:
    wide = codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if marked := _otherwise_encoded(path, head, encoding):
        return marked
    if path.suffix.lower() in BINARY_SUFFIXES or (b"\0" in head and not wide):
        return _binary(path)
    cure = "name the encoding with --encoding"
    if not isinstance(error, UnicodeDecodeError):
        return ShardError(path, f"is not {encoding} ({error})", cure=cure)
    # `error.object` is what the decoder had kept and got, so it ends where the last chunk does.
    offset = end - len(error.object) + error.start
    value = error.object[error.start]
    problem = f"is not {encoding}: 0x{value:02x} at byte {offset} ({error.reason})"
    return ShardError(path, problem, index=offset, cure=cure)


def _otherwise_encoded(path: Path, head: bytes, encoding: str) -> ShardError | None:
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    if marked is None or codecs.lookup(encoding).name.startswith(marked):
        return None
    return ShardError(
        path, f"is {marked.upper()} by its first bytes, not {encoding}", cure=f"--encoding {marked}"
    )


def _binary(path: Path) -> ShardError:
    return ShardError(
        path, "is binary, not text", cure="give a text file, or name its encoding with --encoding"
    )
