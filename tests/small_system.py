"""Fixtures of a small system of all three terms, for the rooms that test with it."""

from typing import Any

import pytest
from thrml import Block

from builders import small_hamiltonian, small_state
from sphere_ebm.hamiltonian import SphereState
from sphere_ebm.sampling.programs import sphere_block

SMALL_POINTS = 30


@pytest.fixture(scope="session")
def small_block() -> Block:
    return sphere_block(SMALL_POINTS)


@pytest.fixture(scope="session")
def small_factors(small_block: Block) -> list[Any]:
    return small_hamiltonian(small_block)


@pytest.fixture(scope="session")
def small_start() -> SphereState:
    return small_state(SMALL_POINTS)
