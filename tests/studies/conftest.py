"""The systems of which chains are drawn: small ones of two terms and of three."""

from chain_system import draw as draw
from chain_system import program as program
from chain_system import start as start
from chain_system import terms as terms
from small_system import small_block as small_block
from small_system import small_factors as small_factors
from small_system import small_start as small_start
