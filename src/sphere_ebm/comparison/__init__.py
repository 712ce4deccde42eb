"""Heuristic placements beside Langevin placements of the same data."""

from sphere_ebm.comparison.figure import plot_comparison as plot_comparison
from sphere_ebm.comparison.run import METHODS as METHODS
from sphere_ebm.comparison.run import Compared as Compared
from sphere_ebm.comparison.run import compare as compare
from sphere_ebm.comparison.shards import COMPARISON_FIGURE as COMPARISON_FIGURE
from sphere_ebm.comparison.shards import COMPARISON_TABLE as COMPARISON_TABLE
from sphere_ebm.comparison.shards import ShardComparison as ShardComparison
from sphere_ebm.comparison.shards import compare_shards as compare_shards
