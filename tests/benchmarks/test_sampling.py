"""What the benchmarks of the samplers print.

The numbers themselves are measured by hand, on a quiet machine.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import jax.numpy as jnp
import numpy as np
import pytest

from builders import table_after


@pytest.fixture
def folder(write_set: Callable[..., Path]) -> Path:
    """One made-up set, `tiny`: 60 points."""
    embeddings = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    return write_set("tiny", embeddings)


def test_equilibrium_has_one_row_per_temperature_and_fails_when_chains_are_too_short(
    benchmark: Callable[[str], ModuleType], folder: Path
) -> None:
    equilibrium = benchmark("equilibrium")
    output = folder / "new" / "equilibrium.md"
    sizes = [
        "--points",
        "40",
        "--chains",
        "2",
        "--anneal",
        "5",
        "--warmup",
        "60",
        "--draws",
        "20",
        "--thin",
        "2",
    ]
    where = ["--data", str(folder), "--set", "tiny", "--output", str(output)]
    temperatures = ["--temperature", "0.5", "--others", "0.2"]
    assert equilibrium.main([*where, *sizes, *temperatures]) == 1
    text = output.read_text(encoding="utf-8")
    assert [row[0] for row in table_after("## MALA by", text)] == ["T", "0.5", "0.2"]
    assert [row[0].split(",")[0] for row in table_after("## Against", text)] == [
        "sampler",
        "MALA",
        "Underdamped",
    ]
    assert "**FAIL**" in [row[-1] for row in table_after("## Targets", text)]


def test_equilibrium_adds_up_the_energy_as_the_factors_do(
    benchmark: Callable[[str], ModuleType], folder: Path
) -> None:
    equilibrium = benchmark("equilibrium")
    problem = equilibrium.pose(benchmark("datasets").load("tiny", folder), 50, 0)
    direction = jnp.asarray(equilibrium.random_directions(50, 3))
    state = equilibrium.SphereState(direction, jnp.asarray(problem.ideal + np.float32(0.5)))
    assert equilibrium.exact_energy(problem, state) == pytest.approx(
        sum(float(factor.energy(state)) for factor in problem.factors), abs=1e-3
    )


def test_equilibrium_refuses_more_points_than_there_are(
    benchmark: Callable[[str], ModuleType], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        benchmark("equilibrium").main(["--data", str(folder), "--set", "tiny", "--points", "61"])
    assert stop.value.code == 2
    assert "at most 60" in capsys.readouterr().err


@pytest.mark.parametrize(("shift", "passes"), [(0.0, True), (0.4, False)])
def test_crosscheck_tells_two_laws_apart_by_draws_that_are_about_independent(
    benchmark: Callable[[str], ModuleType], shift: float, passes: bool
) -> None:
    crosscheck = benchmark("crosscheck")
    rng = np.random.default_rng(1)

    def run(mean: float) -> object:
        noise = rng.standard_normal((4, 4000))
        chain = np.zeros_like(noise)
        for i in range(1, 4000):
            chain[:, i] = 0.9 * chain[:, i - 1] + np.sqrt(1 - 0.9**2) * noise[:, i]
        return crosscheck.Run("a", dict.fromkeys(crosscheck.MEASURES, mean + chain), 1000)

    one = run(0.0)
    other = run(shift)
    assert (crosscheck.same_law(one, other, "energy") >= crosscheck.LEAST_P) == passes
    assert (crosscheck.same_mean(one, other, "energy") >= crosscheck.LEAST_P) == passes
    # an autoregression of .9 has (1 + .9) / (1 - .9) = 19 draws to one that is independent
    assert one.independent("energy").size == pytest.approx(16_000 / 38, rel=0.3)


def test_crosscheck_prints_every_sampler(
    benchmark: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crosscheck = benchmark("crosscheck")
    rng = np.random.default_rng(0)

    def drawn(name: str, shift: float) -> object:
        values = {measure: shift + rng.standard_normal((2, 500)) for measure in crosscheck.MEASURES}
        return crosscheck.Run(name, values, 2000)

    monkeypatch.setattr(
        crosscheck, "sample_nuts", lambda system, budget, seed: drawn(crosscheck.NUTS, 0)
    )
    monkeypatch.setattr(
        crosscheck, "sample_ours", lambda system, name, *_: drawn(name, 1.0 * ("1.05" in name))
    )
    output = tmp_path / "crosscheck.md"
    assert crosscheck.main(["--points", "6", "--output", str(output)]) == 0
    text = output.read_text(encoding="utf-8")
    samplers = [row[0].split(",")[0] for row in table_after("## Effective samples", text)[1:]]
    assert samplers == [crosscheck.NUTS, "MALA", "LeimkuhlerMatthews", "Underdamped"]
    assert [row[-1] for row in table_after("## Targets", text)[1:]] == ["pass"] * 15
    monkeypatch.setattr(
        crosscheck, "sample_ours", lambda system, name, *_: drawn(name, 1.0 * (name == "MALA"))
    )
    assert crosscheck.main(["--points", "6", "--output", str(output)]) == 1
