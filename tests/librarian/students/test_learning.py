"""Batches of one size, and the sum of losses."""

import jax.numpy as jnp
import pytest

from planted import batch_for, config_for
from sphere_ebm.librarian.students.learning import padded, with_total


def test_rows_that_fill_a_batch_count_nothing_and_the_others_as_much_more():
    filled = padded(batch_for(6, 0)[0], 24)
    assert {len(array) for array in filled.values()} == {24}
    for name in ("weight", "real"):
        assert filled[name][:6].tolist() == [4] * 6
        assert not filled[name][6:].any()


def test_the_total_weighs_every_loss():
    config = config_for("cone", cells_weight=2.0, shell_weight=0.5)
    parts = {"cells": jnp.asarray(3.0), "shell": jnp.asarray(4.0)}
    total, told = with_total(config, parts)
    assert float(total) == pytest.approx(8)
    assert told == {"loss": total, **parts}
