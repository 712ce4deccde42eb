"""The neighbourhood of a node of the grid, poles included."""

import jax.numpy as jnp
import numpy as np

from sphere_ebm.geometry.maxima import highest_around


def test_the_highest_of_a_node_and_its_eight_neighbours_across_the_poles_too():
    rows = 4
    columns = 8
    field = np.random.default_rng(0).standard_normal((2, rows, columns)).astype(np.float32)
    found = np.asarray(highest_around(jnp.asarray(field)))
    for row in range(rows):
        for column in range(columns):
            around = []
            for across in (-1, 0, 1):
                beyond = not 0 <= row + across < rows
                shift = columns // 2 if beyond else 0
                line = row if beyond else row + across
                around += [field[:, line, (column + shift + side) % columns] for side in (-1, 0, 1)]
            np.testing.assert_array_equal(found[:, row, column], np.max(around, axis=0))
