"""DataFrames that go into an estimator and come out of it: names of columns, kinds of output.

pandas, polars and scikit-learn are asked only where the caller has imported them already.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

OUTPUTS = ("default", "pandas", "polars")
"""What scikit-learn's `set_output` chooses from."""

_MOST_NAMES = 5  # that a message lists


def column_names(given: Any) -> Shaped[np.ndarray, " columns"] | None:
    """Names of the columns of a pandas or polars DataFrame, of type object.

    None for anything else, where no column is named by a string, and for one column that holds
    vectors, whose numbers have no names.

    Raises TypeError where some columns are named by strings and others are not.
    """
    if not (_is("pandas", given, "DataFrame") or _is("polars", given, "DataFrame")):
        return None
    names = list(given.columns)
    strings = sum(isinstance(name, str) for name in names)
    if not strings or (len(names) == 1 and len(given) and np.ndim(np.asarray(given)[0, 0])):
        return None
    if strings < len(names):
        other = next(name for name in names if not isinstance(name, str))
        raise TypeError(
            f"names of columns must all be strings, or none of them; got {other!r}. Convert them:"
            " X.columns = X.columns.astype(str)."
        )
    return np.array(names, object)


def refuse_other_names(
    fitted: Shaped[np.ndarray, " columns"], given: Shaped[np.ndarray, " others"]
) -> None:
    """Raises ValueError unless the columns `given` are those that were fitted, in their order.

    The words are scikit-learn's.
    """
    if list(fitted) == list(given):
        return
    unseen = sorted(set(given) - set(fitted))
    missing = sorted(set(fitted) - set(given))
    lines = ["The feature names should match those that were passed during fit."]
    if unseen:
        lines += ["Feature names unseen at fit time:", *_listed(unseen)]
    if missing:
        lines += ["Feature names seen at fit time, yet now missing:", *_listed(missing)]
    if not unseen and not missing:
        lines.append("Feature names must be in the same order as they were in fit.")
    raise ValueError("\n".join(lines) + "\n")


def wanted_output(own: str | None) -> str:
    """The kind of output: an estimator's own choice, or else that of `sklearn.set_config`."""
    if own is not None:
        return own
    library = sys.modules.get("sklearn")
    return "default" if library is None else str(library.get_config()["transform_output"])


def framed(
    rows: Float32[np.ndarray, "points columns"],
    given: Any,
    names: Shaped[np.ndarray, " columns"],
    output: str,
) -> Any:
    """`rows` as the kind of `output` that is wanted.

    A frame of pandas takes over the index of `given`, where that is pandas' too.

    Raises ModuleNotFoundError where pandas, or polars, is wanted and not installed.
    """
    if output == "pandas":
        import pandas

        indexed = isinstance(given, (pandas.DataFrame, pandas.Series))
        return pandas.DataFrame(rows, index=given.index if indexed else None, columns=names)
    if output == "polars":
        import polars

        return polars.DataFrame(rows, schema=list(names), orient="row")
    return rows


def _is(library: str, given: Any, kind: str) -> bool:
    """Whether `given` is a `kind` of a library; no such object is there before the import."""
    module = sys.modules.get(library)
    return module is not None and isinstance(given, vars(module)[kind])


def _listed(names: Sequence[str]) -> list[str]:
    more = ["- ..."] if len(names) > _MOST_NAMES else []
    return [f"- {name}" for name in names[:_MOST_NAMES]] + more
