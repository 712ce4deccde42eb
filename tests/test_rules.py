"""Declared ranges and choices: what fits is kept as a plain value, what does not is explained."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from sphere_ebm.rules import Range, checked_choice, checked_fields

COUNT = Range(1, 9, "an integer in [1, 9]", whole=True)
LENGTH = Range(0, math.inf, "a number >= 0, or None", optional=True)


@dataclass(frozen=True)
class Config:
    kind: Any = "round"
    count: Any = 2
    length: Any = None


def checked(**fields: Any) -> dict[str, Any]:
    return checked_fields(
        Config(**fields),
        choices={"kind": ("round", "flat")},
        ranges={"count": COUNT, "length": LENGTH},
        hint=" See `Config`.",
    )


def test_fields_come_back_as_plain_values():
    found = checked(kind=np.str_("flat"), count=np.int64(9), length=Fraction(1, 2))
    assert found == {"kind": "flat", "count": 9, "length": 0.5}
    assert [type(value) for value in found.values()] == [str, int, float]
    assert checked() == {"kind": "round", "count": 2, "length": None}
    assert checked(length=math.inf)["length"] == math.inf


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "square"}, "`kind` must be one of round, flat; got 'square'."),
        ({"kind": 3, "count": 0}, "`kind` must be one of round, flat; got 3."),
        ({"count": 0}, "`count` must be an integer in [1, 9]; got 0. See `Config`."),
        ({"count": 10}, "`count` must be an integer in [1, 9]; got 10. See `Config`."),
        ({"count": 2.0}, "`count` must be an integer in [1, 9]; got 2.0. See `Config`."),
        ({"count": True}, "`count` must be an integer in [1, 9]; got True. See `Config`."),
        ({"count": None}, "`count` must be an integer in [1, 9]; got None. See `Config`."),
        ({"length": math.nan}, "`length` must be a number >= 0, or None; got nan. See `Config`."),
        ({"length": "1"}, "`length` must be a number >= 0, or None; got '1'. See `Config`."),
    ],
)
def test_the_first_field_that_breaks_its_rule_is_named_with_it(fields, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        checked(**fields)


def test_a_choice_may_be_checked_by_itself():
    assert checked_choice("rule", "both", ["one", "both"]) == "both"
    with pytest.raises(ValueError, match=r"^`rule` must be one of one, both; got \['one'\].$"):
        checked_choice("rule", ["one"], ["one", "both"])
