"""Nearest neighbours and the graph that lateral attraction acts on."""

from sphere_ebm.graph.graph import NeighbourGraph as NeighbourGraph
from sphere_ebm.graph.graph import add_edges as add_edges
from sphere_ebm.graph.graph import build_graph as build_graph
from sphere_ebm.graph.graph import graph_from_neighbours as graph_from_neighbours
from sphere_ebm.graph.graph import proper_colouring as proper_colouring
from sphere_ebm.graph.index import NeighbourIndex as NeighbourIndex
from sphere_ebm.graph.index import nearest_neighbours as nearest_neighbours
from sphere_ebm.graph.neighbours import Neighbours as Neighbours
