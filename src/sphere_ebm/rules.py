"""Rules for the fields of a configuration: declared in a table, checked and explained alike.

A frozen dataclass declares a `Range` for its numbers and the names to choose from for its choices,
and calls `checked_fields` when it is built.
"""

import numbers
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple


class Range(NamedTuple):
    """The numbers that a field may be.

    Attributes:
        low: the least of them.
        high: the greatest of them; `math.inf` is one where it is `high`.
        rule: what is said of them, for example `"an integer >= 1"`: the field must be that.
        whole: whether they are integers.
        optional: whether None may stand for a number.
    """

    low: float
    high: float
    rule: str
    whole: bool = False
    optional: bool = False

    def checked(self, name: str, value: Any, hint: str = "") -> int | float | None:
        """`value` as an `int` or a `float`, or None where that is allowed.

        Args:
            name: of the field.
            value: an integer or a real number of any type, NumPy's too; a bool is none.
            hint: what the message ends with.

        Raises:
            ValueError: naming the field, its rule and what was received.
        """
        if value is None and self.optional:
            return None
        fits = isinstance(value, numbers.Integral if self.whole else numbers.Real)
        if not fits or isinstance(value, bool) or not self.low <= value <= self.high:
            raise ValueError(f"`{name}` must be {self.rule}; got {value!r}.{hint}")
        return int(value) if self.whole else float(value)


def checked_choice(name: str, value: Any, choices: Collection[str]) -> str:
    """`value` as a `str`. Raises ValueError unless it is one of `choices`, naming them all."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}; got {value!r}.")
    return str(value)


def checked_fields(
    config: Any,
    *,
    choices: Mapping[str, Collection[str]],
    ranges: Mapping[str, Range],
    hint: str = "",
) -> dict[str, str | int | float | None]:
    """The fields of `config` that have a rule, each as a plain `str`, `int`, `float` or None.

    Args:
        config: an instance of a dataclass without slots.
        choices: names to choose from, by field.
        ranges: numbers to choose from, by field.
        hint: what a message about a number ends with.

    Raises:
        ValueError: naming the first field that breaks its rule, the rule and what was received.
    """
    given = vars(config)
    words = {name: checked_choice(name, given[name], known) for name, known in choices.items()}
    return words | {
        name: range_.checked(name, given[name], hint) for name, range_ in ranges.items()
    }
