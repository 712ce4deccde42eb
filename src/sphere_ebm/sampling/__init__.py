"""Dynamics: samplers for THRML programs of `SphereNode`s, schedules and cooling runs."""

from sphere_ebm.sampling.checking import FactorReport as FactorReport
from sphere_ebm.sampling.checking import check_factor as check_factor
from sphere_ebm.sampling.coefficients import Coefficients as Coefficients
from sphere_ebm.sampling.euler_maruyama import EulerMaruyama as EulerMaruyama
from sphere_ebm.sampling.euler_maruyama import EulerMaruyamaState as EulerMaruyamaState
from sphere_ebm.sampling.langevin import AbstractLangevin as AbstractLangevin
from sphere_ebm.sampling.leimkuhler_matthews import LeimkuhlerMatthews as LeimkuhlerMatthews
from sphere_ebm.sampling.leimkuhler_matthews import (
    LeimkuhlerMatthewsState as LeimkuhlerMatthewsState,
)
from sphere_ebm.sampling.mala import MALA as MALA
from sphere_ebm.sampling.metropolis import MetropolisState as MetropolisState
from sphere_ebm.sampling.metropolis_within_gibbs import (
    MetropolisWithinGibbs as MetropolisWithinGibbs,
)
from sphere_ebm.sampling.moments import Moments as Moments
from sphere_ebm.sampling.moments import empty_moments as empty_moments
from sphere_ebm.sampling.programs import SphereNode as SphereNode
from sphere_ebm.sampling.programs import build_coloured_program as build_coloured_program
from sphere_ebm.sampling.programs import build_program as build_program
from sphere_ebm.sampling.programs import energies as energies
from sphere_ebm.sampling.programs import node_template as node_template
from sphere_ebm.sampling.programs import sphere_block as sphere_block
from sphere_ebm.sampling.run import Carry as Carry
from sphere_ebm.sampling.run import RunPlan as RunPlan
from sphere_ebm.sampling.run import RunResult as RunResult
from sphere_ebm.sampling.run import Trace as Trace
from sphere_ebm.sampling.run import run_chunk as run_chunk
from sphere_ebm.sampling.run import run_program as run_program
from sphere_ebm.sampling.schedules import AbstractSchedule as AbstractSchedule
from sphere_ebm.sampling.schedules import Constant as Constant
from sphere_ebm.sampling.schedules import Exponential as Exponential
from sphere_ebm.sampling.schedules import Linear as Linear
from sphere_ebm.sampling.schedules import Switch as Switch
from sphere_ebm.sampling.terms import own_state_group as own_state_group
from sphere_ebm.sampling.underdamped import Underdamped as Underdamped
from sphere_ebm.sampling.underdamped import UnderdampedState as UnderdampedState
