"""From what the user typed to the files that hold texts, each with a name of its own."""

import codecs
import fnmatch
import glob
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import final

from sphere_ebm.errors import ShardError
from sphere_ebm.files.formats import MAP, MAP_FORMAT
from sphere_ebm.files.shards.lines import CELL_SUFFIXES
from sphere_ebm.files.walk import Search, natural_order
from sphere_ebm.text.converting import PDF_SUFFIX
from sphere_ebm.text.delimited import has_prose
from sphere_ebm.text.folder import MANIFEST, MANIFEST_FORMAT

_BINARY = (
    ".7z .a .aac .arrow .avi .avif .bin .bmp .bz2 .class .db .dll .doc .docx .dylib .eot .epub .exe"
    " .feather .flac .gguf .gif .gz .h5 .hdf5 .heic .ico .iso .jar .jpeg .jpg .lz4 .m4a .mkv .mov"
    " .mp3 .mp4 .npy .npz .o .odp .ods .odt .ogg .onnx .otf .pickle .pkl .png .ppt .pptx .pt"
    " .pth .pyc .pyd .pyo .rar .safetensors .so .sqlite .sqlite3 .tar .tgz .tif .tiff .ttf .wasm"
    " .wav .webm .webp .whl .woff .woff2 .xls .xlsx .xz .zip .zst"
)
BINARY_SUFFIXES = frozenset(_BINARY.split())
"""Files that are passed over in folders and globs without a look at what they hold."""

PARQUET_SUFFIX = ".parquet"
# That of UTF-32 begins like that of UTF-16.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""First bytes of files in wide encodings, and their names."""

_LISTS = (MANIFEST, MAP)
_SNIFFED = 8192  # bytes looked at to tell text from anything else


@final
@dataclass(frozen=True)
class TextItem:
    """One file to read texts from.

    - `stem`: the file's name without its suffix. Not unique: two folders may hold the same name.
    - `source`: the file, or the folder or input as it was typed if nothing was found there.
    - `problem`: why there is nothing to read; `read_texts` raises it.
    - `name`: what the text is called: its path below the input that it was found by, with `/`
      between its parts. Unique among the items of a search; by default the file's name.
    """

    stem: str
    source: Path
    problem: ShardError | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.source.name)


@final
@dataclass(frozen=True)
class Patterns:
    """Which files of folders and globs are taken, by shell patterns.

    A pattern with a slash is compared with the path below the input, and `*` there matches slashes
    too; one without with the names of the file and of the folders on the way to it. Upper and lower
    case differ.

    - `include`: a file must match one of these, where there are any.
    - `exclude`: a file must match none of these.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def take(self, name: str) -> bool:
        """Whether the file of this path below its input is taken."""
        wanted = not self.include or any(_matches(name, one) for one in self.include)
        return wanted and not any(_matches(name, one) for one in self.exclude)


@final
@dataclass(frozen=True)
class Found:
    """What a search found: `items` in order of their paths, and the files that it left aside.

    `passed_over` are empty or no text, `excluded` not wanted by the patterns; hidden files and the
    contents of folders that are not searched are in neither.
    """

    items: list[TextItem] = field(default_factory=list)
    passed_over: list[Path] = field(default_factory=list)
    excluded: list[Path] = field(default_factory=list)


def find_texts(
    inputs: Iterable[Path | str], not_searched: Path | str | None = None
) -> list[TextItem]:
    """Find the texts that files, folders and globs stand for.

    Folders are searched recursively. Passed over in folders and globs are the folder `not_searched`
    (where a run puts what it makes), folders that hold a map or shards of this package, hidden
    files and folders, symbolic links to folders, files that are empty or hold white space only, and
    what is evidently no text: known suffixes (`BINARY_SUFFIXES`), PDF where pypdf is not installed,
    tables of numbers, or a NUL byte near the beginning without the mark of UTF-16 or UTF-32. A file
    that is named is taken whatever it holds. Files that several inputs name, or several links, are
    taken once. Items are sorted by path, numbers in names by value; the result does not depend on
    the order of `inputs`.

    Nothing is raised: an input that cannot be found or holds no text, and a folder that cannot be
    searched, becomes an item whose `problem` says so, so that it does not stop the others.
    """
    return search_texts(inputs, not_searched).items


def search_texts(
    inputs: Iterable[Path | str],
    not_searched: Path | str | None = None,
    patterns: Patterns | None = None,
) -> Found:
    """What `find_texts` finds of the files that `patterns` want, and what it leaves aside."""
    patterns = patterns or Patterns()
    search = Search(_may_be_text, "text", "name the files", _holds_ours)
    found: dict[Path, str] = {}
    excluded = set[Path]()
    for given in map(str, inputs):
        here = _expand(given, search)
        if os.path.isfile(given):
            found.setdefault(Path(given), Path(given).name)
            continue
        names = {path: _below(given, path) for path in here if not _lies_in(path, not_searched)}
        kept = {path: name for path, name in names.items() if patterns.take(name)}
        excluded |= {*names} - {*kept}
        if here and not kept:
            search.refuse_empty(given)
        # of several inputs that name a file, the one furthest up says most
        found |= {
            path: max(name, found.get(path, ""), key=lambda n: (n.count("/"), n))
            for path, name in kept.items()
        }
    items = _items(found, search.problems)
    passed = {one for one in search.passed_over if not _lies_in(one, not_searched)}
    aside = (passed - set(found), excluded - set(found))
    return Found(items, *(sorted(paths, key=natural_order) for paths in aside))


def _items(found: dict[Path, str], problems: Sequence[ShardError]) -> list[TextItem]:
    """Files under their names, each once, and problems, in the order of their paths."""
    files: dict[str, TextItem] = {}
    # Sorted here already: of two links to one file the same is taken, whatever order they come in.
    for path in sorted(found, key=natural_order):
        item = TextItem(path.stem, path, name=found[path])
        files.setdefault(os.path.realpath(path), item)
    refused = {problem.file: problem for problem in problems}
    items = _told_apart(list(files.values()))
    items += [TextItem(path.stem, path, problem) for path, problem in refused.items()]
    return sorted(items, key=lambda item: natural_order(item.source))


def _told_apart(items: list[TextItem]) -> list[TextItem]:
    """Items with unique names: those of one name get as many more of their folders as it takes."""
    parts = [item.source.absolute().parts[1:] for item in items]
    depths = [len(Path(item.name).parts) for item in items]
    while True:
        names = [
            item.name if depth <= len(Path(item.name).parts) else "/".join(whole[-depth:])
            for item, whole, depth in zip(items, parts, depths, strict=True)
        ]
        count = Counter(names)
        longer = [
            i for i, name in enumerate(names) if count[name] > 1 and depths[i] < len(parts[i])
        ]
        if not longer:
            return [replace(item, name=name) for item, name in zip(items, names, strict=True)]
        for i in longer:
            depths[i] += 1


def _below(given: str, path: Path) -> str:
    """The path below an input: a folder, or what stands before the first wildcard of a glob."""
    fixed = Path(given).parts
    magic = next((i for i, part in enumerate(fixed) if glob.has_magic(part)), len(fixed))
    top = Path(given) if os.path.isdir(given) else Path(*fixed[:magic])
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else path.name


def _matches(name: str, pattern: str) -> bool:
    if "/" in pattern:
        return fnmatch.fnmatchcase(name, pattern)
    return any(fnmatch.fnmatchcase(part, pattern) for part in name.split("/"))


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
    suffix = path.suffix.lower()
    if suffix in BINARY_SUFFIXES:
        return False
    if suffix == PDF_SUFFIX:
        return find_spec("pypdf") is not None
    try:
        with open(path, "rb") as file:
            head = file.read(_SNIFFED)
    except OSError:
        return True  # reading it says what is wrong
    if suffix == PARQUET_SUFFIX or head.startswith(tuple(MARKS)):
        return bool(head)
    if len(head) < _SNIFFED and not head.strip():
        return False
    return b"\0" not in head and (suffix not in CELL_SUFFIXES or has_prose(head))
