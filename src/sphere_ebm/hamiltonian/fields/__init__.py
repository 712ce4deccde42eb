"""Fields on the sphere behind the osmotic term.

Zonal convolutions on a grid, and evaluators of the repulsion.
"""

from sphere_ebm.hamiltonian.fields.evaluators import DirectField as DirectField
from sphere_ebm.hamiltonian.fields.evaluators import GridField as GridField
from sphere_ebm.hamiltonian.fields.evaluators import choose_evaluator as choose_evaluator
from sphere_ebm.hamiltonian.fields.evaluators import make_field as make_field
from sphere_ebm.hamiltonian.fields.pyramid import PyramidField as PyramidField
from sphere_ebm.hamiltonian.fields.zonal import ZonalField as ZonalField
