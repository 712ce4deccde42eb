"""Measurements of the package against its targets and its peers.

Run from the repository root, see README.md here.
"""
