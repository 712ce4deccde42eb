"""The sphere, its cells and shells: directions, radii, harmonics, interference of amplitudes."""

from sphere_ebm.geometry.cells import cell_area as cell_area
from sphere_ebm.geometry.cells import cell_centres as cell_centres
from sphere_ebm.geometry.cells import cell_keys as cell_keys
from sphere_ebm.geometry.harmonics import SphericalHarmonics as SphericalHarmonics
from sphere_ebm.geometry.harmonics import basis as basis
from sphere_ebm.geometry.harmonics import degrees_and_orders as degrees_and_orders
from sphere_ebm.geometry.harmonics import evaluate as evaluate
from sphere_ebm.geometry.harmonics import evaluate_many as evaluate_many
from sphere_ebm.geometry.harmonics import gradient_coefficients as gradient_coefficients
from sphere_ebm.geometry.interference import InterferenceField as InterferenceField
from sphere_ebm.geometry.interference import Peaks as Peaks
from sphere_ebm.geometry.interference import default_width as default_width
from sphere_ebm.geometry.shells import Shells as Shells
from sphere_ebm.geometry.shells import assign_shells as assign_shells
from sphere_ebm.geometry.shells import ideal_radii as ideal_radii
from sphere_ebm.geometry.shells import make_shells as make_shells
from sphere_ebm.geometry.shells import occupancy as occupancy
