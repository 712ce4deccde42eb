"""Shells filled to their capacities.

The array engine of water-filling, and the presets that it runs.
"""
