"""Fields on the sphere: zonal convolutions, spherical harmonics, interference of amplitudes."""

from sphere_ebm.harmonics.interference import InterferenceField as InterferenceField
from sphere_ebm.harmonics.interference import Peaks as Peaks
from sphere_ebm.harmonics.interference import default_width as default_width
from sphere_ebm.harmonics.transform import SphericalHarmonics as SphericalHarmonics
from sphere_ebm.harmonics.transform import basis as basis
from sphere_ebm.harmonics.transform import degrees_and_orders as degrees_and_orders
from sphere_ebm.harmonics.transform import evaluate as evaluate
from sphere_ebm.harmonics.transform import evaluate_many as evaluate_many
from sphere_ebm.harmonics.transform import gradient_coefficients as gradient_coefficients
from sphere_ebm.harmonics.zonal import ZonalField as ZonalField
