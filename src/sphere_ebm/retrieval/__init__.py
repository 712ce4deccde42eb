"""Reading a finished map.

Levels of cells and a cascade through them, cones and the points in them, how dense the map is.
"""

from sphere_ebm.retrieval.cascade import Cascade as Cascade
from sphere_ebm.retrieval.cones import CapDensity as CapDensity
from sphere_ebm.retrieval.cones import Cones as Cones
from sphere_ebm.retrieval.cones import Found as Found
from sphere_ebm.retrieval.cones import cone_weights as cone_weights
from sphere_ebm.retrieval.cones import local_density as local_density
from sphere_ebm.retrieval.cones import members as members
from sphere_ebm.retrieval.cones import top_k as top_k
from sphere_ebm.retrieval.pyramid import MapPyramid as MapPyramid
from sphere_ebm.retrieval.recall import RecallCurve as RecallCurve
from sphere_ebm.retrieval.visitors import with_visitors as with_visitors
