"""From text to shards: patches cut where the next byte is uncertain, and an embedding for each."""

from sphere_ebm.text.base import AbstractEmbedder as AbstractEmbedder
from sphere_ebm.text.base import AbstractEntropyModel as AbstractEntropyModel
from sphere_ebm.text.base import Reading as Reading
from sphere_ebm.text.blt import BltEmbedder as BltEmbedder
from sphere_ebm.text.blt import BltEntropyModel as BltEntropyModel
from sphere_ebm.text.blt import load_blt as load_blt
from sphere_ebm.text.byte_model import ByteModel as ByteModel
from sphere_ebm.text.ingest import IngestRun as IngestRun
from sphere_ebm.text.passage_embedder import PassageEmbedder as PassageEmbedder
from sphere_ebm.text.passage_embedder import sentence_transformer as sentence_transformer
from sphere_ebm.text.patching import Patching as Patching
from sphere_ebm.text.patching import StreamingPatcher as StreamingPatcher
from sphere_ebm.text.patching import find_threshold as find_threshold
from sphere_ebm.text.patching import patch_lengths as patch_lengths
from sphere_ebm.text.static_embedder import StaticEmbedder as StaticEmbedder
from sphere_ebm.text.statistics import PatchStatistics as PatchStatistics
from sphere_ebm.text.statistics import statistics_of as statistics_of
