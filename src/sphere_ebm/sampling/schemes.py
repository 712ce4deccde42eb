"""The names of the schemes, and the step size that each starts with where none is given."""

from typing import Literal, get_args

Scheme = Literal["underdamped", "leimkuhler-matthews", "euler-maruyama"]
"""Without rejections: they can cool."""

ExactScheme = Literal["mala", "metropolis-within-gibbs"]
"""With rejections: they sample the law at any step size."""

LANGEVIN_SCHEMES: tuple[str, ...] = get_args(Scheme)
EXACT_SCHEMES: tuple[str, ...] = get_args(ExactScheme)

STEP_SIZES: dict[str, float] = {
    "mala": 0.05,
    "metropolis-within-gibbs": 0.3,
    "underdamped": 0.2,
    "leimkuhler-matthews": 0.05,
    "euler-maruyama": 0.005,
}
"""Default step sizes of `sample`, in units of the interaction time.

Those of the exact schemes only start the adaptation.
"""
