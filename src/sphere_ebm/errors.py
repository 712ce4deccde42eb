"""Every exception and warning of the package, and the one message for a missing extra."""

import importlib
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any, final


def one_line(text: str) -> str:
    """`text` with every unprintable character escaped.

    Line breaks, control characters and lone surrogates are such.

    File and tensor names come from outside, so a message made of them may hold anything; the result
    is one line that every terminal and every UTF-8 file can take.
    """
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )


@final
class ShardError(ValueError):
    """A shard, label file or sidecar that cannot be used. `str()` is always one line.

    Attributes:
        file: the file (or the input as it was typed, if there is no such file).
        problem: what is wrong, with the value received.
        tensor: the tensor, column or table that is wrong, where there is one.
        index: the first bad index in it, where there is one.
        cure: what the user can do about it.
    """

    def __init__(
        self,
        file: Path | str,
        problem: str,
        tensor: str | None = None,
        index: int | tuple[int, ...] | None = None,
        cure: str = "",
    ) -> None:
        # All arguments go into `args`, so that the exception survives pickling between processes.
        super().__init__(file, problem, tensor, index, cure)
        self.file = Path(file)
        self.problem = problem
        self.tensor = tensor
        self.index = index
        self.cure = cure

    def __str__(self) -> str:
        place = [str(self.file)]
        if self.tensor is not None:
            name = f"`{_short(self.tensor, 80)}`"
            place.append(name if self.index is None else f"{name} at index {self.index}")
        message = ": ".join([*place, _short(self.problem, 400)])
        return one_line(f"{message}; {self.cure}" if self.cure else message)


def _short(text: str, limit: int) -> str:
    """A name in a damaged header can be megabytes long."""
    return text if len(text) <= limit else f"{text[:limit]}..."


@final
@dataclass(frozen=True)
class Refused:
    """An input that could not be labelled, and the reason in one line."""

    source: Path
    reason: str


@final
class LabelError(ValueError):
    """Nothing was labelled, and why: one line. `refused` are the inputs that could not be read."""

    def __init__(self, problem: str, refused: Iterable[Refused] = ()) -> None:
        super().__init__(problem)
        self.refused = tuple(refused)
        for one in self.refused:
            self.add_note(f"refused: {one.reason}")


@final
class NonFiniteEnergyError(FloatingPointError):
    """The energy became infinite or not a number.

    The message names the step, the terms and likely causes.
    """


@final
class MapWarning(UserWarning):
    """What the user should know of a map: dynamics that are unstable, radii that mean nothing."""


def warn_of(notes: Iterable[str], stacklevel: int = 3) -> None:
    """Warn of each note on a map, on behalf of the function that the user has called."""
    for note in notes:
        warnings.warn(note, MapWarning, stacklevel=stacklevel)


@final
class ConvergenceWarning(UserWarning):
    """Chains disagree, or tell too little: what was drawn is not a sample of the law."""


@final
class EngineError(RuntimeError):
    """Tasks could not be worked on, for a reason that is none of theirs; one line with the cure."""


@final
class MissingPackageError(ModuleNotFoundError):
    """A package of an extra is not installed, or is and cannot be imported.

    Attributes:
        problem: what needs which package, and of one that is installed why it cannot be imported.
        cure: the command that installs it, where that would help.
    """

    def __init__(self, package: str, extra: str, purpose: str = "this", broken: str = "") -> None:
        # As with ShardError: what is in `args` survives pickling between processes.
        super().__init__(package, extra, purpose, broken, name=package)
        self.problem = f"{purpose} needs the package `{package}`"
        self.cure = f"pip install {_needed_by(extra)}"
        if broken:
            self.problem += f", which is installed but cannot be imported ({one_line(broken)})"
            self.cure = f"repair the installation of `{package}`"

    def __str__(self) -> str:
        return f"{self.problem}: {self.cure}"


def _needed_by(extra: str) -> str:
    """What an extra installs, quoted for a shell.

    By their own names, which can be installed wherever this package itself came from: a checkout,
    a wheel or a registry.
    """
    try:
        everything = requires("sphere-ebm") or []
    except PackageNotFoundError:
        everything = []
    marked = re.compile(rf"extra == ['\"]{re.escape(extra)}['\"]")
    needed = [one.partition(";")[0].strip() for one in everything if marked.search(one)]
    return " ".join(f"'{one}'" for one in needed) or f"'sphere-ebm[{extra}]'"


def require(package: str, extra: str, purpose: str = "this") -> Any:
    """Import a package that belongs to an extra of sphere_ebm.

    Args:
        package: name of the module to import, for example `"faiss"` or `"pyarrow.parquet"`.
        extra: the extra of sphere_ebm that installs it.
        purpose: what needs it, as the subject of the message.

    Returns:
        The imported module.

    Raises:
        MissingPackageError: the package is not installed, or cannot be imported: one that it needs
            is missing, or its installation is broken.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        # A module of it that is missing belongs to another release, which pip would install.
        missing = f"{package}.".startswith(f"{error.name}.")
        if isinstance(error, ModuleNotFoundError) and missing:
            broken = ""
        else:
            broken = str(error) or type(error).__name__
        raise MissingPackageError(package.partition(".")[0], extra, purpose, broken) from error
