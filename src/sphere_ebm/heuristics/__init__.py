"""Placements without dynamics, honest about being heuristics, and all methods side by side."""

from sphere_ebm.filling.presets import PRESETS as PRESETS
from sphere_ebm.filling.presets import Preset as Preset
from sphere_ebm.heuristics.compare import METHODS as METHODS
from sphere_ebm.heuristics.compare import Compared as Compared
from sphere_ebm.heuristics.water_filling import capacity_sort as capacity_sort
