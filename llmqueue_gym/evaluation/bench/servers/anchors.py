"""What theory says of a contestant in a case: exact values, and limits or approximations that it should come near."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from llmqueue_gym.distributions import size_law
from llmqueue_gym.evaluation.bench.servers.bounds import fluid_sjf
from llmqueue_gym.evaluation.bench.servers.cases import CENTRAL, DISPATCH, IMPATIENCE, NEEDS, Case
from llmqueue_gym.evaluation.bench.servers.contestants import Contestant
from llmqueue_gym.theory.closed_forms import FORMULAS
from llmqueue_gym.theory.erlang import MMk
from llmqueue_gym.theory.impatience import erlang_a, fluid_fcfs
from llmqueue_gym.theory.joint import JointLaw
from llmqueue_gym.theory.many_servers import fcfs_wait
from llmqueue_gym.theory.power_of_d import PowerOfD

SETTLED, ENOUGH = 0.7, 200  # greatest load and least jobs of each queue with which a queue of its own settles in a run


class Anchor(NamedTuple):
    """A value that theory gives.

    Attributes:
        value: mean response time, s, or share served.
        exact: whether it is exact, not a limit or an approximation.
        source: what it is, in words.
    """

    value: float
    exact: bool
    source: str


def anchor(case: Case, contestant: Contestant) -> Anchor | None:
    """Return what theory says, or None where it says nothing."""
    return _BY_BLOCK[case.block](case, contestant)


def _central(case: Case, contestant: Contestant) -> Anchor | None:
    if case.size == "exponential" and contestant.name in ("fcfs", "lcfs", "las"):
        # Servers that never idle while a job waits, and orders that know no size: the jobs in system are those of FCFS.
        return Anchor(MMk(case.servers, case.load).mean_response_time, True, "M/M/k (Erlang C)")
    if contestant.name == "fcfs":
        law = size_law(case.size)
        return Anchor(law.mean + fcfs_wait(law, case.load, case.servers), False, "M/G/k, two moments (Kimura)")
    return None


def _dispatch(case: Case, contestant: Contestant) -> Anchor | None:
    if case.size != "exponential" or contestant.dispatcher is None:
        return None
    sender, order = contestant.dispatcher.name, contestant.policy.name
    settled = case.load <= SETTLED and case.scenario.n_jobs >= ENOUGH * case.servers
    if (sender, order) == ("random", "fcfs") and settled:
        return Anchor(1 / (1 - case.load), True, "M/M/1, as arrivals dealt out at random are Poisson")
    if (sender, order) == ("random", "sprpt") and settled and case.predictor == "exponential":  # cheap
        predictor = case.cluster.bound_predictor()
        mean = float(FORMULAS[order](JointLaw(size_law(case.size), predictor), case.load))
        return Anchor(mean, True, "M/G/1, as arrivals dealt out at random are Poisson")
    if (sender, order) == ("round-robin", "fcfs") and settled:
        return Anchor(in_turn(case.load, case.servers), True, "GI/M/1 with Erlang gaps")
    if (sender, order) == ("power-of-d", "fcfs"):
        mean = PowerOfD(case.load).mean_response_time(case.servers)
        return Anchor(mean, False, "fixed point with its 1/n term")
    return None


def _impatience(case: Case, contestant: Contestant) -> Anchor | None:
    if case.size == "exponential" and contestant.name in ("fcfs", "lcfs"):
        # Patience, too, has no memory, so who waits does not matter to how many.
        return Anchor(1 - erlang_a(case.servers, case.load).abandoned, True, "M/M/s+M (Erlang A)")
    if contestant.name == "fcfs":
        return Anchor(fluid_fcfs(case.load).served, False, "fluid limit")
    if contestant.name == "spjf":
        served = fluid_sjf(case.size, case.predictor, case.load).served
        return Anchor(served, False, "fluid limit, the most by these predictions")
    return None


def _needs(case: Case, contestant: Contestant) -> Anchor | None:
    if contestant.name != "server-filling":
        return None
    pooled = case.packed.pooled_response_time
    return Anchor(pooled, False, "one server of k-fold speed, FCFS; the limit of load one")


_BY_BLOCK = {CENTRAL: _central, DISPATCH: _dispatch, IMPATIENCE: _impatience, NEEDS: _needs}


def in_turn(load: float, queues: int) -> float:
    """Return the mean response time of queues that get Poisson arrivals in turn, exponential sizes of mean 1, FCFS.

    A queue is a GI/M/1 whose gaps are sums of as many exponential ones: 1 / (1 - sigma), where sigma is the transform
    of a gap at 1 - sigma (Kleinrock, Queueing Systems I, 1975, chapter 6).
    """
    rate = load * queues

    def gap(sigma: float) -> float:
        return float(np.exp(-queues * np.log1p((1 - sigma) / rate)))

    sigma = brentq(lambda s: gap(s) - s, 0.0, 1 - 1e-3 * (1 - load), xtol=1e-13)
    return 1 / (1 - float(sigma))
