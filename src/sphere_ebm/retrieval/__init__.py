"""Reading a finished map.

Cones, the points in them, how dense it is, and where to look for a query.
"""

from sphere_ebm.retrieval.cones import CapDensity as CapDensity
from sphere_ebm.retrieval.cones import Cones as Cones
from sphere_ebm.retrieval.cones import Found as Found
from sphere_ebm.retrieval.cones import cone_weights as cone_weights
from sphere_ebm.retrieval.cones import local_density as local_density
from sphere_ebm.retrieval.cones import members as members
from sphere_ebm.retrieval.cones import top_k as top_k
