"""Figures of maps that no test looks at: a fingerprint of what is drawn, in a few pixels.

Matplotlib takes three quarters of the time in which a tiny map is labelled.
"""

import hashlib
import inspect
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sphere_ebm.figures.map import plot_map


def sketch(*given: Any, **named: Any) -> Figure:
    """What `plot_map` takes, as a figure that differs where any number or name of it differs."""
    arguments = inspect.signature(plot_map).bind(*given, **named).arguments
    digest = hashlib.sha256()
    for name, value in sorted(arguments.items()):
        digest.update(f"{name}: {_described(value)}\n".encode())
    figure = Figure(figsize=(0.1, 0.1), dpi=100)
    FigureCanvasAgg(figure)
    figure.figimage(np.frombuffer(digest.digest(), np.uint8).reshape(4, 8), vmin=0, vmax=255)
    return figure


def _described(value: Any) -> str:
    """All of a value: of arrays every byte."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}{value.tobytes().hex()}"
    if isinstance(value, dict):
        return str([(key, _described(each)) for key, each in value.items()])
    # shells are arrays in attributes
    return _described(vars(value)) if hasattr(value, "__dict__") else repr(value)
