"""From what the user typed to texts.

Files, folders and globs to items, and an item's documents as UTF-8 bytes.
"""

import codecs
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, final

import numpy as np
from jaxtyping import Int64, UInt8

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import open_regular
from sphere_ebm.files.formats import MAP, MAP_FORMAT
from sphere_ebm.files.shards.own import OwnColumns
from sphere_ebm.files.walk import Search, natural_order
from sphere_ebm.text.folder import MANIFEST, MANIFEST_FORMAT
from sphere_ebm.text.tables import json_texts, parquet_texts

MAX_BYTES = 64 * 2**20
"""Bytes of text that one file may hold, unless the caller says otherwise."""

LINE_SUFFIXES = (".jsonl", ".ndjson")
PARQUET_SUFFIX = ".parquet"
_BINARY = (
    ".7z .a .aac .arrow .avi .avif .bin .bmp .bz2 .class .db .dll .doc .docx .dylib .eot .epub .exe"
    " .feather .flac .gguf .gif .gz .h5 .hdf5 .heic .ico .iso .jar .jpeg .jpg .lz4 .m4a .mkv .mov"
    " .mp3 .mp4 .npy .npz .o .odp .ods .odt .ogg .onnx .otf .pdf .pickle .pkl .png .ppt .pptx .pt"
    " .pth .pyc .pyd .pyo .rar .safetensors .so .sqlite .sqlite3 .tar .tgz .tif .tiff .ttf .wasm"
    " .wav .webm .webp .whl .woff .woff2 .xls .xlsx .xz .zip .zst"
)
BINARY_SUFFIXES = frozenset(_BINARY.split())
"""Files that are passed over in folders and globs without a look at what they hold."""

_LISTS = (MANIFEST, MAP)
_SNIFFED = 8192  # bytes looked at to tell text from anything else
_CHUNK = 1 << 18
_REPLACEMENT = "\ufffd".encode()
# That of UTF-32 begins like that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@final
@dataclass(frozen=True)
class TextItem:
    """One file to read texts from.

    - `stem`: the file's name without its suffix. Not unique: two folders may hold the same name.
    - `source`: the file, or the folder or input as it was typed if nothing was found there.
    - `problem`: why there is nothing to read; `read_texts` raises it.
    """

    stem: str
    source: Path
    problem: ShardError | None = None


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class FileText:
    """The documents of one file: B bytes, N documents.

    - `source`: the file.
    - `octets` (B,): the documents in UTF-8, one after another with nothing between them.
    - `documents` (N,): their names, unique within the file: its stem, or of a file of rows `line
      3`, `row 3`, which is where the document stands in the file, counted from 1.
    - `lengths` (N,): bytes of each document, positive; they add up to B.
    - `digest`: SHA-256 (hex) of the file as it was read.
    - `warnings`: one line each, for the summary shown to the user.
    - `own`: columns of the user's own, a value per document.
    """

    source: Path
    octets: UInt8[np.ndarray, " bytes"]
    documents: tuple[str, ...]
    lengths: Int64[np.ndarray, " documents"]
    digest: str
    warnings: tuple[str, ...] = ()
    own: OwnColumns = field(default_factory=OwnColumns)


def find_texts(
    inputs: Iterable[Path | str], not_searched: Path | str | None = None
) -> list[TextItem]:
    """Find the texts that files, folders and globs stand for.

    Folders are searched recursively. Passed over in folders and globs are the folder `not_searched`
    (where a run puts what it makes), folders that hold a map or shards of this package, hidden
    files and folders, symbolic links to folders, empty files, and what is evidently no text: known
    suffixes (`BINARY_SUFFIXES`), or a NUL byte near the beginning without the mark of UTF-16 or
    UTF-32. A file that is named is taken whatever it holds. Files that several inputs name, or
    several links, are taken once. Items are sorted by path, numbers in names by value; the result
    does not depend on the order of `inputs`.

    Nothing is raised: an input that cannot be found or holds no text, and a folder that cannot be
    searched, becomes an item whose `problem` says so, so that it does not stop the others.
    """
    return search_texts(inputs, not_searched)[0]


def search_texts(
    inputs: Iterable[Path | str], not_searched: Path | str | None = None
) -> tuple[list[TextItem], list[Path]]:
    """What `find_texts` finds, and the files that it passes over as empty or no text, in order.

    Hidden files and the contents of folders that are not searched are not among the latter.
    """
    search = Search(_may_be_text, "text", "name the files", _holds_ours)
    found: list[Path] = []
    for given in map(str, inputs):
        here = _expand(given, search)
        kept = (
            here
            if os.path.isfile(given)
            else [path for path in here if not _lies_in(path, not_searched)]
        )
        if here and not kept:
            search.refuse_empty(given)
        found += kept
    files: dict[str, Path] = {}
    # Sorted here already: of two links to one file the same is taken, whatever order they come in.
    for path in sorted(found, key=natural_order):
        files.setdefault(os.path.realpath(path), path)
    refused = {problem.file: problem for problem in search.problems}
    items = [TextItem(path.stem, path) for path in files.values()]
    items += [TextItem(path.stem, path, problem) for path, problem in refused.items()]
    passed = {one for one in search.passed_over if not _lies_in(one, not_searched)}
    return (
        sorted(items, key=lambda item: natural_order(item.source)),
        sorted(passed - set(found), key=natural_order),
    )


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
    - Any other file is one document, and in UTF-8 its bytes are kept as they are, a byte order mark
      included.

    Rows whose text is null or empty are skipped with a warning. `column` matters to files of rows
    only, `encoding` to all but Parquet: what is in another encoding becomes UTF-8.

    Cost: the file is read once (Parquet: hashed, then the one column read); memory is that of the
    text, and at most that of `max_bytes` and one line or page more.

    Raises:
        ShardError: the item's own `problem` first; a file that cannot be read, is empty, is no
            text, is not in `encoding`, holds more than `max_bytes` bytes of text, or a line or row
            that cannot be used. Nothing of such a file is taken.
        ValueError: an encoding that Python does not know, or `max_bytes` below 1.
    """
    check_reading(encoding, max_bytes)
    if item.problem is not None:
        raise item.problem
    path = item.source
    suffix = item.source.suffix.lower()
    digest = hashlib.sha256()
    with open_regular(path) as file:
        before = os.fstat(file.fileno())
        if not before.st_size:
            raise ShardError(path, "is empty", cure="leave it out")
        if suffix == PARQUET_SUFFIX:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
            file.seek(0)
            gathered = _gather(path, "row", parquet_texts(path, file, column), max_bytes)
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise ShardError(
                    path, "was changed while it was read", cure="run again once it is complete"
                )
        elif suffix in LINE_SUFFIXES:
            blocks = _utf8(path, file, encoding, digest.update, broken_off=True)
            gathered = _gather(path, "line", json_texts(path, blocks, column, max_bytes), max_bytes)
        else:
            gathered = _whole(path, _utf8(path, file, encoding, digest.update), max_bytes)
    octets, documents, lengths, warnings = gathered
    return FileText(
        source=path,
        octets=np.frombuffer(octets, np.uint8),
        documents=documents,
        lengths=np.array(lengths, np.int64),
        digest=digest.hexdigest(),
        warnings=warnings,
    )


_Gathered = tuple[bytearray, tuple[str, ...], list[int], tuple[str, ...]]


def _whole(path: Path, blocks: Iterable[bytes], max_bytes: int) -> _Gathered:
    octets = bytearray()
    for block in blocks:
        octets += block
        _check_size(path, len(octets), max_bytes)
    if not octets:
        raise ShardError(path, "holds no text", cure="leave it out")
    return octets, (path.stem,), [len(octets)], ()


def _gather(
    path: Path, unit: str, texts: Iterable[tuple[int, str | None]], max_bytes: int
) -> _Gathered:
    octets = bytearray()
    names = []
    lengths = []
    without = []
    for number, text in texts:
        if not text:
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
    return octets, tuple(names), lengths, warnings


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
    seen: Callable[[bytes], object],
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
    marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    if marked is None or codecs.lookup(encoding).name.startswith(marked):
        return None
    return ShardError(
        path, f"is {marked.upper()} by its first bytes, not {encoding}", cure=f"--encoding {marked}"
    )


def _binary(path: Path) -> ShardError:
    return ShardError(
        path, "is binary, not text", cure="give a text file, or name its encoding with --encoding"
    )


def _expand(given: str, search: Search) -> list[Path]:
    """Files an input stands for; what is wrong with it goes to the problems of `search`."""
    if os.path.isdir(given) or not os.path.lexists(given):
        return search.files(given)
    if not os.path.exists(given):
        search.refuse(given, "is a symbolic link that cannot be followed", "check where it leads")
        return []
    return [Path(given)]


def _lies_in(path: Path, folder: Path | str | None) -> bool:
    return folder is not None and Path(os.path.realpath(path)).is_relative_to(
        os.path.realpath(folder)
    )


def _holds_ours(folder: str, names: Sequence[str]) -> bool:
    return any(name in _LISTS and _is_ours(os.path.join(folder, name)) for name in names)


def _is_ours(path: str) -> bool:
    """Whether a `map.json` or `ingest.json` is this package's own list of what its folder holds."""
    with suppress(OSError, ValueError):
        held = json.loads(Path(path).read_bytes())
        return isinstance(held, dict) and held.get("format") in (MANIFEST_FORMAT, MAP_FORMAT)
    return False


def _may_be_text(name: str) -> bool:
    path = Path(name)
    if path.suffix.lower() in BINARY_SUFFIXES:
        return False
    try:
        with open(path, "rb") as file:
            head = file.read(_SNIFFED)
    except OSError:
        return True  # reading it says what is wrong
    readable = (
        path.suffix.lower() == PARQUET_SUFFIX or b"\0" not in head or head.startswith(tuple(_MARKS))
    )
    return bool(head) and readable
