"""Plays a policy over a whole job table in the engine that is right for the shape of its rank."""

import functools
import time
from typing import Any

import numpy as np

from llmqueue_gym._jit import compile_rank, records
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.engines import sharing_server, single_server
from llmqueue_gym.engines.state import HEAP, fresh_state
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.jobs import Instance, outcome_table
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.predictors.base import Predictor

RESOLUTION = 0.02  # slice of service between rank checks, relative to age + mean size


def simulate(
    instance: Instance, policy: Policy, size: Distribution | None = None, predictor: Predictor | None = None
) -> Run:
    """Run every job of an instance to its completion.

    Args:
        instance: job table and true sizes `(n,)`; neither is changed.
        policy: the discipline.
        size: law of the sizes, for a policy that computes its rank from it, such as `gittins`.
        predictor: the predictor bound to that law, likewise.

    Raises:
        BadInput: the rank function cannot be compiled, or gives NaN, which has no place in an order.
    """
    rank, params = compiled(policy), policy.params_for(size, predictor)
    jobs = instance.jobs.copy()
    sizes = np.require(instance.sizes, np.float64, ["C", "W"])
    play = _sharing if policy.preemptive and policy.shape == "general" else _single
    play(jobs[:1].copy(), sizes[:1], policy, rank, params)  # the first call in a process loads or compiles the kernel
    outcome, elapsed = play(jobs, sizes, policy, rank, params)
    lost = np.flatnonzero(np.isnan(jobs["rank"]))
    if len(lost):
        raise BadInput(f"policy {policy.name!r} gives rank NaN to {len(lost)} of {len(jobs)} jobs; it must be a number")
    return Run(policy.name, jobs, sizes, outcome, elapsed)


def twins(policy: Policy, jobs: np.ndarray) -> np.ndarray:
    """Number jobs `(n,)` so that equal numbers mean the same rank function: equal in every column that the rank reads.

    Age is left out, because it moves. A rank that reads the arrival time has no two jobs alike.
    """
    reads = policy.reads()
    if "arrival" in reads:
        return np.arange(len(jobs))
    twin = np.zeros(len(jobs), np.int64)
    for column in ("predicted", "weight", "klass", "deadline", "need"):
        if column in reads:
            _, kind = np.unique(jobs[column], return_inverse=True)
            _, twin = np.unique(twin * len(jobs) + kind, return_inverse=True)
    return twin


def compiled(policy: Policy) -> Any:
    """Return the rank function of a policy as kernels take it."""
    own = str(policy.rank.__module__).startswith("llmqueue_gym.")
    # A user's function may read globals that change between calls, so it is compiled anew each time.
    return _library_rank(policy.rank) if own else compile_rank(policy.rank, cache=False)


@functools.cache
def _library_rank(rank: Any) -> Any:
    return compile_rank(rank, cache=True)


def _single(
    jobs: np.ndarray, sizes: np.ndarray, policy: Policy, rank: Any, params: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the outcome table `(n,)` and the seconds in the kernel."""
    outcome, heap = outcome_table(len(jobs)), np.zeros(len(jobs), HEAP)
    state, falling = records(fresh_state())[0], policy.shape != "constant"
    tables = (records(jobs), sizes, records(outcome), records(heap))
    start = time.perf_counter()
    single_server.simulate(state, *tables, rank, params, policy.preemptive, falling, policy.lcfs_up_to)
    return outcome, time.perf_counter() - start


def _sharing(
    jobs: np.ndarray, sizes: np.ndarray, policy: Policy, rank: Any, params: np.ndarray
) -> tuple[np.ndarray, float]:
    """Return the outcome table `(n,)` and the seconds in the kernel."""
    outcome, heap = outcome_table(len(jobs)), np.zeros(len(jobs), HEAP)
    links, twin = np.zeros(len(jobs), sharing_server.LINK), twins(policy, jobs)
    state, scale = records(fresh_state())[0], float(sizes.mean())
    tables = (records(jobs), sizes, records(outcome), records(heap), records(links), twin)
    start = time.perf_counter()
    sharing_server.simulate(state, *tables, rank, params, policy.lcfs_up_to, RESOLUTION, scale)
    return outcome, time.perf_counter() - start
