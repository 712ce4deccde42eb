"""Names of files made from inputs: short, unique, and the same for the same inputs."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from sphere_ebm.files.shards.discovery import LABEL_SUFFIX

_LONGEST = 255


@runtime_checkable
class Named(Protocol):
    """An input: what it is called, and the path it was read from."""

    @property
    def stem(self) -> str:
        """What it is called."""

    @property
    def source(self) -> Path:
        """The path it was read from."""


def label_names(items: Sequence[Named]) -> list[str]:
    """A file name for the labels of each item, see `unique_names`."""
    return unique_names(items, LABEL_SUFFIX)


def unique_names(items: Sequence[Named], suffix: str) -> list[str]:
    """A file name that ends in `suffix` for each item.

    Its stem, and as many of its folders as make it unique.

    `a/x.safetensors` and `b/x.safetensors` become `a__x` and `b__x`; `x.npy` and `x.safetensors` of
    one folder `x.npy` and `x.safetensors`. What is still alike after that, or too long for a file
    system, ends in `~` and a hash of the path. Names differ in more than upper and lower case.
    """
    paths = [item.source.absolute() for item in items]
    stems = [(path.parent, item.stem.casefold()) for path, item in zip(paths, items, strict=True)]
    count = Counter(stems)
    bases = [
        item.stem if count[stem] == 1 else item.source.name
        for stem, item in zip(stems, items, strict=True)
    ]
    folders = [0] * len(items)
    while True:
        names = [
            "__".join((*path.parent.parts[len(path.parent.parts) - depth :], base))
            for path, base, depth in zip(paths, bases, folders, strict=True)
        ]
        clashes = _alike(names)
        longer = [i for i in clashes if folders[i] < len(paths[i].parent.parts) - 1]
        if not longer:
            break
        for i in longer:
            folders[i] += 1
    for i in {
        *clashes,
        *(i for i, name in enumerate(names) if len(os.fsencode(name + suffix)) > _LONGEST),
    }:
        kept = os.fsencode(names[i])[: _LONGEST - len(suffix) - 17].decode(errors="ignore")
        names[i] = f"{kept}~{hashlib.sha256(os.fsencode(paths[i])).hexdigest()[:16]}"
    return [f"{name}{suffix}" for name in names]


def _alike(names: Sequence[str]) -> list[int]:
    """Positions of the names that another one equals, upper and lower case aside."""
    count = Counter(name.casefold() for name in names)
    return [i for i, name in enumerate(names) if count[name.casefold()] > 1]
