"""The folder of a map.

Which files are in it, whose map it is, and how it is taken over or replaced.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from sphere_ebm.errors import LabelError, ShardError
from sphere_ebm.files.atomic import clean_leftovers
from sphere_ebm.files.container import read_container
from sphere_ebm.files.formats import (
    CHECKPOINT,
    ENERGY,
    FIGURE,
    FROZEN,
    MAP,
    PAGE,
    PLACEMENT,
    PYRAMID,
    RECIPE,
)
from sphere_ebm.files.journal import JOURNAL, Journal, read_journal
from sphere_ebm.files.map_folder import read_map
from sphere_ebm.files.shards.discovery import LABEL_SUFFIX
from sphere_ebm.files.shards.layouts import (
    FROZEN_FORMAT,
    LABEL_FORMAT,
    PLACEMENT_FORMAT,
    PYRAMID_FORMAT,
)
from sphere_ebm.labelling.recipe import is_recipe

NEXT = ".sphere-next"


def is_placement(path: Path) -> bool:
    """Whether a file found in a folder is a placement, or made from one, and no shard.

    Damaged placements in a map's folder count as placements.
    """
    if path.name == PLACEMENT and any((path.parent / name).is_file() for name in (MAP, JOURNAL)):
        return True
    return _format_of(path) in (PLACEMENT_FORMAT, PYRAMID_FORMAT, FROZEN_FORMAT)


def _format_of(path: Path) -> str | None:
    """What the metadata of a safetensors file call its format; None for any other file."""
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return None
    try:
        return read_container(path).metadata.get("format")
    except (ShardError, OSError):
        return None


@final
@dataclass(frozen=True)
class Claim:
    """A folder in which a run may work.

    While another map stands in `folder`, the run works below it, in the hidden folder `NEXT`, until
    it has a placement: a run that fails leaves the other map as it was. `journal` is that of the
    place where the run works; `replaced` are the files that go when it takes over.
    """

    folder: Path
    journal: Journal
    replaced: frozenset[str] = frozenset()

    def take_over(self) -> Journal:
        """Remove the other map, if there is one, and go on in the folder itself.

        The placement of this map exists by then.
        """
        if self.journal.folder == self.folder:
            return self.journal
        _remove_map(self.folder, self.replaced)
        return _settle(self.folder, self.journal.map_id, self.journal.planned)

    def give_up(self) -> None:
        """Keep nothing of this run, which would fail again.

        Another one then finds the folder as it was.
        """
        (self.journal.folder / CHECKPOINT).unlink(missing_ok=True)
        self.journal.close()
        _discard_next(self.folder)


def claim(folder: Path, map_id: str, names: Sequence[str], overwrite: bool) -> Claim:
    """Make `folder` ours, to write label files and perhaps the page, `names`, and a map.

    Refuse one with another map, unless `overwrite`.

    With `overwrite`, label files and placements that lost their `map.json` count as a map as well.
    Nothing is removed here. The journal of the claim knows the finished files of this very map,
    interrupted or complete.

    Raises LabelError when there is another map, or a file of a planned name that belongs to none.
    """
    planned = (*names, PLACEMENT, ENERGY, FIGURE, RECIPE, MAP)
    held = read_map(folder) if (folder / MAP).exists() else None
    left = read_journal(folder)
    other = {held["id"] if held else map_id, left.map_id if left else map_id} != {map_id}
    # points that joined are no part of the map that the same command made
    other = other or (held is not None and "joins" in held)
    if other and not overwrite:
        raise LabelError(
            f"{folder} holds another map (other inputs or configuration, or points that joined);"
            " choose another --output, or replace it with --overwrite"
        )
    listed = {
        *(held["files"] if held else ()),
        *((*left.planned, *left.finished) if left else ()),
    }
    replaced: set[str] = set()
    if other:
        replaced = _own(listed) | {PLACEMENT, ENERGY, FIGURE, MAP} | ({PAGE, RECIPE} & listed)
    elif RECIPE not in listed:
        # this very map, made by a version that wrote no such file
        _in_the_way(folder, [RECIPE], overwrite)
    if other or (held is None and left is None):
        replaced |= _in_the_way(
            folder, [name for name in planned if name not in replaced], overwrite
        )
    if not replaced:
        return Claim(folder, _settle(folder, map_id, planned, held["files"] if held else None))
    work = folder / NEXT
    work.mkdir(exist_ok=True)
    journal = Journal(work, map_id, planned)
    journal.resume()
    clean_leftovers(work)
    return Claim(folder, journal, frozenset(replaced))


def _settle(
    folder: Path, map_id: str, planned: Sequence[str], known: Mapping[str, str] | None = None
) -> Journal:
    """The journal of the folder itself, with a placement that this very map made below it."""
    journal = Journal(folder, map_id, planned)
    journal.resume(known)
    clean_leftovers(folder)
    below = read_journal(folder / NEXT)
    if below is not None and below.map_id == map_id and below.holds(PLACEMENT):
        os.replace(folder / NEXT / PLACEMENT, folder / PLACEMENT)
        journal.record(PLACEMENT, below.finished[PLACEMENT])
    _discard_next(folder)
    return journal


def _discard_next(folder: Path) -> None:
    """Remove the hidden folder and our files in it; what else is there, if anything, keeps it."""
    work = folder / NEXT
    if not work.is_dir():
        return
    clean_leftovers(work)
    for name in (CHECKPOINT, PLACEMENT, JOURNAL):
        (work / name).unlink(missing_ok=True)
    with suppress(OSError):
        work.rmdir()


def _in_the_way(folder: Path, names: Sequence[str], overwrite: bool) -> set[str]:
    """The files of these names, if they may be replaced.

    All of them come from a map that lost its `map.json`.

    Raises LabelError for a file that may not.
    """
    present = [name for name in names if os.path.lexists(folder / name)]
    ours = {
        name for name in present if _format_of(folder / name) in (LABEL_FORMAT, PLACEMENT_FORMAT)
    }
    lost = ours | {
        name
        for name in present
        if ours and name in (ENERGY, FIGURE, PAGE) and (folder / name).is_file()
    }
    lost |= {name for name in present if name == RECIPE and is_recipe(folder / name)}
    foreign = [name for name in present if name not in lost or not overwrite]
    if not foreign:
        return lost
    if foreign[0] in lost:
        cure = "replace the files of a former map with --overwrite, or choose another --output"
    else:
        cure = "move it away, or choose another --output"
    raise LabelError(f"{folder / foreign[0]} is in the way; {cure}")


def _own(names: Iterable[str]) -> set[str]:
    """The names of label files that we give: a list may have been tampered with."""
    return {name for name in names if name.endswith(LABEL_SUFFIX) and Path(name).name == name}


def _remove_map(folder: Path, names: frozenset[str]) -> None:
    """Remove the files of a map, those that tell of it last.

    Whatever happens, the rest is never left unexplained.
    """
    labels = sorted(name for name in names if name.endswith(LABEL_SUFFIX))
    for name in (ENERGY, FIGURE, PAGE, RECIPE, *labels, CHECKPOINT, PLACEMENT, MAP, JOURNAL):
        if name in names or name in (CHECKPOINT, JOURNAL):
            (folder / name).unlink(missing_ok=True)
    for name, known in ((PYRAMID, PYRAMID_FORMAT), (FROZEN, FROZEN_FORMAT)):
        if _format_of(folder / name) == known:
            (folder / name).unlink(missing_ok=True)
