"""Plays a policy over a whole job table on several servers: one queue for all, or a queue each and a dispatcher."""

import functools
import time
from typing import Any

import numpy as np

from llmqueue_gym._jit import compile_dispatch, records
from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.engines import dispatch, multi_server
from llmqueue_gym.engines.state import HEAP, fresh_state
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.closed_loop import RESOLUTION, compiled
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.jobs import QUEUE, ClusterInstance, outcome_table
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.dispatch.base import DispatchPolicy
from llmqueue_gym.predictors.base import Predictor

_SHAPES = {"constant": multi_server.CONSTANT, "falling": multi_server.FALLING, "general": multi_server.GENERAL}


def central_queue(
    instance: ClusterInstance,
    policy: Policy,
    speeds: np.ndarray,
    size: Distribution | None = None,
    predictor: Predictor | None = None,
) -> Run:
    """Run every job to its completion, or until it gives up, on servers that share a queue.

    Args:
        instance: jobs `(n,)`; not changed.
        policy: the discipline: whoever is first in rank runs.
        speeds: of the servers `(k,)`.
        size: law of the sizes, for a policy that computes its rank from it.
        predictor: the predictor bound to that law, likewise.

    Returns:
        the run; `outcome["completion"]` is NaN for a job that gave up.

    Raises:
        BadInput: the rank function cannot be compiled, or gives NaN.
    """
    rank, params = compiled(policy), policy.params_for(size, predictor)
    jobs, sizes = instance.jobs.copy(), np.require(instance.sizes, np.float64, ["C", "W"])
    traits = (policy.preemptive, _SHAPES[policy.shape], policy.lcfs_up_to, RESOLUTION, float(sizes.mean()))
    fastest_first = np.sort(np.asarray(speeds, float))[::-1]

    def play(n: int) -> tuple[np.ndarray, np.ndarray, float]:
        table, outcome, heap = jobs[:n].copy(), outcome_table(n), np.zeros(n, HEAP)
        servers = np.zeros(len(fastest_first), multi_server.SERVER)
        servers["speed"], servers["until"] = fastest_first, np.inf
        servers["rank"], servers["row"] = -np.inf, -1
        arrays = (records(table), sizes[:n], instance.patience[:n], records(outcome), records(heap), records(servers))
        start = time.perf_counter()
        multi_server.simulate(records(fresh_state())[0], *arrays, rank, params, *traits)
        return table, outcome, time.perf_counter() - start

    play(1)  # the first call in a process loads or compiles the kernel
    jobs, outcome, elapsed = play(len(jobs))
    _refuse_nan(policy.name, jobs)
    return Run(policy.name, jobs, sizes, outcome, elapsed)


def dispatched(
    instance: ClusterInstance,
    dispatcher: DispatchPolicy,
    policy: Policy,
    speeds: np.ndarray,
    size: Distribution | None = None,
    predictor: Predictor | None = None,
) -> Run:
    """Send every job to a queue of its own choice and run it to its completion there.

    Args:
        instance: jobs `(n,)` with the choices that were drawn for this dispatcher; not changed.
        dispatcher: which queue an arrival joins.
        policy: the discipline inside each queue.
        speeds: of the servers `(k,)`.
        size: as in `central_queue`.
        predictor: as in `central_queue`.

    Raises:
        BadInput: a function cannot be compiled, or gives NaN; the jobs are impatient, which queues with a server each
            do not know.
    """
    if np.isfinite(instance.patience).any():
        raise BadInput("impatient jobs need one queue for all servers: leave out the patience, or the dispatch policy")
    rank, params = compiled(policy), policy.params_for(size, predictor)
    speeds = np.ascontiguousarray(speeds, np.float64)
    score, numbers = _score(dispatcher.score), dispatcher.numbers(size, predictor, speeds)
    jobs, sizes = instance.jobs.copy(), np.require(instance.sizes, np.float64, ["C", "W"])
    traits = (policy.preemptive, _SHAPES[policy.shape], policy.lcfs_up_to, RESOLUTION, float(sizes.mean()))

    def play(n: int) -> tuple[np.ndarray, np.ndarray, float]:
        table, outcome, links = jobs[:n].copy(), outcome_table(n), np.zeros(n, np.int64)
        sites = np.zeros(len(speeds), dispatch.SITE)
        sites["speed"], sites["row"], sites["head"], sites["tail"] = speeds, -1, -1, -1
        tables = (records(table), sizes[:n], records(outcome), links, records(sites))
        scratch = (records(np.zeros(1, QUEUE)), np.zeros(len(speeds)))
        draws = (instance.choices[:n], instance.ties[:n])
        start = time.perf_counter()
        found = dispatch.simulate(*tables, *scratch, *draws, score, numbers, dispatcher.split, rank, params, *traits)
        if found:
            raise BadInput(f"dispatch policy {dispatcher.name!r} gives score NaN {found} times; it must be a number")
        return table, outcome, time.perf_counter() - start

    play(1)
    jobs, outcome, elapsed = play(len(jobs))
    _refuse_nan(policy.name, jobs)
    return Run(f"{dispatcher.name}, {policy.name}", jobs, sizes, outcome, elapsed)


def _refuse_nan(name: str, jobs: np.ndarray) -> None:
    lost = int(np.isnan(jobs["rank"]).sum())
    if lost:
        raise BadInput(f"policy {name!r} gives rank NaN to {lost} of {len(jobs)} jobs; it must be a number")


def _score(score: Any) -> Any:
    own = str(score.__module__).startswith("llmqueue_gym.")
    return _library_score(score) if own else compile_dispatch(score, cache=False)


@functools.cache
def _library_score(score: Any) -> Any:
    return compile_dispatch(score, cache=True)
