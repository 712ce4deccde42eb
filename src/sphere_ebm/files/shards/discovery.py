"""From what the user typed to what is to be read.

Files, folders and globs to work items, parts of documents joined.
"""

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, final

from sphere_ebm.errors import ShardError
from sphere_ebm.files.container import Container, read_container
from sphere_ebm.files.shards.arrays import ARRAY_SUFFIXES, TABLE_SUFFIXES
from sphere_ebm.files.shards.layouts import detect_layout
from sphere_ebm.files.shards.own import ALL_FOUND, TableColumns
from sphere_ebm.files.walk import Search, natural_order

LABEL_SUFFIX = ".sphere.safetensors"
_NOT_SHARDS = (LABEL_SUFFIX, ".sphere.npz")
"""Our labels, and the coordinates that BLT-Burn writes beside a shard when asked for a sphere of
its own.
"""

SHARD_SUFFIXES = (".safetensors", *ARRAY_SUFFIXES)
_ENDINGS = f"shards end in {', '.join(SHARD_SUFFIXES)}"
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
    - `columns`: what is read of it, where it is a table.
    """

    stem: str
    source: Path
    parts: tuple[Path, ...]
    problem: ShardError | None = None
    columns: TableColumns = ALL_FOUND


def discover(inputs: Iterable[Path | str], columns: TableColumns = ALL_FOUND) -> list[WorkItem]:
    """Find the shards that files, folders and globs stand for.

    Folders are searched recursively; hidden files and folders, label files
    (`*.sphere.safetensors`), upstream's `*.sphere.npz` and other formats in them are passed over,
    symbolic links to folders not followed, but by the `**` of a glob. Files that several inputs
    name, or several links, are taken once. The parts of a document become one item. Items are
    sorted by path, numbers in names by value.

    Nothing is raised: an input that cannot be found, matches nothing or lacks parts, and a folder
    that cannot be searched, becomes an item whose `problem` says so, in its place, so that it does
    not stop the others. Only headers are read, and only of files named as parts.

    CSV, TSV and JSON lines in folders and globs are taken where `columns` names the embeddings.
    """
    endings = SHARD_SUFFIXES if columns.embedding is None else (*SHARD_SUFFIXES, *TABLE_SUFFIXES)
    search = Search(lambda name: _is_shard(name, endings), "shard", _ENDINGS, follows=True)
    # Sorted: of two links to one file the same is taken, whatever order a folder lists them in.
    found = [sorted(_expand(str(given), search), key=natural_order) for given in inputs]
    files: dict[str, Path] = {}
    for path in itertools.chain.from_iterable(found):
        files.setdefault(os.path.realpath(path), path)
    problems = {problem.file: problem for problem in search.problems}
    items = [WorkItem(path.stem, path, (), problem) for path, problem in problems.items()]
    items += _group(sorted(files.values(), key=natural_order))
    items = [replace(item, columns=columns) for item in items]
    return sorted(items, key=lambda item: natural_order(item.source))


def part_name(container: Container) -> PartName | None:
    """What the file's name says, if the file is a part of a document at all.

    A part has one of the layouts A-D and a `patch_mask`. A file of another layout that happens to
    be called `..._part_2` is a document of its own.
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


def _expand(given: str, search: Search) -> list[Path]:
    """Shard files an input stands for; what is wrong with it goes to the problems of `search`."""
    if os.path.isdir(given) or not os.path.lexists(given):
        return search.files(given)
    if Path(given).suffix.lower() not in (*SHARD_SUFFIXES, *TABLE_SUFFIXES):
        search.refuse(given, "is not a shard", _ENDINGS)
        return []
    return [Path(given)]


def _is_shard(name: str, endings: tuple[str, ...]) -> bool:
    return name.lower().endswith(endings) and not name.endswith(_NOT_SHARDS)


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
