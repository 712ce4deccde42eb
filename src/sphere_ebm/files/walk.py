"""Files below folders and behind patterns: one way of looking for shards and for texts."""

import fnmatch
import glob
import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import final

from sphere_ebm.errors import ShardError


@final
class Search:
    """Which files are taken, and what went wrong on the way to them.

    Folders are searched recursively. Hidden files and folders below them are passed over, and
    symbolic links to folders not followed, but for those that a `**` may meet where it is told to.

    Attributes:
        problems: what could not be found or searched, each naming the input or the folder. Nothing
            is raised, so that one folder without permission does not lose all others.
        passed_over: files in the folders and patterns that were not taken, hidden ones aside.
    """

    def __init__(
        self,
        takes: Callable[[str], bool],
        what: str,
        cure: str,
        passes_over: Callable[[str, Sequence[str]], bool] = lambda folder, names: False,
        *,
        follows: bool = False,
    ) -> None:
        """Search for the files that `takes` is true for.

        Args:
            takes: called with the path of a file.
            what: a word for the files wanted, as in "holds or matches no shard".
            cure: what to do about an input without any.
            passes_over: called with a folder and the names of the files in it; true for one that is
                not to be searched, nor any below it.
            follows: whether `**` in a pattern follows links to folders, as that of `glob` does.
        """
        self.problems: list[ShardError] = []
        self.passed_over: set[Path] = set()
        self._takes = takes
        self._what = what
        self._cure = cure
        self._passes_over = passes_over
        self._follows = follows

    def files(self, given: str) -> list[Path]:
        """Files that a folder or a pattern stands for; where there are none, that is a problem."""
        known = len(self.problems)
        if os.path.isdir(given):
            found = list(self._below(given))
        elif _is_pattern(given):
            matches = self._matches(given)
            found = [*dict.fromkeys(path for match in matches for path in self._of(match))]
        else:
            self.refuse(given, "does not exist", "check the path")
            return []
        if not found and len(self.problems) == known:
            self.refuse_empty(given)
        return found

    def refuse(self, given: str, problem: str, cure: str) -> None:
        """Note a problem with an input."""
        self.problems.append(ShardError(given, problem, cure=cure))

    def refuse_empty(self, given: str) -> None:
        """Note that nothing is taken of an input."""
        self.refuse(given, f"holds or matches no {self._what}", self._cure)

    def _of(self, match: str) -> Iterator[Path]:
        if os.path.isdir(match):
            yield from self._below(match)
        else:
            yield from self._taken(match)

    def _below(self, top: str) -> Iterator[Path]:
        for folder, names in self._folders(top):
            for name in names:
                if not name.startswith("."):
                    yield from self._taken(os.path.join(folder, name))

    def _taken(self, path: str) -> Iterator[Path]:
        """The file, or nothing where it is none or is passed over."""
        if not os.path.isfile(path):
            return
        if self._takes(path):
            yield Path(path)
        else:
            self.passed_over.add(Path(path))

    def _folders(self, top: str, follows: bool = False) -> Iterator[tuple[str, list[str]]]:
        """Folders from `top` on down, each with the names of its files.

        Where links are followed, a folder comes once, under the first of its names: among two links
        that lead back, a search would never end.
        """
        seen: set[str] = set()
        for folder, folders, names in os.walk(top, onerror=self._note, followlinks=follows):
            real = os.path.realpath(folder) if follows else folder
            if real in seen or self._passes_over(folder, names):
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not name.startswith(".")]
            folders.sort(key=lambda name: natural_order(Path(name)))
            yield folder, names

    def _matches(self, pattern: str) -> Iterator[str]:
        """`glob.glob` with `recursive`, but links that lead back end, and closed folders are named.

        `glob` passes over a folder that cannot be listed without a word.
        """
        parts = Path(pattern).parts
        at = next((i for i, part in enumerate(parts) if glob.has_magic(part)), None)
        if at is None:
            if os.path.lexists(pattern):
                yield pattern
            return
        top = str(Path(*parts[:at]))
        rest = parts[at + 1 :]
        if parts[at] != "**":
            for name in self._names(top, parts[at]):
                here = os.path.join(top, name)
                if not rest:
                    yield here
                elif os.path.isdir(here):
                    yield from self._matches(os.path.join(glob.escape(here), *rest))
            return
        rest = tuple(itertools.dropwhile("**".__eq__, rest))
        for folder, names in self._folders(top, self._follows):
            if rest:
                yield from self._matches(os.path.join(glob.escape(folder), *rest))
            else:
                yield from (os.path.join(folder, n) for n in names if not n.startswith("."))

    def _names(self, top: str, pattern: str) -> list[str]:
        """What of a folder a pattern without `**` matches; hidden names only where it has a dot."""
        try:
            with os.scandir(top) as entries:
                names = [entry.name for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            self._note(error)
            return []
        shown = [name for name in names if pattern.startswith(".") or not name.startswith(".")]
        return fnmatch.filter(shown, pattern)

    def _note(self, error: OSError) -> None:
        problem = f"cannot be searched ({error.strerror})"
        self.refuse(str(error.filename), problem, "check its permissions")


def _is_pattern(given: str) -> bool:
    return glob.has_magic(given) and "\0" not in given


def natural_order(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key with runs of digits by value; the string itself last, so that the order is total."""
    text = path.as_posix()
    # re.split puts the digits at the odd places; without leading zeros the longer run is the larger
    # number.
    digits = [
        piece.lstrip("0") if i % 2 else piece for i, piece in enumerate(re.split(r"([0-9]+)", text))
    ]
    return [(len(piece) if i % 2 else 0, piece) for i, piece in enumerate(digits)], text
