"""Exact results where there are any, and bounds, limits and approximations that say so.

One server, the M/G/1 with predictions: closed forms, SOAP for any rank function, the Gittins index; and processor
sharing, with weights too. Several servers:
Erlang's formulas, bounds for SRPT and Gittins on k of them, servers of unequal speed, the power of d choices with its
term for finite n, also with predicted classes, jobs that give up, and the pool of jobs that need several servers at
once. Programs of calls: fork and join, a closed network of users, votes and rules of stopping, speculation.

Everything here raises `BadInput` for a number out of its range, `Unstable` for a load of 1 or more (but where jobs give
up, so that no load is too high), and `NotApplicable` for sizes without a second moment where the result needs one.
"""

from llmqueue_gym.theory.analysis import Analysis, analyse
from llmqueue_gym.theory.class_choices import ClassChoices
from llmqueue_gym.theory.closed_network import ClosedNetwork
from llmqueue_gym.theory.erlang import MMk, erlang_b, erlang_c, servers_for
from llmqueue_gym.theory.gittins import gittins_of_samples, gittins_table
from llmqueue_gym.theory.impatience import ErlangA, Fluid, NoisyOverload, erlang_a, fluid_fcfs, fluid_fcfs_wait
from llmqueue_gym.theory.joint import JointLaw
from llmqueue_gym.theory.many_servers import Bracket, fcfs_wait, fcfs_wait_bound, gittins_bracket, srpt_bracket
from llmqueue_gym.theory.one_bit_advice import OneBitAdvice
from llmqueue_gym.theory.one_bit_choices import OneBitChoices
from llmqueue_gym.theory.packing import Pool, pooled
from llmqueue_gym.theory.power_of_d import PowerOfD
from llmqueue_gym.theory.processor_sharing import discriminatory_sharing, processor_sharing
from llmqueue_gym.theory.speculation import BatchedSpeculation
from llmqueue_gym.theory.unequal_servers import UnequalServers, fastest_first, one_fast_server, shared_fastest

__all__ = [
    "Analysis",
    "BatchedSpeculation",
    "Bracket",
    "ClassChoices",
    "ClosedNetwork",
    "ErlangA",
    "Fluid",
    "JointLaw",
    "MMk",
    "NoisyOverload",
    "OneBitAdvice",
    "OneBitChoices",
    "Pool",
    "PowerOfD",
    "UnequalServers",
    "analyse",
    "discriminatory_sharing",
    "erlang_a",
    "erlang_b",
    "erlang_c",
    "fastest_first",
    "fcfs_wait",
    "fcfs_wait_bound",
    "fluid_fcfs",
    "fluid_fcfs_wait",
    "gittins_bracket",
    "gittins_of_samples",
    "gittins_table",
    "one_fast_server",
    "pooled",
    "processor_sharing",
    "servers_for",
    "shared_fastest",
    "srpt_bracket",
]
