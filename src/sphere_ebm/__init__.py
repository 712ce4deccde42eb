"""Maps of embeddings on a sphere, drawn from an explicit Gibbs law with THRML.

These names are imported when they are first used, so that `import sphere_ebm` costs next to
nothing. Everything else is imported from the room that defines it: `sphere_ebm.sampling`,
`sphere_ebm.studies`, `sphere_ebm.retrieval` and so on; docs/architecture.md says what is where.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphere_ebm.errors import LabelError, ShardError
    from sphere_ebm.figures.map import plot_map
    from sphere_ebm.files.shards.labels import read_labels
    from sphere_ebm.files.shards.reader import read_shard
    from sphere_ebm.heuristics.compare import compare
    from sphere_ebm.heuristics.water_filling import water_filling
    from sphere_ebm.labelling.label import label
    from sphere_ebm.maps.config import PlacementConfig
    from sphere_ebm.maps.estimator import SphereMap
    from sphere_ebm.maps.frozen_map import FrozenMap
    from sphere_ebm.maps.place import place
    from sphere_ebm.maps.placement import Placement
    from sphere_ebm.quality.report import measure_quality
    from sphere_ebm.retrieval.navigator.search import Navigator
    from sphere_ebm.studies.sample import sample

    __version__: str

__all__ = [
    "FrozenMap",
    "LabelError",
    "Navigator",
    "Placement",
    "PlacementConfig",
    "ShardError",
    "SphereMap",
    "__version__",
    "compare",
    "label",
    "measure_quality",
    "place",
    "plot_map",
    "read_labels",
    "read_shard",
    "sample",
    "water_filling",
]

_HOMES = {
    "FrozenMap": "maps.frozen_map",
    "LabelError": "errors",
    "Navigator": "retrieval.navigator.search",
    "Placement": "maps.placement",
    "PlacementConfig": "maps.config",
    "ShardError": "errors",
    "SphereMap": "maps.estimator",
    "compare": "heuristics.compare",
    "label": "labelling.label",
    "measure_quality": "quality.report",
    "place": "maps.place",
    "plot_map": "figures.map",
    "read_labels": "files.shards.labels",
    "read_shard": "files.shards.reader",
    "sample": "studies.sample",
    "water_filling": "heuristics.water_filling",
}
"""The module that defines each public name."""

_ROOMS = frozenset(
    [
        "cli",
        "errors",
        "figures",
        "files",
        "filling",
        "geometry",
        "graph",
        "hamiltonian",
        "heuristics",
        "labelling",
        "librarian",
        "maps",
        "progress",
        "quality",
        "retrieval",
        "rules",
        "sampling",
        "studies",
        "text",
    ]
)


def __getattr__(name: str) -> Any:
    """Import a public name, or a room, when it is first asked for (PEP 562)."""
    if name in _HOMES:
        found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    elif name in _ROOMS:
        found = importlib.import_module(f"{__name__}.{name}")
    elif name == "__version__":
        from importlib.metadata import version

        found = version("sphere-ebm")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
