"""The benchmark of text: its measures on texts of known answer, and its report."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import ingest as benchmark
from sphere_ebm.files.shards.labels import Labels

TEXTS = Path(__file__).parents[2] / "data" / "texts"


def labels(name: str, direction: np.ndarray) -> Labels:
    n = len(direction)
    zeros = np.zeros(n, np.float32)
    return Labels(
        path=Path(f"{name}.sphere.safetensors"),
        direction=direction.astype(np.float32),
        radius=zeros,
        theta=zeros,
        phi=zeros,
        shell=np.zeros(n, np.int32),
        radius_std=zeros,
        angle_std=zeros,
        embeddings=np.zeros((n, 2), np.float32),
        prominence=zeros,
        patch_start=np.arange(n, dtype=np.int32),
        patch_length=np.ones(n, np.int32),
        bytes=np.full(n, ord(name), np.uint8),
        bytes_offset=np.arange(n + 1),
        metadata={"source_file": f"{name}.safetensors"},
    )


def caps(rng: np.random.Generator, count: int, *, mixed: bool) -> list[Labels]:
    """Two documents, each in a cap of its own or both everywhere."""
    files = []
    for name, pole in (("a", 3.0), ("b", -3.0)):
        points = rng.standard_normal((count, 3)) + (0.0 if mixed else pole)
        files.append(labels(name, points / np.linalg.norm(points, axis=1, keepdims=True)))
    return files


def test_separate_documents_have_no_neighbours_of_another() -> None:
    same, chance, same_far, chance_far = benchmark.same_document(
        caps(np.random.default_rng(0), 200, mixed=False)
    )
    assert same > 0.99
    assert same_far > 0.99
    assert chance == pytest.approx(199 / 399)
    assert chance_far == pytest.approx(179 / 379)


def test_mixed_documents_share_neighbours_as_chance_has_it() -> None:
    same, chance, same_far, chance_far = benchmark.same_document(
        caps(np.random.default_rng(0), 400, mixed=True)
    )
    assert same == pytest.approx(chance, abs=0.02)
    assert same_far == pytest.approx(chance_far, abs=0.02)


def test_examples_leave_out_what_stands_beside_a_patch() -> None:
    table = benchmark.examples(caps(np.random.default_rng(0), 60, mixed=False), shown=5)
    rows = table.splitlines()
    assert len(rows) == 7
    assert all(row.count("*(a)*") == 4 or row.count("*(b)*") == 4 for row in rows[2:])


def test_the_report_has_a_row_and_three_targets_for_a_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "SPEED", 0.0)  # this is no measurement
    output = tmp_path / "ingest.md"
    assert benchmark.main(["--texts", str(TEXTS / "luke.txt"), "--output", str(output)]) == 0
    report = output.read_text(encoding="utf-8")
    assert "| luke.txt" in report
    assert report.count("pass") == 3


def test_a_missed_target_is_told_by_the_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "BOUNDARIES", 100.0)
    assert (
        benchmark.main(["--texts", str(TEXTS / "luke.txt"), "--output", str(tmp_path / "x.md")])
        == 1
    )
