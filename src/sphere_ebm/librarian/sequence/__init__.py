"""Prediction of the next vector of a document: six models, baselines, and one comparison."""

from sphere_ebm.librarian.sequence.compare import SequenceRun as SequenceRun
from sphere_ebm.librarian.sequence.compare import compare_sequences as compare_sequences
from sphere_ebm.librarian.sequence.config import MODELS as MODELS
from sphere_ebm.librarian.sequence.config import SequenceConfig as SequenceConfig
from sphere_ebm.librarian.sequence.documents import Sequences as Sequences
from sphere_ebm.librarian.sequence.documents import embed_alone as embed_alone
from sphere_ebm.librarian.sequence.documents import read_sequences as read_sequences
from sphere_ebm.librarian.sequence.documents import split_documents as split_documents
from sphere_ebm.librarian.sequence.model import NextVector as NextVector
from sphere_ebm.librarian.sequence.model import build_model as build_model
