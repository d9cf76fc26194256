"""One contestant in one case over all runs, and what is kept of it: a few numbers per run.

A run starts on an empty replica and lasts until all requests are done, but at most `LATE` times as long as first come
first served takes; what is left then counts as if it ended there. So a policy that cannot keep up is told by how much
at least, in little time.
"""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.engines.batching.rules import rule_set
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench.llm.cases import RULES, Case
from llmqueue_gym.evaluation.bench.llm.contestants import Contestant
from llmqueue_gym.evaluation.serving.closed_loop import Served, serve
from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.theory.clairvoyant import latency_floor

LATE = 1.5


@dataclass(frozen=True, eq=False)
class Played:
    """A contestant's numbers in one case, each `(runs,)`.

    Attributes:
        mean: end-to-end latency, s.
        p99: its 99th percentile, s.
        longest: its greatest, s.
        ttft: mean time to first token, s.
        preemptions: per 100 requests.
        undone: share of the requests left undone when the run was cut off.
        end: s, of the run.
    """

    mean: np.ndarray
    p99: np.ndarray
    longest: np.ndarray
    ttft: np.ndarray
    preemptions: np.ndarray
    undone: np.ndarray
    end: np.ndarray


def play(case: Case, contestant: Contestant, capacity: float, ends: np.ndarray | None = None) -> Played:
    """Play all runs; the same run gives every contestant the same arrivals and lengths.

    Args:
        case: where.
        contestant: who.
        capacity: requests/s at load 1.
        ends: of the runs of first come first served `(runs,)`, s; None plays to the end.
    """
    policy = serving_policy(contestant.policy)
    rows = []
    for run in range(case.runs):
        predictor = policy.predictor or case.predictor
        given = case.stream.draw(predictor, case.load * capacity, case.n, run, case.runs)
        horizon = np.inf if ends is None else LATE * float(ends[run])
        rows.append(_numbers(serve(given, policy, case.profile, contestant.rules, horizon=horizon), horizon))
    return Played(*(np.array(column) for column in zip(*rows, strict=True)))


def floor(case: Case, capacity: float) -> np.ndarray:
    """Return the floor of the mean latency under the track's rules, for each run `(runs,)`, s."""
    profile, means = cost_profile(case.profile), []
    for run in range(case.runs):
        given = case.stream.draw("exact", case.load * capacity, case.n, run, case.runs)
        means.append(latency_floor(given.requests, given.outputs, profile, rule_set(RULES)).mean)
    return np.array(means)


def _numbers(served: Served, horizon: float) -> tuple[float, ...]:
    if not served.done.all() and not np.isfinite(horizon):
        raise BadInput(f"{served.policy} left requests undone ({served.reason}), so there is nothing to compare with")
    arrival, service = served.requests["arrival"], served.service
    latency, ttft = (
        np.where(np.isnan(service[name]), horizon, service[name]) - arrival for name in ("completion", "first_token")
    )
    preemptions = 100 * served.totals["preemptions"] / len(arrival)
    p99, undone = float(np.percentile(latency, 99)), 1 - float(served.done.mean())
    return float(latency.mean()), p99, float(latency.max()), float(ttft.mean()), preemptions, undone, served.clock
