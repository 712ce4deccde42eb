"""Shards of every layout in, labels out."""

from sphere_ebm.files.shards.columns import COLUMNS as COLUMNS
from sphere_ebm.files.shards.discovery import LABEL_SUFFIX as LABEL_SUFFIX
from sphere_ebm.files.shards.discovery import SHARD_SUFFIXES as SHARD_SUFFIXES
from sphere_ebm.files.shards.discovery import WorkItem as WorkItem
from sphere_ebm.files.shards.discovery import discover as discover
from sphere_ebm.files.shards.labels import Labels as Labels
from sphere_ebm.files.shards.labels import read_labels as read_labels
from sphere_ebm.files.shards.labels import write_labels as write_labels
from sphere_ebm.files.shards.layouts import LABEL_FORMAT as LABEL_FORMAT
from sphere_ebm.files.shards.pooling import Pooling as Pooling
from sphere_ebm.files.shards.reader import read_item as read_item
from sphere_ebm.files.shards.reader import read_shard as read_shard
from sphere_ebm.files.shards.sidecar import SidecarEdges as SidecarEdges
from sphere_ebm.files.shards.sidecar import read_sidecar_edges as read_sidecar_edges
from sphere_ebm.files.shards.summary import ShardSummary as ShardSummary
from sphere_ebm.files.shards.summary import inspect_shard as inspect_shard
from sphere_ebm.files.shards.table import PatchTable as PatchTable
