"""Frozen scenarios of one kind each: what is played with a seed, what it costs, and what no policy can undercut.

Every arena gives the same two things. `play` returns numbers of a run, of which `cost` is scored: the mean response
time in s, or the share of jobs that gave up. `bound` returns what is at most the cost of any policy on those very jobs,
even one that is told all sizes and the future:

* one server: SRPT, which has the least total response time on any jobs (Schrage, 1968);
* several servers, each of speed 1, and jobs that need several: `bench.servers.bounds.floor`, the greatest of SRPT on
  one server of all their speed, the mean size, and a bound by mean busy times;
* impatient jobs: the last start is at most when the last one gives up, so but for one job a server all that is served
  fits in all servers' time until then; the smallest jobs are most;
* LLM serving: `theory.clairvoyant.latency_floor`.

A run starts empty and lasts until all jobs have left, and all of them count: of a part of the jobs, SRPT need not have
the least total.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from llmqueue_gym.engines.batching.rules import rule_set
from llmqueue_gym.evaluation.bench.servers.bounds import floor
from llmqueue_gym.evaluation.closed_loop import simulate
from llmqueue_gym.evaluation.cluster import ClusterScenario, central_queue, dispatched
from llmqueue_gym.evaluation.run import Run
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.evaluation.server_needs import NeedsScenario
from llmqueue_gym.evaluation.serving.closed_loop import serve
from llmqueue_gym.evaluation.serving.scenario import stretched
from llmqueue_gym.policies import policy as queue_policy
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.dispatch import DispatchPolicy
from llmqueue_gym.policies.packing import PackingPolicy
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.predictors.lengths import length_predictor
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.theory.clairvoyant import latency_floor
from llmqueue_gym.workloads.requests import RequestWorkload, draw_requests

Numbers = dict[str, float]


@dataclass(frozen=True)
class QueueArena:
    """One server that jobs may take from one another."""

    name: str
    scenario: Scenario

    def play(self, policy: Policy, seed: int) -> Numbers:
        """Return the numbers of a run."""
        instance = self.scenario.draw(policy, seed)
        run = simulate(instance, policy, self.scenario.law, self.scenario.bound_predictor(policy))
        return _times(run)

    def bound(self, seed: int) -> float:
        """Return what no policy undercuts."""
        return self.play(queue_policy("srpt"), seed)["cost"]


@dataclass(frozen=True)
class CentralArena:
    """Several servers that share a queue."""

    name: str
    scenario: ClusterScenario

    def play(self, policy: Policy, seed: int) -> Numbers:
        """Return the numbers of a run."""
        where, instance = self.scenario, self.scenario.draw(policy, seed)
        laws = (where.server_speeds, where.law, where.bound_predictor(policy))
        return _times(central_queue(instance, policy, *laws))

    def bound(self, seed: int) -> float:
        """Return what no policy undercuts."""
        jobs, sizes = self.scenario.draw(None, seed)[:2]
        return floor(jobs["arrival"], sizes, jobs["need"], self.scenario.servers)


@dataclass(frozen=True)
class DispatchArena:
    """Servers with a queue each, in which jobs are served in a given order; the policy sends them there."""

    name: str
    scenario: ClusterScenario
    order: str

    def play(self, policy: DispatchPolicy, seed: int) -> Numbers:
        """Return the numbers of a run."""
        order, where = queue_policy(self.order), self.scenario
        laws = (where.server_speeds, where.law, where.bound_predictor(order))
        return _times(dispatched(where.draw(order, seed, policy), policy, order, *laws))

    def bound(self, seed: int) -> float:
        """Return what no policy undercuts."""
        jobs, sizes = self.scenario.draw(None, seed)[:2]
        return floor(jobs["arrival"], sizes, jobs["need"], self.scenario.servers)


@dataclass(frozen=True)
class ImpatientArena:
    """Several servers in overload, and jobs that give up waiting; the cost is the share of those."""

    name: str
    scenario: ClusterScenario

    def play(self, policy: Policy, seed: int) -> Numbers:
        """Return the numbers of a run."""
        where, instance = self.scenario, self.scenario.draw(policy, seed)
        run = central_queue(instance, policy, where.server_speeds, where.law, where.bound_predictor(policy))
        served = ~np.isnan(run.outcome["completion"])
        times = run.response_times[served]
        return {"cost": 1 - float(served.mean()), "p99": float(np.percentile(times, 99)), "mean": float(times.mean())}

    def bound(self, seed: int) -> float:
        """Return what no policy undercuts."""
        jobs, sizes, patience = self.scenario.draw(None, seed)[:3]
        room = self.scenario.total_speed * float((jobs["arrival"] + patience).max())
        within = int(np.searchsorted(np.cumsum(np.sort(sizes)), room, side="right"))
        return 1 - min(within + self.scenario.servers, len(jobs)) / len(jobs)


@dataclass(frozen=True)
class PackingArena:
    """Jobs that occupy several servers at once."""

    name: str
    scenario: NeedsScenario

    def play(self, policy: PackingPolicy, seed: int) -> Numbers:
        """Return the numbers of a run."""
        return _times(self.scenario.play(policy, seed))

    def bound(self, seed: int) -> float:
        """Return what no policy undercuts."""
        jobs, sizes = self.scenario.draw(None, seed)
        return floor(jobs["arrival"], sizes, jobs["need"], self.scenario.servers)


@dataclass(frozen=True)
class ServingArena:
    """Requests in batches on one GPU.

    Attributes:
        name: of the arena.
        lengths: law of prompt and output lengths.
        predictor: of output lengths.
        profile: cost profile.
        rate: requests/s.
        n: requests of a run, which starts on an empty replica and lasts until all are done.
        rules: rule set.
    """

    name: str
    lengths: str
    predictor: str
    profile: str
    rate: float
    n: int
    rules: str = "vllm-v1"

    def play(self, policy: ServingPolicy, seed: int) -> Numbers:
        """Return the numbers of a run; who is never done is infinitely late."""
        given = self._draw(policy.predictor or self.predictor, seed)
        served = serve(given, policy, self.profile, self.rules, horizon=10 * self.n / self.rate)
        arrival = served.requests["arrival"]
        latency = np.where(served.done, served.service["completion"], np.inf) - arrival
        first = np.where(served.done, served.service["first_token"], np.inf) - arrival
        # Percentiles between a number and infinity would be NaN.
        p99 = float(np.percentile(latency, 99, method="higher"))
        return {"cost": float(latency.mean()), "p99": p99, "ttft": float(first.mean())}

    def bound(self, seed: int) -> float:
        """Return what no policy undercuts."""
        given = self._draw("exact", seed)
        return latency_floor(given.requests, given.outputs, cost_profile(self.profile), rule_set(self.rules)).mean

    def _draw(self, predictor: str, seed: int) -> Any:
        source = _requests(self.lengths, rule_set(self.rules).on(cost_profile(self.profile).kv_tokens).longest)
        bound = length_predictor(predictor).bind(source.output_sample())
        given = stretched(draw_requests(source, bound, self.n, seed), self.rate)
        most = np.maximum(source.max_tokens - given.requests["prompt"], 1)
        for column in ("predicted", "first_predicted", "lower", "upper"):  # who reserves more would wait for ever
            given.requests[column] = np.minimum(given.requests[column], most)
        return given


@lru_cache
def _requests(lengths: str, max_tokens: int) -> RequestWorkload:
    return RequestWorkload(lengths, 1.0, max_tokens=max_tokens)


def _times(run: Run) -> Numbers:
    times = run.response_times
    return {"cost": float(times.mean()), "p99": float(np.percentile(times, 99))}
