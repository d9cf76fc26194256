"""One replica that serves requests to a language model in batches, limited by the memory of its KV cache.

An agent admits requests, preempts them too, or ranks them; see `replica_view`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.columns import MOST_TOKENS
from llmqueue_gym.engines.batching import tables
from llmqueue_gym.engines.batching.closed_loop import proceed
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.errors import BadInput, NotApplicable, nearest
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.predictors.lengths import LengthPredictor, length_predictor
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import request_table
from llmqueue_gym.systems.agents.serving import ServingAgent
from llmqueue_gym.systems.base import Drawn, System
from llmqueue_gym.systems.capacity import Capacity, Progress, capacity, recorded_rate, set_arrivals, stretched
from llmqueue_gym.systems.members import Member
from llmqueue_gym.systems.replica_tables import kernel_arguments, leaner, loaded, rules_under
from llmqueue_gym.systems.replica_view import ReplicaEpisodes, ReplicaView, run_of
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View, check_positive
from llmqueue_gym.theory.clairvoyant import fleet_floor
from llmqueue_gym.workloads.contexts import shared_tokens
from llmqueue_gym.workloads.requests import RequestWorkload, TraceRequests, draw_requests
from llmqueue_gym.workloads.requests.classes import RequestClass, put_in_classes, request_classes
from llmqueue_gym.workloads.streams import stream
from llmqueue_gym.workloads.traces import Trace

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

SCORED = {"latency": "mean end-to-end latency, s", "deadlines": "mean time taken over the time allowed"}
WORK = 2_000_000  # looks at a request between two moments at which an interrupt is heard, well below 1 s
_PREDICTED = ("predicted", "first_predicted", "lower", "upper")


@dataclass(frozen=True)
class Replica(System):
    """A replica; the load is a share of what first come first served sustains, see `systems.capacity`.

    Attributes:
        profile: cost profile, or its spec, as in a100-llama3-8b:kv_tokens=12288; see `llmqueue profile list`.
        rules: rule set of the engine, or its spec, as in vllm-v1:max_seqs=256; see `llmqueue rules`.
        max_tokens: most tokens of prompt and output together; a request of a law that exceeds them is drawn anew. What
            the replica can hold unless told otherwise.
        cut_off: times as long as arrivals take after which a run ends, whatever is left.
        concurrency: clients, each of which sends its next request when its last one has ended, in place of arrivals.
        classes: of the requests, with shares and deadlines, as in interactive:0.72:10,batch:0.28:3600; see
            `workloads.requests.classes`.
        scored: what a cost is the mean of: `latency`, or `deadlines`, the time until the token that a class has a
            deadline for over the time allowed.
    """

    name: ClassVar[str] = "replica"
    title: ClassVar[str] = "One replica of a language model"
    policies: ClassVar[Policies] = SERVING_POLICIES
    view: ClassVar[type[View]] = ReplicaView
    spelled: ClassVar[Mapping[str, str]] = {"lengths": "size", "n_requests": "n_jobs"}
    options: ClassVar[Mapping[str, str]] = {"size": "lengths", "n_jobs": "requests"}
    metrics: ClassVar[str] = "llmqueue_gym.evaluation.serving"
    report: ClassVar[str] = "llmqueue_gym.cli.serving"
    timed: ClassVar[bool] = True
    compared: ClassVar[tuple[str, ...]] = ("fcfs", "sjf", "sjf-total", "trail", "ltr", "srpt")
    objectives: ClassVar[Mapping[str, str]] = {
        "ttft_slo": "most s until the first token, for goodput",
        "tpot_slo": "most s for each later token, for goodput",
        "e2e_slo": "most s until the last token, for goodput",
    }
    defaults: ClassVar[Mapping[str, Any]] = {
        "size": "azure-conv",
        "predictor": "lognormal:sigma=0.5",
        "load": 0.8,
        "n_jobs": 10_000,
    }

    profile: str | Profile = "a100-llama3-8b"
    rules: str | Rules = "vllm-v1"
    max_tokens: int | None = None
    cut_off: float = np.inf
    concurrency: int | None = None
    classes: str | None = None
    scored: str = "latency"

    def __post_init__(self) -> None:
        for name, kind in (("profile", Profile), ("rules", Rules)):
            value = getattr(self, name)
            if not isinstance(value, (str, kind)):
                raise BadInput(f"{name}={value!r} must be a name or a {kind.__name__}")
        if self.max_tokens is not None and not 2 <= self.max_tokens <= MOST_TOKENS:
            raise BadInput(
                f"max_tokens={self.max_tokens} must be from 2, one of prompt and one of output, to {MOST_TOKENS:,}"
            )
        check_positive(self, "cut_off", infinite=True)
        if self.concurrency is not None and self.concurrency < 1:
            raise BadInput(f"concurrency={self.concurrency} must be at least 1 client")
        if self.classes is not None and not isinstance(self.classes, str):
            raise BadInput(f"classes={self.classes!r} must be a text, such as interactive:0.72:10,batch:0.28:3600")
        if any(np.isfinite(one.deadline) for one in self.request_classes) and self.closed:
            raise BadInput(
                f"classes={self.classes!r} have deadlines, which nobody knows of clients who wait for answers"
            )
        if self.scored not in SCORED:
            raise BadInput(f"scored={self.scored!r}; {nearest(str(self.scored), SCORED)}")
        if self.scored == "deadlines" and not (self.classes and np.isfinite(self.allowed).all()):
            raise BadInput(f"scored='deadlines' needs classes that all have one, not classes={self.classes!r}")
        _ = self.bound_rules  # a wrong part is found here, not at the first run

    @cached_property
    def cost_profile(self) -> Profile:
        """The cost profile."""
        return cost_profile(self.profile)

    @cached_property
    def bound_rules(self) -> Rules:
        """The rule set with the blocks, seats and token budget that it has on the profile's GPU."""
        return rule_set(self.rules).on(self.cost_profile.kv_tokens, self.cost_profile.gpu)

    @property
    def longest(self) -> int:
        """The most tokens of a request that is drawn, prompt and output."""
        return self.max_tokens or self.bound_rules.longest

    def refuse_too_long(self, drawn: Drawn) -> None:
        """Refuse requests that could never be served."""
        self.bound_rules.check(drawn.work, drawn.sizes)

    @cached_property
    def request_classes(self) -> tuple[RequestClass, ...]:
        """The classes that are told, by their numbers."""
        return request_classes(self.classes) if self.classes else ()

    @property
    def allowed(self) -> np.ndarray:
        """The time that each class allows, s."""
        return np.array([one.deadline for one in self.request_classes])

    @property
    def cost(self) -> str:  # type: ignore[override]
        """What is scored, in words."""
        return SCORED[self.scored]

    @property
    def members(self) -> tuple[Member, ...]:
        """The replica, as one of those that a run tells of in its `parts`."""
        return (Member(self.cost_profile, self.bound_rules),)

    def check(self, scenario: "Scenario") -> None:
        """Refuse wrong parts here, not at the first run."""
        if not isinstance(scenario.predictor, (str, LengthPredictor)):
            raise BadInput(f"predictor={scenario.predictor!r} must be a name or a LengthPredictor")
        if scenario.workload is not None and not callable(getattr(scenario.workload, "sample", None)):
            raise BadInput(f"workload={scenario.workload!r} has no method sample(n, arrival_rng, length_rng)")
        for name in ("load", "rate"):
            if self.closed and getattr(scenario, name) is not None:
                raise BadInput(
                    f"{name}={getattr(scenario, name):g} has no place beside concurrency={self.concurrency}, "
                    "whose clients wait for their answers; give one of them"
                )
        _ = scenario.source, scenario.fitted

    @property
    def closed(self) -> bool:
        """Whether clients wait for their answers."""
        return self.concurrency is not None

    def source(self, scenario: "Scenario") -> Any:
        """Return what requests are drawn from; a law at the rate, or at 1 request/s where a load is told."""
        if scenario.workload is not None:
            return scenario.workload
        return RequestWorkload(scenario.size, float(scenario.rate or 1.0), scenario.arrivals, self.longest)

    @classmethod
    def recorded(
        cls,
        trace: Trace,
        rate_scale: float | None = None,
        load: float | None = None,
        rate: float | None = None,
        arrivals: str | None = None,
        max_tokens: int | None = None,
    ) -> dict[str, Any]:
        """Return the fields of a scenario in which a trace is replayed.

        Args:
            trace: recorded requests to serve, in place of lengths, at their own rate unless told otherwise.
            rate_scale: with a trace, factor on its rate.
            load: of the scenario; excludes the factor.
            rate: likewise.
            arrivals: arrival process in place of the recorded times.
            max_tokens: most tokens of prompt and output together; longer requests are left out.
        """
        if rate_scale is not None and (load is not None or rate is not None):
            raise BadInput(f"rate_scale={rate_scale:g} and a load or a rate both set the rate; give one of them")
        scale = rate_scale or 1.0
        workload = TraceRequests.from_trace(trace, scale, max_tokens=max_tokens)
        if arrivals is not None:
            own = recorded_rate(workload.sample(len(workload), *_NO_CHANCE)[0])
            workload = TraceRequests.from_trace(trace, rate=own, arrivals=arrivals, max_tokens=max_tokens)
        return {"workload": workload, "n_jobs": len(workload), "load": load, "rate": rate}

    def words_of(self, scenario: "Scenario") -> str:
        """Return in words what requests are drawn from."""
        return str(scenario.source.lengths)

    def predictor(self, scenario: "Scenario", policy: Any = None) -> LengthPredictor:
        """Return the predictor that a policy gets, fitted to the workload's lengths."""
        own = None if policy is None else policy.predictor
        return length_predictor(own or scenario.predictor).bind(scenario.source.output_sample())

    def facts(self, scenario: "Scenario", policy: Any = None) -> dict[str, Any]:
        """Return the cost profile and the rules."""
        return {"profile": self.cost_profile, "rules": self.bound_rules}

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return mean lengths (tokens), the memory of such a request and in all (blocks), the budget, and times (s).

        An "iteration" is one in which a full batch of such requests decodes; "s" is as many of them as they have output
        tokens.
        """
        rules: Any = self.bound_rules
        profile = self.cost_profile
        requests, outputs, *_ = scenario.source.sample(_SAMPLE, np.random.default_rng(0), np.random.default_rng(1))
        prompt, output = float(requests["prompt"].mean()), float(outputs.mean())
        blocks, held = float(rules.blocks or 1), (prompt + output) / rules.block_size
        decodes = max(min(rules.max_seqs, int(blocks / held)), 1)
        batch = np.zeros(1, tables.BATCH)
        batch["tokens"], batch["decodes"], batch["context"] = decodes, decodes, decodes * (prompt + output / 2)
        iteration = float(iteration_time(FORMS.index(profile.form), profile.numbers, records(batch)[0]))
        lengths = {"prompt": prompt, "output": output, "request": prompt + output, "request_blocks": max(held, 1.0)}
        times = {"iteration": iteration, "s": iteration * output}
        return {**lengths, **times, "blocks": blocks, "budget": float(rules.token_budget)}

    def sustains(self, scenario: "Scenario", progress: Progress | None = None) -> Capacity:
        """Return the largest rate at which first come first served keeps up; see `systems.capacity`."""
        return capacity(scenario, progress=progress)

    def rate_of(self, drawn: Drawn) -> float:
        """Return the rate of what `sustains` tells the most of, requests/s; BadInput where all come at one time."""
        return recorded_rate(drawn.work)

    def rate_scale(self, scenario: "Scenario") -> float:
        """Return the factor on the rate of what is sampled."""
        if scenario.load is not None:
            return float(scenario.load * self.sustains(scenario).rate_scale)
        if scenario.rate is not None and scenario.workload is not None:
            return float(scenario.rate / recorded_rate(scenario.source.sample(10**9, *_NO_CHANCE)[0]))
        return 1.0

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return requests, their output tokens as `sizes`, and the predictions to come as `refreshed`.

        What the prompts consist of is there as `contexts` where they share. Predictions beyond what a request can have
        are cut to that: who reserves more would wait for ever.
        """
        model = scenario.fitted if policy is None or policy.predictor is None else self.predictor(scenario, policy)
        given = draw_requests(scenario.source, model, int(scenario.n_jobs), seed)
        count = len(given.outputs) if given.programs is None else len(np.unique(given.programs.program))
        if not 1 <= count <= scenario.n_jobs:
            what = "requests" if given.programs is None else "programs"
            raise BadInput(f"the workload returned {count} {what}, not 1 to {scenario.n_jobs}")
        requests = given.requests
        if self.concurrency is not None:
            set_arrivals(requests, np.where(np.arange(len(requests)) < self.concurrency, 0.0, np.inf))
        elif (scale := self.rate_scale(scenario)) != 1.0:
            requests = stretched(requests, scale)
        if self.request_classes:
            put_in_classes(requests, self.request_classes, stream(seed, "classes"))
        most = np.maximum(self.longest - requests["prompt"], 1)
        for column in _PREDICTED:
            requests[column] = np.minimum(requests[column], most)
        shared: dict[str, Any] = {} if given.contexts is None else {"contexts": given.contexts}
        if given.programs is not None:
            shared["programs"] = given.programs
        if given.contexts is not None:
            requests["prefix"] = given.contexts.segments["text"][given.contexts.first[:-1]] + 1
        return Drawn(requests, {"sizes": given.outputs, "refreshed": given.refreshed, **shared})

    def simulate(self, drawn: Drawn, policy: ServingPolicy, **facts: Any) -> Run:
        """Serve the requests to the end.

        Totals: sums over the run by the names of `engines.batching.tables.REPLICA_STATE`, the iterations and the clock.

        Raises:
            BadInput: a request could never be served, or a function cannot be compiled or gives NaN.
        """
        served, arrivals = self.under(policy), drawn.work["arrival"]
        rules, profile = served.bound_rules, self.cost_profile
        if np.isfinite(self.cut_off):
            rules = replace(rules, horizon=min(rules.horizon, self.cut_off * float(arrivals[-1])))
        rules.check(drawn.work, drawn.sizes)
        replica = loaded(drawn, rules, policy.merged, policy.shares)
        replica = leaner(replica, [rules], policy.merged or policy.keeps_accounts)
        policy.check_owners(drawn.work, replica.notes.shape[1])
        *loop, functions = kernel_arguments(policy, profile, rules)
        start = time.perf_counter()
        while proceed(0, replica, *loop, 0, 0, *functions, WORK) == tables.PAUSED:
            pass  # an interrupt is heard here
        elapsed = time.perf_counter() - start
        if replica.state["reason"][0] == tables.TIMELESS:
            raise BadInput(
                f"profile {profile.name!r} gives an iteration a time that is not a finite number; check its numbers"
            )
        policy.refuse_failure(functions[-1], replica.requests)
        return run_of(replica, 0, slice(0, len(drawn.sizes)), drawn.sizes, policy.name, served, elapsed)

    def under(self, policy: ServingPolicy) -> "Replica":
        """Return this replica as a policy wants it, whose rules change some of the engine's.

        Raises:
            BadInput: the policy and the rule set both want to decide who joins a batch, or a field does not exist.
        """
        rules = rules_under(self.bound_rules, self.cost_profile, policy)
        return replace(self, rules=rules) if policy.rules else self

    def numbers(self, run: Run) -> dict[str, float]:
        """Return mean and 99th percentile of what is scored, and mean TTFT; who is never done is late."""
        arrival = run.jobs["arrival"]
        latency = np.where(run.done, run.outcome["completion"] - arrival, np.inf)
        first = np.where(run.done, run.outcome["first_token"] - arrival, np.inf)
        scored = latency
        if self.scored == "deadlines":
            klass = run.jobs["klass"]
            scored = np.where(self._of_first[klass], first, latency) / self.allowed[klass]
        # Percentiles between a number and infinity would be NaN.
        p99 = float(np.percentile(scored, 99, method="higher"))
        return {"cost": float(scored.mean()), "p99": p99, "ttft": float(first.mean())}

    @property
    def _of_first(self) -> np.ndarray:
        """Whether the deadline of each class is one of the first token."""
        return np.array([one.token == "ttft" for one in self.request_classes])

    def bound(self, drawn: Drawn) -> float:
        """Return `theory.clairvoyant.fleet_floor` of what is scored, whatever rules orders bring along.

        Raises:
            NotApplicable: a cost profile by tables, for which no floor is known, or clients who wait for their answers.
        """
        if self.closed:
            raise NotApplicable(
                "when requests come depends on the policy, so no floor holds for all; leave concurrency"
            )
        if name := next((one.rules.name for one in self.members if one.rules.batching != "passes"), None):
            raise NotApplicable(f"no floor is known under the rule set {name!r}; choose vllm-v1")
        requests = request_table(drawn.work["arrival"], drawn.work["prompt"])
        outputs, weights, shared = drawn.sizes, None, None
        if "contexts" in drawn.truth and any(one.rules.caching != "none" for one in self.members):
            shared = shared_tokens(drawn.truth["contexts"], outputs)
        if self.scored == "deadlines":  # who wants the first token alone could as well have no other
            klass = drawn.work["klass"]
            outputs, weights = np.where(self._of_first[klass], 1, outputs), 1 / self.allowed[klass]
        replicas = [(one.profile, one.rules) for one in self.members]
        free = issubclass(self.policies.made, ServingPolicy)  # routers leave the rules of replicas as they are
        return fleet_floor(requests, outputs, replicas, shared, weights, free).mean

    def open(self, scenario: "Scenario", view: Any, size: int) -> ReplicaEpisodes:
        """Return E replicas."""
        return ReplicaEpisodes(scenario, view, size)

    def agent(self, policy: ServingPolicy, scenario: "Scenario", view: Any) -> ServingAgent:
        """Return the agent that admits or ranks by the policy's rank."""
        return ServingAgent(policy, scenario, view)


_SAMPLE = 256  # requests behind a mean length
_NO_CHANCE = (np.random.default_rng(0), np.random.default_rng(0))  # a whole recording is the same whatever the streams
