"""Where to look on a finished map for what a query is like."""

from sphere_ebm.retrieval.navigator.bearings import Bearings as Bearings
from sphere_ebm.retrieval.navigator.config import NavigatorConfig as NavigatorConfig
from sphere_ebm.retrieval.navigator.search import Navigator as Navigator
