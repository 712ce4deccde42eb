"""From shards to a folder of labels.

One map of all of them, resumable, with its summary and figure.
"""

from sphere_ebm.labelling.adding import JoinRun as JoinRun
from sphere_ebm.labelling.adding import join_map as join_map
from sphere_ebm.labelling.compare import COMPARISON_FIGURE as COMPARISON_FIGURE
from sphere_ebm.labelling.compare import COMPARISON_TABLE as COMPARISON_TABLE
from sphere_ebm.labelling.compare import ShardComparison as ShardComparison
from sphere_ebm.labelling.compare import compare_shards as compare_shards
from sphere_ebm.labelling.export import export_map as export_map
from sphere_ebm.labelling.export import map_table as map_table
from sphere_ebm.labelling.label import LabelRun as LabelRun
from sphere_ebm.labelling.label import measure_map as measure_map
from sphere_ebm.labelling.page import page_of_folder as page_of_folder
from sphere_ebm.labelling.passage import Surroundings as Surroundings
from sphere_ebm.labelling.passage import surroundings as surroundings
from sphere_ebm.labelling.registering import Registration as Registration
from sphere_ebm.labelling.registering import register_map as register_map
from sphere_ebm.labelling.updating import UpdateRun as UpdateRun
from sphere_ebm.labelling.updating import update_map as update_map
