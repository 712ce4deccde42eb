"""From a configuration to a finished map.

What is posed, where it starts, how it is placed and kept.
"""

from sphere_ebm.maps.config import PlacementConfig as PlacementConfig
from sphere_ebm.maps.density import local_density as local_density
from sphere_ebm.maps.estimator import SphereMap as SphereMap
from sphere_ebm.maps.frozen_map import FrozenMap as FrozenMap
from sphere_ebm.maps.place import hamiltonian_factors as hamiltonian_factors
from sphere_ebm.maps.place import make_sampler as make_sampler
from sphere_ebm.maps.placement import Placement as Placement
from sphere_ebm.maps.problem import Problem as Problem
from sphere_ebm.maps.problem import pose as pose
