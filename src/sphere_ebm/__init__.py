"""Maps of embeddings on a sphere, drawn from an explicit Gibbs law with THRML. The public API on one page."""

from importlib.metadata import version

from sphere_ebm.comparison import compare as compare
from sphere_ebm.comparison import compare_shards as compare_shards
from sphere_ebm.comparison import plot_comparison as plot_comparison
from sphere_ebm.config import PlacementConfig as PlacementConfig
from sphere_ebm.equilibrium import sample as sample
from sphere_ebm.equilibrium import sample_ladder as sample_ladder
from sphere_ebm.fit import hamiltonian as hamiltonian
from sphere_ebm.fit import make_sampler as make_sampler
from sphere_ebm.fit import place as place
from sphere_ebm.frozen_map import FrozenMap as FrozenMap
from sphere_ebm.graph import NeighbourGraph as NeighbourGraph
from sphere_ebm.graph import build_graph as build_graph
from sphere_ebm.graph import proper_colouring as proper_colouring
from sphere_ebm.heuristics import HarmonicNavigator as HarmonicNavigator
from sphere_ebm.heuristics import NavigatorConfig as NavigatorConfig
from sphere_ebm.heuristics import capacity_sort as capacity_sort
from sphere_ebm.heuristics import water_filling as water_filling
from sphere_ebm.labelling import LabelRun as LabelRun
from sphere_ebm.labelling import label as label
from sphere_ebm.labelling import measure_map as measure_map
from sphere_ebm.map_folder import LabelError as LabelError
from sphere_ebm.neighbours import NeighbourIndex as NeighbourIndex
from sphere_ebm.neighbours import Neighbours as Neighbours
from sphere_ebm.placement import Placement as Placement
from sphere_ebm.plotting import plot_map as plot_map
from sphere_ebm.plotting import save_figure as save_figure
from sphere_ebm.quality import QualityReport as QualityReport
from sphere_ebm.quality import measure_quality as measure_quality
from sphere_ebm.retrieval import Cones as Cones
from sphere_ebm.sampling import MALA as MALA
from sphere_ebm.sampling import ConvergenceWarning as ConvergenceWarning
from sphere_ebm.sampling import EulerMaruyama as EulerMaruyama
from sphere_ebm.sampling import ExchangeResult as ExchangeResult
from sphere_ebm.sampling import LeimkuhlerMatthews as LeimkuhlerMatthews
from sphere_ebm.sampling import MetropolisWithinGibbs as MetropolisWithinGibbs
from sphere_ebm.sampling import NonFiniteEnergyError as NonFiniteEnergyError
from sphere_ebm.sampling import Samples as Samples
from sphere_ebm.sampling import SphereNode as SphereNode
from sphere_ebm.sampling import Underdamped as Underdamped
from sphere_ebm.sampling import build_coloured_program as build_coloured_program
from sphere_ebm.sampling import build_program as build_program
from sphere_ebm.sampling import replica_exchange as replica_exchange
from sphere_ebm.sampling import sample_chains as sample_chains
from sphere_ebm.shards import Labels as Labels
from sphere_ebm.shards import PatchTable as PatchTable
from sphere_ebm.shards import ShardError as ShardError
from sphere_ebm.shards import read_labels as read_labels
from sphere_ebm.shards import read_shard as read_shard
from sphere_ebm.shells import Shells as Shells
from sphere_ebm.shells import make_shells as make_shells
from sphere_ebm.sphere_map import SphereMap as SphereMap
from sphere_ebm.thermodynamics import ThermodynamicCurve as ThermodynamicCurve
from sphere_ebm.thermodynamics import thermodynamics as thermodynamics

__version__ = version("sphere-ebm")
