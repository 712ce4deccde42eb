"""Draw the rooms of the package and the imports between them: `python docs/draw_architecture.py`.

It rewrites `docs/images/architecture.png` and the list of rooms in `docs/architecture.md`. Both
come from the import statements in `src`, so that they say what the code does.
"""

import ast
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve
from scipy.optimize import isotonic_regression

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "sphere_ebm"
PAGE = DOCS / "architecture.md"
PICTURE = DOCS / "images" / "architecture.png"
BEGIN = "<!-- written by docs/draw_architecture.py: begin -->"
END = "<!-- written by docs/draw_architecture.py: end -->"
NOT_ROOMS = ("__init__", "__main__")

WIDTH = 1.9
"""Of a room's box; floors are 1 apart."""
HEIGHT = 0.46
LANE = 0.5
"""The room that an arrow takes where it passes a floor."""
SWEEPS = 40

Rooms = dict[str, frozenset[str]]
"""Each room with the rooms that it imports."""
Node = tuple[str, ...]
"""A room, `(name,)`, or where an arrow passes a floor, `(importer, imported, floor)`."""


def read_rooms(source: Path = SOURCE) -> Rooms:
    """Every room of the package with the rooms that it imports, wherever the import stands.

    A room is a folder of the first level, or a module beside them.
    """
    homes = _public_names(source)
    rooms: dict[str, set[str]] = {}
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source).with_suffix("").parts
        if parts[0] not in NOT_ROOMS:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            rooms.setdefault(parts[0], set()).update(_imported(tree, homes))
    return {room: frozenset(rooms[room] & rooms.keys() - {room}) for room in sorted(rooms)}


def _public_names(source: Path) -> dict[str, str]:
    """The room of each name that `sphere_ebm` itself offers, from the imports of its `__init__`."""
    tree = ast.parse((source / "__init__.py").read_text(encoding="utf-8"))
    return {
        alias.name: node.module.split(".")[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.startswith("sphere_ebm.")
        for alias in node.names
    }


def _imported(tree: ast.Module, homes: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "sphere_ebm":
            yield from (homes.get(alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from _second(node.module)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from _second(alias.name)


def _second(dotted: str) -> list[str]:
    """The room in `sphere_ebm.room.module`; nothing of another package."""
    parts = dotted.split(".")
    return parts[1:2] if parts[0] == "sphere_ebm" else []


def floors_of(rooms: Rooms) -> dict[str, int]:
    """The floor of each room: the longest way down to a room that imports none.

    Raises ValueError where rooms import each other in a circle.
    """
    floors: dict[str, int] = {}
    while len(floors) < len(rooms):
        ready = [room for room in rooms if room not in floors and rooms[room] <= floors.keys()]
        if not ready:
            stuck = ", ".join(sorted(rooms.keys() - floors.keys()))
            raise ValueError(f"these rooms import each other in a circle, or such rooms: {stuck}")
        floors |= {room: 1 + max((floors[r] for r in rooms[room]), default=-1) for room in ready}
    return floors


def direct(rooms: Rooms) -> Rooms:
    """Only the imports that follow from no others: what another imported room imports is left out.

    (The transitive reduction.)
    """
    below: dict[str, set[str]] = {}
    for room in sorted(rooms, key=floors_of(rooms).__getitem__):
        below[room] = set(rooms[room]).union(*(below[other] for other in rooms[room]))
    return {
        room: imported - frozenset().union(*(below[other] for other in imported))
        for room, imported in rooms.items()
    }


def block(rooms: Rooms) -> str:
    """The list of rooms for the page, floor by floor, the highest first."""
    floors = floors_of(rooms)
    width = max(map(len, rooms))
    lines = [
        f"{floors[room]}  {room.ljust(width)}  {', '.join(sorted(rooms[room])) or '-'}"
        for room in sorted(rooms, key=lambda room: (-floors[room], room))
    ]
    count = f"{len(rooms)} rooms, {max(floors.values()) + 1} floors, "
    count += f"{sum(map(len, rooms.values()))} imports between rooms"
    return "\n".join(["```text", f"floor, room, imports: {count}", *lines, "```"])


def written(page: str) -> str:
    """What stands between the two markers of a page."""
    found = re.search(f"{re.escape(BEGIN)}\n(.*?)\n{re.escape(END)}", page, flags=re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no {BEGIN!r} with {END!r} behind it")
    return found[1]


def layers_of(rooms: Rooms, floors: dict[str, int]) -> tuple[list[list[Node]], list[list[Node]]]:
    """The nodes of every floor in an order with few crossings, and every arrow as a chain of nodes.

    An arrow that skips floors gets a place of its own on each of them, so that it crosses no box.
    The order is that of repeated averages over neighbours (Sugiyama et al. 1981).
    """
    chains = [
        [
            (room,),
            *((room, other, str(f)) for f in range(floors[room] - 1, floors[other], -1)),
            (other,),
        ]
        for room in rooms
        for other in sorted(rooms[room])
    ]
    floor = {(room,): floors[room] for room in rooms}
    floor |= {node: int(node[2]) for chain in chains for node in chain[1:-1]}
    layers: list[list[Node]] = [[] for _ in range(max(floors.values()) + 1)]
    for node in sorted(floor):
        layers[floor[node]].append(node)
    beside = neighbours_of(chains)
    for sweep in range(SWEEPS):
        for level in range(len(layers)) if sweep % 2 else reversed(range(len(layers))):
            place = {
                node: (i + 0.5) / len(layer) for layer in layers for i, node in enumerate(layer)
            }
            layers[level].sort(
                key=lambda node, at=place: np.mean([at[n] for n in beside.get(node, [node])])
            )
    return layers, chains


def neighbours_of(chains: list[list[Node]]) -> dict[Node, list[Node]]:
    """The nodes that each node is joined to."""
    beside: dict[Node, list[Node]] = {}
    for chain in chains:
        for above, below in itertools.pairwise(chain):
            beside.setdefault(above, []).append(below)
            beside.setdefault(below, []).append(above)
    return beside


def places_of(layers: list[list[Node]], chains: list[list[Node]]) -> dict[Node, tuple[float, int]]:
    """Where nodes lie: in their order, near the mean of those they are joined to, none on another.

    Positions less the widths to their left have to grow, so that the nearest ones allowed are an
    isotonic regression.
    """
    beside = neighbours_of(chains)
    shift: dict[Node, float] = {}
    across: dict[Node, float] = {}
    for layer in layers:
        widths = np.asarray([WIDTH + 0.3 if len(node) == 1 else LANE for node in layer])
        offsets = np.cumsum(widths) - widths / 2 - widths.sum() / 2
        shift |= {node: float(x) for node, x in zip(layer, offsets, strict=True)}
    across |= shift
    for _ in range(SWEEPS):
        for layer in layers:
            offsets = np.asarray([shift[node] for node in layer])
            wanted = [np.mean([across[n] for n in beside.get(node, [node])]) for node in layer]
            weights = [1.0 if len(node) == 1 else 4.0 for node in layer]
            found = isotonic_regression(np.asarray(wanted) - offsets, weights=weights).x + offsets
            across |= {node: float(x) for node, x in zip(layer, found, strict=True)}
    return {node: (across[node], level) for level, layer in enumerate(layers) for node in layer}


def draw(rooms: Rooms, picture: Path = PICTURE) -> None:
    """Write the picture; its metadata hold the list of rooms that it was drawn from."""
    floors = floors_of(rooms)
    layers, chains = layers_of(direct(rooms), floors)
    places = places_of(layers, chains)
    figure = Figure(figsize=(9, 1.15 * len(layers)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    ends = _ends(chains, places)
    for chain in chains:
        _arrow(axes, chain, places, ends)
    for room in rooms:
        x, y = places[room,]
        corner = (x - WIDTH / 2, y - HEIGHT / 2)
        shape = FancyBboxPatch(
            corner,
            WIDTH,
            HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.1",
            fc="#eef3fa",
            ec="#4a6a94",
        )
        axes.add_patch(shape)
        axes.text(x, y, room, ha="center", va="center", fontsize=12, color="#1d2b40")
    left = min(x for x, _ in places.values()) - WIDTH / 2 - 0.2
    for level in range(len(layers)):
        axes.text(left, level, f"floor {level}", ha="right", va="center", fontsize=9, color="0.5")
    axes.set_xlim(left - 0.9, max(x for x, _ in places.values()) + WIDTH / 2 + 0.2)
    axes.set_ylim(-0.4, len(layers) - 0.6)
    axes.set_axis_off()
    figure.savefig(picture, dpi=100, metadata={"Description": block(rooms), "Software": None})


def _ends(
    chains: list[list[Node]], places: dict[Node, tuple[float, int]]
) -> dict[tuple[Node, Node], float]:
    """Where on the edge of a box each arrow begins or ends: side by side, in their order."""
    ends: dict[tuple[Node, Node], float] = {}
    for side in (1, -1):
        steps = [pair[::side] for chain in chains for pair in itertools.pairwise(chain)]
        for node in {step[0] for step in steps}:
            others = sorted((s[1] for s in steps if s[0] == node), key=lambda n: places[n])
            gap = min(0.3, 0.8 * WIDTH / len(others))
            for i, other in enumerate(others):
                shift = gap * (i - (len(others) - 1) / 2) if len(node) == 1 else 0.0
                ends[node, other] = places[node][0] + shift
    return ends


def _arrow(
    axes: Axes,
    chain: list[Node],
    places: dict[Node, tuple[float, int]],
    ends: dict[tuple[Node, Node], float],
) -> None:
    """One smooth line down through a chain of nodes, with a head where it ends."""
    points: list[tuple[float, float]] = []
    codes: list[np.uint8] = []
    for above, below in itertools.pairwise(chain):
        begin = (ends[above, below], places[above][1] - HEIGHT / 2)
        end = (ends[below, above], places[below][1] + HEIGHT / 2)
        middle = (begin[1] + end[1]) / 2
        points += [begin, (begin[0], middle), (end[0], middle), end]
        codes += [Curve.LINETO if codes else Curve.MOVETO, *[Curve.CURVE4] * 3]
    axes.add_patch(
        FancyArrowPatch(
            path=Curve(points, codes),
            arrowstyle="-|>",
            mutation_scale=11,
            color="#7b8794",
            linewidth=1.2,
            zorder=0,
        )
    )


def main() -> None:
    """Rewrite the picture and the list of rooms."""
    rooms = read_rooms()
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.split(f"{BEGIN}\n{written(page)}\n{END}")
    PAGE.write_text(f"{before}{BEGIN}\n{block(rooms)}\n{END}{after}", encoding="utf-8")
    draw(rooms)


if __name__ == "__main__":
    main()
