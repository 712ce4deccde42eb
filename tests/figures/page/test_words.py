"""Words of running texts: what is one, and where it begins."""

import re

import numpy as np
import pytest

from sphere_ebm.figures.page.words import words_of


def found(text: str | bytes, *borders: int) -> list[tuple[str, int]]:
    raw = text.encode() if isinstance(text, str) else text
    words = words_of(np.frombuffer(raw, np.uint8), np.array([*borders, len(raw)], np.int64))
    return [
        (words.vocabulary[word], begin)
        for word, begin in zip(words.word.tolist(), words.begin.tolist(), strict=True)
    ]


def test_words_are_runs_of_letters_in_small_ones() -> None:
    text = "The quick-brown FOX; it's a fox (no. 1234abc)! " + "x" * 25
    expected = [
        (word.group().lower(), word.start())
        for word in re.finditer("[A-Za-z]+", text)
        if 3 <= len(word.group()) <= 24
    ]
    assert found(text) == expected


def test_letters_beyond_ascii_belong_to_words_and_punctuation_does_not() -> None:
    text = "Été “naïve” – ÜBER… ÆON\u00a0ταῦτα、本当の話。"
    assert [word for word, _ in found(text)] == ["été", "naïve", "über", "æon", "ταῦτα", "本当の話"]


def test_words_go_over_no_border_and_bytes_that_are_no_text_make_none() -> None:
    assert found("sunflower", 3) == [("sun", 0), ("flower", 3)]
    assert found(b"good \xff\xfe\xfa bad\xc3 word") == [("good", 0), ("word", 14)]


@pytest.mark.parametrize("text", ["", "ab", "12 34"])
def test_what_holds_no_word_has_none(text: str) -> None:
    assert found(text) == []
