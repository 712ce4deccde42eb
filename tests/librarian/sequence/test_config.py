import json

import numpy as np
import pytest

from sphere_ebm.librarian.sequence.config import MODELS, SequenceConfig


def test_contexts_are_sorted_and_numbers_plain(unchecked):
    config = SequenceConfig(contexts=(np.int64(7), 2), seed=np.int32(3))
    assert config.contexts == (2, 7)
    assert json.loads(config.to_json())["seed"] == 3
    assert config.models == MODELS


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"models": ("gru", "vgg")}, "`models` must be one of lstm, .*; got 'vgg'"),
        ({"models": ("gru", "gru")}, "`models` must be at least one, each once"),
        ({"contexts": ()}, "`contexts` must be at least one"),
        ({"contexts": (5, 0)}, "`contexts` must be integers >= 1; got 0"),
        ({"dropout": 1.0}, "`dropout` must be a share from 0 to .95; got 1.0"),
        ({"size": "huge"}, "`size` must be one of small, full"),
    ],
)
def test_a_wrong_choice_is_refused_with_its_rule(given, told):
    with pytest.raises(ValueError, match=told):
        SequenceConfig(**given)
