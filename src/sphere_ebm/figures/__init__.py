"""Pictures of a map: the figure of a placement, its legend, and methods side by side.

These names are imported when they are first used: what draws needs matplotlib, which takes longer
to import than many a command runs, and the data of a page does without it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphere_ebm.figures.comparison import plot_comparison as plot_comparison
    from sphere_ebm.figures.map import plot_map as plot_map
    from sphere_ebm.figures.map import save_figure as save_figure
    from sphere_ebm.figures.world import hammer as hammer

_HOMES = {
    "hammer": "world",
    "plot_comparison": "comparison",
    "plot_map": "map",
    "save_figure": "map",
}
"""The module that defines each name."""


def __getattr__(name: str) -> Any:
    """Import a name of this room when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
