"""What lies around a passage on a map, as `map --show-neighbours` prints it."""

import math
import re
from typing import Any

from rich.console import Console

from sphere_ebm.cli.output import PLAIN, say
from sphere_ebm.labelling.passage import Neighbour, Surroundings

_SHOWN = 90  # characters of a neighbour's text


def around_dict(around: Surroundings) -> dict[str, Any]:
    """The answer of `--json`."""
    return {
        "direction": [float(x) for x in around.direction],
        "found": None if around.found is None else _neighbour_dict(around.found),
        "neighbours": [_neighbour_dict(one) for one in around.neighbours],
    }


def _neighbour_dict(one: Neighbour) -> dict[str, Any]:
    text = one.patch.decode("utf-8", "replace")
    return {
        "degrees": math.degrees(one.angle),
        "document": one.document,
        "start": one.start,
        "text": text,
    }


def print_around(passage: str, around: Surroundings) -> None:
    """A line for each neighbour.

    Degrees, document, first byte, and the patch in brackets with what surrounds it.
    """
    console = Console(**PLAIN)
    place = (
        "placed as a newcomer"
        if around.found is None
        else f"{around.found.document}, byte {around.found.start:,}"
    )
    asked = passage if len(passage) <= _SHOWN else f"{passage[:_SHOWN]}..."
    say(console, f"around {asked!r} ({place}):")
    stems = max((len(one.document) for one in around.neighbours), default=0)
    starts = max((len(f"{one.start:,}") for one in around.neighbours), default=0)
    for one in around.neighbours:
        where = f"{one.document:{stems}} {one.start:{starts},}"
        say(console, f"{math.degrees(one.angle):6.2f}°  {where}  {_excerpt(one)}")


def _excerpt(one: Neighbour) -> str:
    """The patch in brackets with what surrounds it, white space single.

    `_SHOWN` characters in all.
    """
    texts = (part.decode("utf-8", "ignore") for part in (one.before, one.patch, one.after))
    before, patch, after = (re.sub(r"\s+", " ", text) for text in texts)
    room = (_SHOWN - min(len(patch), _SHOWN // 2)) // 2
    patch, after = (patch, after) if len(patch) <= _SHOWN // 2 else (f"{patch[: _SHOWN // 2]}…", "")
    return f"{before[-room:]:>{room}}[{patch}]{after[:room]}"
