"""The Hamiltonian: energy terms, and the contract between them and samplers.

`gravity.py`, `lateral.py` and `osmotic.py` hold the three terms of a map, `anchor.py` the pull of
remembered places, `own.py` terms of one's own, `frozen.py` the pressure of a finished map on
newcomers. `base.py` is the contract, `blocks.py` the blocks of nodes that terms act on, and
`fields` what evaluates the osmotic term.
"""

from sphere_ebm.hamiltonian.anchor import AnchorFactor as AnchorFactor
from sphere_ebm.hamiltonian.anchor import AnchorPull as AnchorPull
from sphere_ebm.hamiltonian.base import AbstractFieldFactor as AbstractFieldFactor
from sphere_ebm.hamiltonian.base import AbstractLocalInteraction as AbstractLocalInteraction
from sphere_ebm.hamiltonian.base import AbstractPairInteraction as AbstractPairInteraction
from sphere_ebm.hamiltonian.base import AbstractPlacedFactor as AbstractPlacedFactor
from sphere_ebm.hamiltonian.base import AbstractSphereFactor as AbstractSphereFactor
from sphere_ebm.hamiltonian.base import AbstractSphereInteraction as AbstractSphereInteraction
from sphere_ebm.hamiltonian.base import SphereState as SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor as GravityFactor
from sphere_ebm.hamiltonian.gravity import RadialGravity as RadialGravity
from sphere_ebm.hamiltonian.lateral import LateralAttraction as LateralAttraction
from sphere_ebm.hamiltonian.lateral import LateralFactor as LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor as OsmoticFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticPressure as OsmoticPressure
from sphere_ebm.hamiltonian.own import AbstractEnergyTerm as AbstractEnergyTerm
from sphere_ebm.hamiltonian.own import EnergyFactor as EnergyFactor
