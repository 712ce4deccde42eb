"""The same code on a GPU.

The fields and energies of the CPU to rounding, a map of the same quality.

Skipped where JAX finds no GPU (`pip install 'jax[cuda12]'` on Linux brings one into sight).
`JAX_PLATFORMS`, if it is set, must leave the CPU in.
"""

import dataclasses
from collections.abc import Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from builders import in_groups
from sphere_ebm import FrozenMap, Placement, PlacementConfig, place
from sphere_ebm.hamiltonian.fields.evaluators import DirectField, make_field
from sphere_ebm.maps.starts import random_directions

GROUPS = 40
WIDTH = 12
N = 2000
NEW = 200
CONFIG = PlacementConfig(steps=200, average=25, shells=8)
SHARPNESS = CONFIG.sharpness(N)


def gpus() -> list[jax.Device]:
    try:
        return jax.devices("gpu")
    except RuntimeError:  # JAX knows no such platform here
        return []


pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not gpus(), reason="JAX finds no GPU")]


def cloud(points: int, seed: int) -> np.ndarray:
    return in_groups(points, seed, groups=GROUPS, width=WIDTH)


def made_on(device: jax.Device) -> Placement:
    with jax.default_device(device):
        return place(cloud(N, 0), config=CONFIG)


@pytest.fixture(scope="module")
def cpu() -> jax.Device:
    return jax.devices("cpu")[0]


@pytest.fixture(scope="module")
def gpu() -> jax.Device:
    return gpus()[0]


@pytest.fixture
def full_products() -> Iterator[None]:
    """A GPU multiplies matrices of float32 with fewer digits unless told not to."""
    with jax.default_matmul_precision("highest"):
        yield


@pytest.mark.parametrize("evaluator", ["direct", "harmonic", "pyramid"])
@pytest.mark.usefixtures("full_products")
def test_the_fields_agree_with_the_direct_sum_on_the_cpu(
    cpu: jax.Device, gpu: jax.Device, evaluator: str
) -> None:
    points = random_directions(N, 0)
    with jax.default_device(cpu):
        exact = [np.asarray(x) for x in eqx.filter_jit(DirectField(SHARPNESS))(jnp.asarray(points))]
    with jax.default_device(gpu):
        found = eqx.filter_jit(make_field(evaluator, SHARPNESS, N))(jnp.asarray(points))
    assert found[0].devices() == {gpu}
    seen = [np.asarray(x) for x in found]
    # the errors of the grids themselves, as on the CPU; the direct sum's gradient is nearly all
    # radial
    allowed = {"direct": 1e-3, "harmonic": 0.08, "pyramid": 0.05}[evaluator]
    force, exact_force = (
        field[1] - np.sum(field[1] * points, axis=1, keepdims=True) * points
        for field in (seen, exact)
    )
    assert np.linalg.norm(seen[0] - exact[0]) <= 0.01 * np.linalg.norm(exact[0])
    assert np.linalg.norm(force - exact_force) <= allowed * np.linalg.norm(exact_force)


def test_a_map_made_on_a_gpu_begins_alike_and_is_as_good(cpu: jax.Device, gpu: jax.Device) -> None:
    here = made_on(cpu)
    there = made_on(gpu)
    for name, values in here.energy.items():
        np.testing.assert_allclose(there.energy[name][0], values[0], rtol=1e-4, atol=1e-4 * N)
    total = [sum(placement.energy.values())[-1] / N for placement in (here, there)]
    assert abs(total[0] - total[1]) < 0.02
    recall = [placement.quality().recall[15] for placement in (here, there)]
    assert abs(recall[0] - recall[1]) < 0.02


def test_a_gpu_can_be_named(gpu: jax.Device) -> None:
    with jax.default_device(gpu):
        default = place(cloud(N, 0), config=dataclasses.replace(CONFIG, steps=20))
    named = place(cloud(N, 0), config=dataclasses.replace(CONFIG, steps=20), devices=[gpu])
    np.testing.assert_allclose(
        named.energy["lateral"][:2], default.energy["lateral"][:2], rtol=1e-3
    )


def test_newcomers_come_to_lie_where_the_cpu_puts_them(cpu: jax.Device, gpu: jax.Device) -> None:
    placement = made_on(cpu)
    directions = []
    for device in (cpu, gpu):
        with jax.default_device(device):
            directions.append(FrozenMap(placement, batch=128).place(cloud(NEW, 1)).direction)
    chord = np.linalg.norm(directions[0] - directions[1], axis=1)
    # a newcomer between two wells of one depth may fall into the other for a rounding
    assert np.quantile(chord, 0.98) < 1e-3
