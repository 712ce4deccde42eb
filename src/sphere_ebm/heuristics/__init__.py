"""Comparators and initialisers, honest about being heuristics."""

from sphere_ebm.heuristics.initial import pca_directions as pca_directions
from sphere_ebm.heuristics.initial import random_directions as random_directions
from sphere_ebm.heuristics.initial import spectral_directions as spectral_directions
