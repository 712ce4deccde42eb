"""The Hamiltonian, one file per energy term."""

from sphere_ebm.hamiltonian.base import AbstractLocalInteraction as AbstractLocalInteraction
from sphere_ebm.hamiltonian.base import AbstractSphereFactor as AbstractSphereFactor
from sphere_ebm.hamiltonian.base import AbstractSphereInteraction as AbstractSphereInteraction
from sphere_ebm.hamiltonian.base import SphereState as SphereState
from sphere_ebm.hamiltonian.gravity import GravityFactor as GravityFactor
from sphere_ebm.hamiltonian.gravity import RadialGravity as RadialGravity
from sphere_ebm.hamiltonian.lateral import LateralAttraction as LateralAttraction
from sphere_ebm.hamiltonian.lateral import LateralFactor as LateralFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticFactor as OsmoticFactor
from sphere_ebm.hamiltonian.osmotic import OsmoticPressure as OsmoticPressure
