"""Suite-wide settings: strict dtype and rank promotion, so that a silent broadcast or upcast is an error."""

import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
