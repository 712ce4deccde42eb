"""`Mixture`: a softmax-gated mixture of linear experts over running means; the network `amn`."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from typing_extensions import override

from sphere_ebm.librarian.sequence.base import AbstractNetwork, over_steps, prefix_means


@final
class Mixture(AbstractNetwork):
    """The adaptive mixture network, `amn`, which earlier designs named and did not define.

    With m_k the mean of the last s_k vectors of the context, experts e and gates g,

        sum_e g_e (sum_k c_ek m_k + B_e A_e [m_1, ..., m_K]),  g = softmax(W f + b)

    where A_e and B_e have the given rank. The features f of the gate are products of the means with
    each other, which tell how alike the last vectors are, the means of the logarithms of their
    norms, and projections of the means. Coefficients c and B begin at 0, and weighted means with
    fixed weights are added (`NextVector`): so the strongest baseline is one of the mixture's
    functions, and the one that it begins with.
    """

    coefficients: Float[Array, "experts spans"]
    reading: Float[Array, "experts rank inputs"]
    writing: Float[Array, "experts dim rank"]
    looking: eqx.nn.Linear
    gate: eqx.nn.MLP
    spans: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        features: int,
        spans: tuple[int, ...],
        experts: int,
        rank: int,
        hidden: int,
        *,
        key: PRNGKeyArray,
    ):
        keys = jax.random.split(key, 3)
        dim = features - 1 - len(spans) ** 2
        inputs = len(spans) * dim
        self.spans = spans
        self.coefficients = jnp.zeros((experts, len(spans)))
        self.reading = jax.random.normal(keys[0], (experts, rank, inputs)) * inputs**-0.5
        self.writing = jnp.zeros((experts, dim, rank))
        self.looking = eqx.nn.Linear(inputs, hidden, key=keys[1])
        seen = len(spans) ** 2 + len(spans) + hidden
        self.gate = eqx.nn.MLP(seen, experts, hidden, 1, jax.nn.gelu, key=keys[2])

    @property
    @override
    def width(self) -> int:
        return int(self.writing.shape[1])

    @override
    def __call__(self, window: Float[Array, "steps features"]) -> Float[Array, "steps states"]:
        dim = self.width
        means = prefix_means(window[:, : dim + 1], self.spans)
        vectors = means[:, :, :-1]
        flat = vectors.reshape(len(window), -1)
        looked = jnp.tanh(over_steps(self.looking, flat))
        features = jnp.concatenate([window[:, dim + 1 :], means[:, :, -1], looked], axis=1)
        gates = jax.nn.softmax(jax.vmap(self.gate)(features), axis=1)
        weights = gates @ self.coefficients
        read = jnp.einsum("erk,tk->ter", self.reading, flat) * gates[:, :, None]
        written = jnp.einsum("edr,ter->td", self.writing, read)
        return jnp.einsum("tk,tkd->td", weights, vectors) + written
