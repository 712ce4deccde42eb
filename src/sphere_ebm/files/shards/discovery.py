"""From what the user typed to what is to be read.

Files, folders and globs to work items, parts of documents joined.
"""

import glob
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, final

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import Container, read_container
from sphere_ebm.files.shards.arrays import ARRAY_SUFFIXES
from sphere_ebm.files.shards.layouts import detect_layout

LABEL_SUFFIX = ".sphere.safetensors"
_NOT_SHARDS = (LABEL_SUFFIX, ".sphere.npz")
"""Our labels, and the coordinates that BLT-Burn writes beside a shard when asked for a sphere of
its own.
"""

SHARD_SUFFIXES = (".safetensors", *ARRAY_SUFFIXES)
_PART = re.compile(
    r"(?P<stem>.+)_(?:part_(?P<part>[0-9]+)|shard_(?P<shard>[0-9]+)_of_(?P<count>[0-9]+))", re.ASCII
)
_NAMED = 5  # missing parts spelled out in a message


class PartName(NamedTuple):
    """What a file name says about a part.

    The document, its number, and how many there are (`*_shard_I_of_N` only).
    """

    stem: str
    number: int
    total: int | None


@final
@dataclass(frozen=True)
class WorkItem:
    """One thing to read and label.

    - `stem`: name of the document, without a part's suffix. Not unique: two folders may hold the
      same name.
    - `source`: the file, the first of `parts`, or the input as it was typed if nothing was found
      there.
    - `parts`: the files, in numeric order. Empty if nothing was found.
    - `problem`: why the item cannot be read; `read_item` raises it.
    """

    stem: str
    source: Path
    parts: tuple[Path, ...]
    problem: ShardError | None = None


def discover(inputs: Iterable[Path | str]) -> list[WorkItem]:
    """Find the shards that files, folders and globs stand for.

    Folders are searched recursively; hidden files and folders, label files
    (`*.sphere.safetensors`), upstream's `*.sphere.npz` and other formats in them are passed over,
    symbolic links to folders not followed. Files that several inputs name, or several links, are
    taken once. The parts of a document become one item. Items are sorted by path, numbers in names
    by value.

    Nothing is raised: an input that cannot be found, matches nothing or lacks parts becomes an item
    whose `problem` says so, in its place, so that one bad input does not stop the others. Only
    headers are read, and only of files named as parts.
    """
    files: dict[str, Path] = {}
    items = []
    for given in inputs:
        try:
            for path in _expand(str(given)):
                files.setdefault(os.path.realpath(path), path)
        except ShardError as problem:
            items.append(WorkItem(Path(given).stem, Path(given), (), problem))
    items += _group(sorted(files.values(), key=natural_order))
    return sorted(items, key=lambda item: natural_order(item.source))


def part_name(container: Container) -> PartName | None:
    """What the file's name says, if the file is a part of a document at all.

    Layouts A-D with a `patch_mask`. A file of another layout that happens to be called `..._part_2`
    is a document of its own.
    """
    match = _PART.fullmatch(container.path.stem)
    if match is None or "patch_mask" not in container.tensors:
        return None
    try:
        if detect_layout(container) not in ("A-C", "D"):
            return None
    except ShardError:
        return None
    number = match["part"] or match["shard"]
    count = match["count"]
    return PartName(match["stem"], int(number), None if count is None else int(count))


def check_complete(paths: Sequence[Path]) -> None:
    """Refuse parts that are missing or there twice among `paths`.

    The paths are those of one document, in order. Raises ShardError naming the parts.

    Numbers start at 0, as upstream writes them, or at 1. What is missing after the last `*_part_K`
    no name can tell; the reader finds it out from the patch counts.
    """
    named = [_PART.fullmatch(path.stem) for path in paths]
    numbers = [int(match["part"] or match["shard"]) for match in named if match]
    twice = next((i for i in range(1, len(numbers)) if numbers[i] == numbers[i - 1]), None)
    if twice is not None:
        problem = f"is the same part as {paths[twice - 1].name}"
        raise ShardError(paths[twice], problem, cure="remove one of the two")
    match = named[0]
    count = int(match["count"]) if match and match["count"] else None
    first = 1 if numbers[0] == 1 and (count is None or numbers[-1] == count) else 0
    last = numbers[-1] if count is None else count - 1 + first
    if numbers[-1] > last:
        raise ShardError(
            paths[-1],
            f"number {numbers[-1]} among parts {first} to {last}",
            cure="check the file's name",
        )
    expected = last - first + 1
    present = set(numbers)
    absent = expected - len(numbers)
    if not absent:
        return
    # At most len(numbers) + _NAMED steps, however large a number the name holds.
    candidates = (number for number in range(first, last + 1) if number not in present)
    names = ", ".join(
        str(number) for number, _ in zip(candidates, range(min(absent, _NAMED)), strict=False)
    )
    more = f" and {absent - _NAMED} more" if absent > _NAMED else ""
    plural = "part" if absent == 1 else "parts"
    problem = f"{plural} {names}{more} missing of the document's parts {first} to {last}"
    raise ShardError(paths[0], problem, cure="give the folder that holds all parts")


def _expand(given: str) -> Iterator[Path]:
    """Shard files an input stands for. **Raises:** `ShardError` if there is none."""
    if os.path.isdir(given):
        found = list(_walk(given))
    elif os.path.lexists(given):
        found = [Path(given)]
        if found[0].suffix.lower() not in SHARD_SUFFIXES:
            raise ShardError(
                given, "is not a shard", cure=f"shards end in {', '.join(SHARD_SUFFIXES)}"
            )
    elif glob.has_magic(given):
        matches = glob.glob(given, recursive=True)
        found = [
            path
            for match in matches
            for path in (_walk(match) if os.path.isdir(match) else _shards([match]))
        ]
    else:
        raise ShardError(given, "does not exist", cure="check the path")
    if not found:
        raise ShardError(
            given, "holds or matches no shard", cure=f"shards end in {', '.join(SHARD_SUFFIXES)}"
        )
    # Sorted here already: of two links to one file the same is taken, whatever order the folder
    # lists them in.
    yield from sorted(found, key=natural_order)


def _walk(folder: str) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise ShardError(
            str(error.filename),
            f"cannot be searched ({error.strerror})",
            cure="check its permissions",
        )

    for root, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from _shards(os.path.join(root, name) for name in files if not name.startswith("."))


def _shards(names: Iterable[str]) -> Iterator[Path]:
    for name in names:
        if (
            name.lower().endswith(SHARD_SUFFIXES)
            and not name.endswith(_NOT_SHARDS)
            and os.path.isfile(name)
        ):
            yield Path(name)


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key with runs of digits by value; the string itself last, so that the order is total."""
    text = path.as_posix()
    # re.split puts the digits at the odd places; without leading zeros the longer run is the larger
    # number.
    digits = [
        piece.lstrip("0") if i % 2 else piece for i, piece in enumerate(re.split(r"([0-9]+)", text))
    ]
    return [(len(piece) if i % 2 else 0, piece) for i, piece in enumerate(digits)], text


def _group(files: Sequence[Path]) -> list[WorkItem]:
    singles: list[WorkItem] = []
    groups: dict[tuple[Path, str, bool, int], list[tuple[int, Path]]] = {}
    for path in files:
        named = _peek(path)
        if named is None:
            singles.append(WorkItem(path.stem, path, (path,)))
        else:
            key = (path.parent, named.stem, named.total is None, named.total or 0)
            groups.setdefault(key, []).append((named.number, path))
    return singles + [_joined(stem, sorted(members)) for (_, stem, _, _), members in groups.items()]


def _peek(path: Path) -> PartName | None:
    if path.suffix.lower() != ".safetensors" or _PART.fullmatch(path.stem) is None:
        return None
    try:
        return part_name(read_container(path))
    except ShardError:
        return None  # a damaged file stands alone, and reading it says what is wrong


def _joined(stem: str, members: Sequence[tuple[int, Path]]) -> WorkItem:
    parts = tuple(path for _, path in members)
    try:
        check_complete(parts)
    except ShardError as problem:
        return WorkItem(stem, parts[0], parts, problem)
    return WorkItem(stem, parts[0], parts)
