"""The benchmark of prominence: what it says of kinds whose meaning is known."""

import numpy as np
import pytest

from builders import table_after

COMMON = ["the sea", "the sea", "the sky", "of the sea", "and the sky"] * 40


def made(prominence):
    texts = [*COMMON, *(f"rare{number} word{number}" for number in range(100))]
    lengths = np.array([len(text) for text in texts])
    kinds = {
        "length": lengths.astype(float),
        "row": np.arange(len(texts), dtype=float),
        "rare": np.array([float(text.startswith("rare")) for text in texts]),
        prominence.DENSITY: -np.arange(len(texts), dtype=float),
    }
    return prominence.Corpus("made", texts, lengths, kinds)


def test_kinds_are_known_by_what_they_order(benchmark):
    prominence = benchmark("prominence")
    found = prominence.measured(made(prominence))
    assert found["length"].length == pytest.approx(1)
    assert found["rare"].rarity > 0.8
    assert (found["rare"].outer_common, found["rare"].inner_common) == (0, 1)
    assert found["row"].density == pytest.approx(-1)
    assert found["length"].repeats == pytest.approx(1)
    assert abs(found["row"].repeats) < 0.1, "the same words at any place"
    rows = table_after("", prominence.table(found))[1:]
    assert [row[0] for row in rows] == list(found)
    assert "rare" in prominence.examples(made(prominence))


def test_a_corpus_is_cut_and_given_every_kind(benchmark, tmp_path, capsys):
    prominence = benchmark("prominence")
    text = "The quick brown fox jumps over the lazy dog, and nobody minds. "
    (tmp_path / "a.txt").write_text(text * 12)
    output = tmp_path / "report.md"
    assert prominence.main(["--texts", str(tmp_path / "a.txt"), "--output", str(output)]) == 0
    assert output.read_text(encoding="utf-8") == capsys.readouterr().out
    rows = table_after("## a", output.read_text(encoding="utf-8"))[1:]
    kinds = ["norm", "rarity", "entropy", "length-corrected", "density"]
    assert [row[0] for row in rows] == kinds
    with pytest.raises(SystemExit):
        prominence.main(["--texts", str(tmp_path / "gone")])
