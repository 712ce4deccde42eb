"""Comparators and initialisers, honest about being heuristics."""

from sphere_ebm.heuristics.initial import pca_directions as pca_directions
from sphere_ebm.heuristics.initial import random_directions as random_directions
from sphere_ebm.heuristics.initial import spectral_directions as spectral_directions
from sphere_ebm.heuristics.navigator import Bearings as Bearings
from sphere_ebm.heuristics.navigator import HarmonicNavigator as HarmonicNavigator
from sphere_ebm.heuristics.navigator import NavigatorConfig as NavigatorConfig
from sphere_ebm.heuristics.water_filling import PRESETS as PRESETS
from sphere_ebm.heuristics.water_filling import Preset as Preset
from sphere_ebm.heuristics.water_filling import capacity_sort as capacity_sort
from sphere_ebm.heuristics.water_filling import water_filling as water_filling
