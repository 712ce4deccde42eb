"""What lies around a passage on a map, as `map --show-neighbours` prints it."""

import argparse
import math
import re
from typing import Any

from rich.console import Console

from sphere_ebm.cli.output import PLAIN, say
from sphere_ebm.labelling.passage import RANKS, Surroundings
from sphere_ebm.labelling.texts import Neighbour

_SHOWN = 90  # characters of a neighbour's text


def add_asking(mapped: argparse.ArgumentParser) -> None:
    """The options that ask a map what lies around a passage."""
    mapped.add_argument(
        "--show-neighbours", metavar="TEXT", help="Print what lies around this passage on the map."
    )
    mapped.add_argument(
        "--count", type=int, default=15, metavar="N", help="Print so many neighbours. [15]"
    )
    mapped.add_argument(
        "--rank",
        choices=RANKS,
        default="angle",
        help="Print the nearest on the map, or the nearest in the embedding. [angle]",
    )


def around_dict(around: Surroundings) -> dict[str, Any]:
    """The answer of `--json`."""
    return {
        "fits": around.fits,
        "nearest_cosine": around.nearest,
        "usual_cosine": None if math.isnan(around.usual) else around.usual,
        "direction": [float(x) for x in around.direction],
        "found": None if around.found is None else _neighbour_dict(around.found),
        "neighbours": [_neighbour_dict(one) for one in around.neighbours],
    }


def _neighbour_dict(one: Neighbour) -> dict[str, Any]:
    text = one.patch.decode("utf-8", "replace")
    return {
        "degrees": math.degrees(one.angle),
        "cosine": one.cosine,
        "far": one.far,
        "document": one.document,
        "start": one.start,
        "text": text,
    }


def print_around(passage: str, around: Surroundings) -> None:
    """A line for each neighbour.

    Degrees, cosine in the embedding (`far` where it is no more than chance), document, first byte,
    and the patch in brackets with what surrounds it.
    """
    console = Console(**PLAIN)
    place = (
        "placed as a newcomer"
        if around.found is None
        else f"{around.found.document}, byte {around.found.start:,}"
    )
    asked = passage if len(passage) <= _SHOWN else f"{passage[:_SHOWN]}..."
    say(console, f"around {asked!r} ({place}):")
    if not around.fits:
        say(
            console,
            f"  it fits nowhere: no patch is nearer than cosine {around.nearest:.2f}, and 95 % of"
            f" the map's have one at {around.usual:.2f} or more",
        )
    if not around.neighbours:
        say(console, "  nothing lies within 60° of it")
    stems = max((len(one.document) for one in around.neighbours), default=0)
    starts = max((len(f"{one.start:,}") for one in around.neighbours), default=0)
    for one in around.neighbours:
        where = f"{one.document:{stems}} {one.start:{starts},}"
        near = f"{math.degrees(one.angle):6.2f}°  {one.cosine:5.2f} {'far' if one.far else '   '}"
        say(console, f"{near}  {where}  {_excerpt(one)}")
    if any(one.far for one in around.neighbours):
        say(
            console,
            "far: near on the map, but in the embedding no nearer than by chance; --rank cosine"
            " prints what is nearest there",
        )


def _excerpt(one: Neighbour) -> str:
    """The patch in brackets with what surrounds it, white space single.

    `_SHOWN` characters in all.
    """
    texts = (part.decode("utf-8", "ignore") for part in (one.before, one.patch, one.after))
    before, patch, after = (re.sub(r"\s+", " ", text) for text in texts)
    room = (_SHOWN - min(len(patch), _SHOWN // 2)) // 2
    patch, after = (patch, after) if len(patch) <= _SHOWN // 2 else (f"{patch[: _SHOWN // 2]}…", "")
    return f"{before[-room:]:>{room}}[{patch}]{after[:room]}"
