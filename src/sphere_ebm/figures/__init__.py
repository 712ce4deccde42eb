"""Pictures of a map: the figure of a placement, its legend, and methods side by side."""

from sphere_ebm.figures.comparison import plot_comparison as plot_comparison
from sphere_ebm.figures.map import plot_map as plot_map
from sphere_ebm.figures.map import save_figure as save_figure
from sphere_ebm.figures.world import hammer as hammer
