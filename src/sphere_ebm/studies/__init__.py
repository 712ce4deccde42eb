"""Equilibrium and thermodynamics: draws from the Gibbs law, and what is measured on them."""

from sphere_ebm.studies.chains import advance_chains as advance_chains
from sphere_ebm.studies.chains import sample_chains as sample_chains
from sphere_ebm.studies.exchange import ExchangeResult as ExchangeResult
from sphere_ebm.studies.exchange import replica_exchange as replica_exchange
from sphere_ebm.studies.heat import ThermodynamicCurve as ThermodynamicCurve
from sphere_ebm.studies.heat import thermodynamics as thermodynamics
from sphere_ebm.studies.observers import AcceptanceObserver as AcceptanceObserver
from sphere_ebm.studies.observers import ConfigurationObserver as ConfigurationObserver
from sphere_ebm.studies.observers import DisplacementObserver as DisplacementObserver
from sphere_ebm.studies.observers import EnergyObserver as EnergyObserver
from sphere_ebm.studies.observers import MomentObserver as MomentObserver
from sphere_ebm.studies.observers import OrderObserver as OrderObserver
from sphere_ebm.studies.observers import OverlapObserver as OverlapObserver
from sphere_ebm.studies.sample import sample_ladder as sample_ladder
from sphere_ebm.studies.samples import Samples as Samples
