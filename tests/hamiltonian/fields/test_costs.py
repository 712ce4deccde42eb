"""Evaluators are chosen by what they cost on the device at hand."""

import jax
import pytest

from sphere_ebm.hamiltonian.fields import costs, evaluators
from sphere_ebm.hamiltonian.fields.costs import BLOCKS, COSTS, TERMS, Cost, device_kind
from sphere_ebm.hamiltonian.fields.evaluators import EVALUATORS, DirectField, choose_evaluator


def test_a_cost_is_the_sum_of_its_terms_by_hand():
    cost = Cost(fixed=1, points=2, pairs=3, rows=5, cells=7, products=11)
    assert cost.of(10, 4) == 1 + 2 * 10 + 3 * 100 + 5 * 4 + 7 * 16 + 11 * 64


def test_every_device_has_a_cost_of_every_evaluator_in_the_terms_that_are_measured():
    for of_device in COSTS.values():
        assert set(of_device) == set(TERMS) == set(EVALUATORS) - {"auto"}
        for name, cost in of_device.items():
            assert {term for term, value in cost._asdict().items() if value} <= set(TERMS[name])
    assert COSTS.keys() == BLOCKS.keys()


def test_the_device_is_the_one_that_jax_would_take(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert device_kind() == "gpu"
    assert DirectField(3.0).block_size == BLOCKS["gpu"]
    assert DirectField(3.0, 7).block_size == 7
    with jax.default_device(jax.devices("cpu")[0]):
        assert device_kind() == "cpu"
        assert DirectField(3.0).block_size == BLOCKS["cpu"]


@pytest.mark.parametrize(
    ("kind", "chosen"),
    [("cpu", ["direct", "harmonic", "pyramid"]), ("gpu", ["direct", "direct", "pyramid"])],
)
def test_a_device_that_multiplies_fast_takes_the_sum_for_more_points(monkeypatch, kind, chosen):
    monkeypatch.setattr(evaluators, "costs_here", lambda: COSTS[kind])
    sizes = {100: 3.0, 2_000: 6.7, 1_000_000: 150.0}
    assert [choose_evaluator("auto", s, n) for n, s in sizes.items()] == chosen


def test_the_costs_of_this_device_are_those_of_its_kind(monkeypatch):
    monkeypatch.setattr(costs, "device_kind", lambda: "gpu")
    assert costs.costs_here() is COSTS["gpu"]
