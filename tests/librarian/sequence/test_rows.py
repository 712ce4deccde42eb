import numpy as np
import pytest

from sphere_ebm.librarian.sequence.rows import Measured, long_context, make_rows, verdict

DOCUMENT = np.repeat(np.arange(12), 5)
RNG = np.random.default_rng(0)
NOISE = RNG.standard_normal(60) * 0.01
RANK = RNG.integers(1, 5, 60).astype(float)


def measured(model: str, context: int, gain: float, rank: float, trained: bool) -> Measured:
    cosine = (0.5 + gain + NOISE * (1 if trained else 2)).astype(np.float32)
    return Measured(model, context, 3, trained, cosine, RANK + rank)


def found(gain: float, rank: float) -> list[Measured]:
    return [
        measured("weighted_means", 2, 0.0, 1.0, False),
        measured("gru", 2, gain, rank, True),
        measured("weighted_means", 9, 0.1, 2.0, False),
        measured("gru", 9, gain + 0.1, rank + 1, True),
    ]


@pytest.mark.parametrize(
    ("gain", "rank", "beats", "everywhere"),
    [
        (0.3, 0.0, True, True),
        (0.05, 0.0, True, False),
        (0.3, 1.0, False, False),
        (-0.3, 0.0, False, False),
    ],
)
def test_a_model_beats_what_it_beats_by_both_measures(gain, rank, beats, everywhere):
    rows = make_rows(found(gain, rank), DOCUMENT, 200, 0)
    assert rows[1].beats == beats
    assert rows[1].beats_all == everywhere
    assert not rows[0].beats
    over = rows[1].over[9]["cosine"]
    assert over.low < over.mean < over.high
    assert over.mean == pytest.approx(gain - 0.1 - NOISE.mean(), abs=1e-4)


def test_the_verdict_says_who_beats_the_baseline_and_what_context_is_worth():
    many = found(0.3, 0.0)
    rows = make_rows(many, DOCUMENT, 200, 0)
    longer = long_context(many, DOCUMENT, 200, 0)
    said = verdict(rows, longer)
    assert said[0].startswith("2 of 2 trained models beat the weighted means of the same context")
    assert said[0].endswith("above 0: gru-2, gru-9.")
    assert said[1].startswith("1 of 2 trained models beats the weighted means of every context")
    assert "A context of 9 instead of 2 vectors changes the cosine of weighted_means by" in said[2]
    assert said[2].endswith("better in direction, worse in rank.")
    assert "of gru by +0.1000" in said[3]


def test_the_verdict_says_no_as_plainly():
    many = found(-0.3, 3.0)
    said = verdict(make_rows(many, DOCUMENT, 200, 0), {})
    assert said[0] == (
        "None of 2 trained models beats the weighted means of the same context in centred cosine"
        " and in mean reciprocal rank, intervals above 0."
    )
    assert len(said) == 2


def test_one_context_says_nothing_of_long_ones():
    assert long_context(found(0.1, 0.0)[:2], DOCUMENT, 50, 0) == {}
