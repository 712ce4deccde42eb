"""Files: shards of every layout in, labels out."""

from sphere_ebm.shards.container import TensorInfo as TensorInfo
from sphere_ebm.shards.discovery import LABEL_SUFFIX as LABEL_SUFFIX
from sphere_ebm.shards.discovery import SHARD_SUFFIXES as SHARD_SUFFIXES
from sphere_ebm.shards.discovery import WorkItem as WorkItem
from sphere_ebm.shards.discovery import discover as discover
from sphere_ebm.shards.errors import ShardError as ShardError
from sphere_ebm.shards.files import atomic_write as atomic_write
from sphere_ebm.shards.files import clean_leftovers as clean_leftovers
from sphere_ebm.shards.files import sha256_of as sha256_of
from sphere_ebm.shards.labels import Labels as Labels
from sphere_ebm.shards.labels import read_labels as read_labels
from sphere_ebm.shards.labels import write_labels as write_labels
from sphere_ebm.shards.layouts import LABEL_FORMAT as LABEL_FORMAT
from sphere_ebm.shards.pooling import Pooling as Pooling
from sphere_ebm.shards.reader import read_item as read_item
from sphere_ebm.shards.reader import read_shard as read_shard
from sphere_ebm.shards.sidecar import SidecarEdges as SidecarEdges
from sphere_ebm.shards.sidecar import read_sidecar_edges as read_sidecar_edges
from sphere_ebm.shards.summary import ShardSummary as ShardSummary
from sphere_ebm.shards.summary import inspect_shard as inspect_shard
from sphere_ebm.shards.table import PatchTable as PatchTable
