"""What all nets learn by: AdamW, warm-up and cosine, clipping and accumulation, from optax."""

from collections.abc import Callable
from typing import Any

from sphere_ebm.errors import require
from sphere_ebm.librarian.config import LibrarianConfig


def learning_rates(config: LibrarianConfig, steps: int, peak: float) -> Callable[[Any], Any]:
    """The rate of each step: up to `peak` during the warm-up, then along a cosine to its end."""
    optax = require("optax", "librarian", "training")
    taken = max(1, steps // config.accumulate)
    warm = min(max(1, round(config.warmup * taken)), taken)
    return optax.warmup_cosine_decay_schedule(
        init_value=peak / warm,
        peak_value=peak,
        warmup_steps=warm,
        decay_steps=max(taken, warm + 1),
        end_value=config.end * peak,
    )


def make_optimiser(config: LibrarianConfig, steps: int) -> Any:
    """The optimiser of the nets for so many batches.

    Gradients of `config.accumulate` batches make one step; they are scaled down to the norm
    `config.clip` first.
    """
    optax = require("optax", "librarian", "training")
    rate = learning_rates(config, steps, config.learning_rate)
    plain = optax.chain(
        optax.clip_by_global_norm(config.clip),
        optax.adamw(rate, weight_decay=config.weight_decay),
    )
    stepping = optax.MultiSteps(plain, every_k_schedule=config.accumulate)
    # one long vector instead of dozens of arrays compiles in a fraction of the time
    return optax.flatten(stepping.gradient_transformation())
