"""A replica that decodes with drafts of a smaller model, which it verifies, or two replicas, one of which drafts.

An agent says how long the next draft is, of each request or of all of a step.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines import speculating
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import outcome_table
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.speculation import SPECULATION_POLICIES, SpeculationPolicy
from llmqueue_gym.predictors.acceptance import predicted_acceptance
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import DRAFT
from llmqueue_gym.systems.agents.speculative import SpeculativeAgent
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.bounds import floor
from llmqueue_gym.systems.job_system import JobSystem, tables_of
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.speculative_view import SpeculativeEpisodes, SpeculativeView, totals_of
from llmqueue_gym.systems.view import View, check_between, check_flags
from llmqueue_gym.workloads.acceptance import Acceptance, acceptance
from llmqueue_gym.workloads.streams import stream
from llmqueue_gym.workloads.traces import Trace
from llmqueue_gym.workloads.workload import TraceWorkload

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

TIMED = ("roofline", "experts", "phases")  # forms of profiles that say what one more token of a step costs
MOST_SEATS, MOST_DRAFT, MOST_PROMPT = 256, 32, 10**6


@dataclass(frozen=True)
class Speculative(JobSystem):
    """Requests whose prompts are read elsewhere, and whose output tokens come in steps with drafts.

    Sizes are output tokens; a request ends with the token that reaches its size. The load is the tokens that come per
    s over those that full batches give without drafts, so with drafts a load near one has room.

    Attributes:
        target: cost profile of the target model, or its spec; of a form by which more tokens take more time.
        seats: requests in a step at most.
        prompt: tokens of each request that are in the cache before it decodes.
        most: tokens of a draft at most.
        draft: time of a draft token over that of a step without drafts, of the same requests.
        tandem: whether drafts are made on a replica of their own, beside the steps of the target model. The seats are
            then shared by those who draft and those who are verified, so as many of them make smaller steps.
        acceptance: law of the chance that drafts are accepted, such as constant:a=0.8, uniform:a=0.7,spread=0.25, or a
            measured one; see `workloads.acceptance`.
        error: standard deviation of what is predicted of that chance when a request comes.
    """

    name: ClassVar[str] = "speculative"
    title: ClassVar[str] = "Speculative decoding"
    policies: ClassVar[Policies] = SPECULATION_POLICIES
    view: ClassVar[type[View]] = SpeculativeView
    base: ClassVar[str] = "no-drafts"
    defaults: ClassVar[Mapping[str, Any]] = {
        **JobSystem.defaults,
        "size": "exponential:mean=64",
        "load": 0.8,
        "n_jobs": 10_000,
    }

    target: str | Profile = "a100-llama3-8b"
    seats: int = 16
    prompt: int = 512
    most: int = 8
    draft: float = 0.05
    tandem: bool = False
    acceptance: str | Acceptance = "uniform:a=0.7,spread=0.25"
    error: float = 0.1

    def __post_init__(self) -> None:
        check_between(self, 1, MOST_SEATS, "seats", whole=True)
        check_between(self, 0, MOST_PROMPT, "prompt", whole=True)
        check_between(self, 1, MOST_DRAFT, "most", whole=True)
        check_between(self, 0, 100, "draft", "error")
        check_flags(self, "tandem")
        for name, kind in (("target", Profile), ("acceptance", Acceptance)):
            if not isinstance(getattr(self, name), (str, kind)):
                raise BadInput(f"{name}={getattr(self, name)!r} must be a name or a {kind.__name__}")
        if self.cost_profile.form not in TIMED:
            raise BadInput(
                f"target={str(self.cost_profile.name)!r} has form {self.cost_profile.form!r}, which does not say what "
                f"one more token in a step costs; take one of the forms {', '.join(TIMED)}"
            )
        _ = self.law_of_acceptance  # a wrong part is found here, not at the first run

    @classmethod
    def recorded(  # type: ignore[override]
        cls, trace: Trace, load: float | None = None, rate: float | None = None
    ) -> dict[str, Any]:
        """Return the fields of a scenario in which a trace is replayed, whose sizes are output tokens here.

        Args:
            trace: recorded requests to replay, in place of size and arrivals, stretched to the load.
            load: of the scenario.
            rate: likewise.
        """
        return cls.replayed(TraceWorkload.from_trace(trace, 1.0), load, rate)

    @cached_property
    def cost_profile(self) -> Profile:
        """The cost profile of the target model."""
        return cost_profile(self.target)

    @cached_property
    def law_of_acceptance(self) -> Acceptance:
        """The law of acceptance."""
        return acceptance(self.acceptance)

    @cached_property
    def times(self) -> "Times":
        """How long steps and drafts take."""
        return Times(self)

    @property
    def capacity(self) -> float:
        """Tokens per s of a full batch without drafts, none of which has generated much."""
        return self.seats / self.times.verify(self.seats, 1)

    @property
    def terms(self) -> np.ndarray:
        """The `TERMS` record `(1,)`."""
        terms = np.zeros(1, speculating.TERMS)
        terms["form"], terms["prompt"] = FORMS.index(self.cost_profile.form), self.prompt
        terms["draft"], terms["tandem"], terms["most"] = self.draft, self.tandem, self.most
        return terms

    @property
    def seen(self) -> np.ndarray:
        """A `DRAFT` record `(1,)` of what is the same for all."""
        seen = np.zeros(1, DRAFT)
        seen["seats"], seen["most"] = self.seats, self.most
        return seen

    def work_moments(self, scenario: "Scenario") -> None:
        """Return nothing: what a request takes depends on who is served with it."""

    def facts(self, scenario: "Scenario", policy: Any = None) -> dict[str, Any]:
        """Return the laws, the times of steps and the mean chance of acceptance."""
        told = {"times": self.times, "chance": self.law_of_acceptance.mean}
        return {**super().facts(scenario, policy), **told}

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return the mean output, the time that it takes in a full batch without drafts, and the seats."""
        tokens = super().scales(scenario)["s"]
        return {"s": tokens * self.seats / self.capacity, "tokens": tokens, "seats": float(self.seats)}

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return requests and their output tokens as `sizes`, and what chance decides of drafts.

        That is the chance of `acceptance` of each request `(n,)` and what is predicted of it, `told`; and a number in
        [0, 1) for each output token, `luck` `(m,)`, those of each request from `first` `(n + 1,)` on.
        """
        jobs, truth = super().draw(scenario, seed, policy)
        n, tokens = len(jobs), np.maximum(np.ceil(truth["sizes"]), 1).astype(np.int64)
        chances = self.law_of_acceptance.sample(n, stream(seed, "speculative.acceptance"))
        told = predicted_acceptance(chances, self.error, stream(seed, "speculative.told"))
        first = np.concatenate([[0], np.cumsum(tokens)])
        luck = stream(seed, "speculative.luck").random(int(first[-1]))
        return Drawn(jobs, {**truth, "acceptance": chances, "told": told, "luck": luck, "first": first})

    def simulate(self, drawn: Drawn, policy: SpeculationPolicy, **facts: Any) -> Run:
        """Decode every request to its end.

        Totals: `steps` of the target model and requests `verified` in all of them, draft tokens that were `drafted`,
        `tried` up to the first refusal, and `accepted`; the `seconds` of all steps, and the `clock` at the end.
        """
        (draft,), params = policy.compiled(), policy.params_for(**facts)
        jobs, sizes = tables_of(drawn, policy)
        self._play(jobs[:0].copy(), sizes, drawn, draft, params)  # the first call loads the kernel
        outcome, state, elapsed = self._play(jobs, sizes, drawn, draft, params)
        policy.refuse_failure(params, jobs)
        return Run(policy.name, jobs, sizes, outcome, elapsed, self, totals=totals_of(state))

    def _play(
        self, jobs: np.ndarray, sizes: np.ndarray, drawn: Drawn, draft: Any, params: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return the outcome table `(n,)`, the state at the end and the seconds in the kernel."""
        outcome, state, truth = outcome_table(len(jobs)), beginning(), drawn.truth
        held, shape = records(np.zeros(self.seats, speculating.SEATED)), np.array(self.law_of_acceptance.shape)
        tables = (records(jobs), sizes, jobs["weight"].copy(), truth["told"], records(outcome), held)
        chance = (truth["luck"], truth["first"], truth["acceptance"], shape)
        batch, seen = (records(table)[0] for table in (np.zeros(1, BATCH), self.seen))
        times = (records(self.terms)[0], self.cost_profile.numbers, batch, seen)
        start = time.perf_counter()
        speculating.simulate(records(state)[0], *tables, *chance, *times, draft, params)
        return outcome, state[0], time.perf_counter() - start

    def bound(self, drawn: Drawn) -> float:
        """Return the greatest of three floors, with drafts that are always accepted and the best step for each purpose.

        They are those of `systems.bounds` for a server whose work is tokens: each request takes at least the time of
        its tokens where it is alone, at the best draft, and all together no less than at the best of all steps.
        """
        alone, together = self.times.least
        tokens = np.maximum(np.ceil(drawn.sizes), 1.0)
        shares = np.full(len(tokens), together / alone)  # of the server that a request needs at least
        return floor(drawn.work["arrival"], tokens * alone, shares, 1.0)

    def open(self, scenario: "Scenario", view: Any, size: int) -> SpeculativeEpisodes:
        """Return E replicas."""
        return SpeculativeEpisodes(scenario, view, size)

    def agent(self, policy: SpeculationPolicy, scenario: "Scenario", view: Any) -> SpeculativeAgent:
        """Return the agent that drafts as the rule says."""
        return SpeculativeAgent(policy, scenario, view)

    def more(self, run: Run) -> dict[str, float]:
        """Return tokens of a step for each request in it, and the shares of time in steps and of accepted drafts."""
        totals = run.totals
        told = {
            "tokens per step": 1 + totals["accepted"] / totals["verified"],
            "share of time in steps": totals["seconds"] / totals["clock"],
        }
        if totals["drafted"]:
            told["accepted share of drafts"] = totals["accepted"] / totals["drafted"]
        return told


class Times:
    """How long steps and drafts take, of requests that have generated nothing.

    Attributes:
        seats: requests in a step at most.
        most: tokens of a draft at most.
        tandem: whether drafts are made on a replica of their own.
    """

    def __init__(self, system: Speculative):
        self.seats, self.most, self.tandem = system.seats, system.most, system.tandem
        self._prompt, self._share = float(system.prompt), float(system.draft)
        self._profile = system.cost_profile

    def step(self, requests: int, tokens: int) -> float:
        """Return the time of a step of so many requests with so many tokens in all, s."""
        batch = np.zeros(1, BATCH)
        batch["tokens"] = batch["decodes"] = tokens
        batch["context"] = requests * self._prompt + tokens
        return float(iteration_time(FORMS.index(self._profile.form), self._profile.numbers, records(batch)[0]))

    def verify(self, requests: int, tokens: int) -> float:
        """Return the time of a step in which so many requests have so many tokens each, s."""
        return self.step(requests, requests * tokens)

    def draft(self, requests: int) -> float:
        """Return the time in which each of so many requests drafts a token, s."""
        return self._share * self.step(requests, requests)

    @cached_property
    def least(self) -> tuple[float, float]:
        """The least time of a token, s, of a request alone and in any step, if all drafts are accepted."""
        share = 0.0 if self.tandem else 1.0  # in a tandem drafts are made meanwhile
        alone = min((share * g * self.draft(1) + self.step(1, g + 1)) / (g + 1) for g in range(self.most + 1))
        found = [alone]
        for requests in range(2, self.seats + 1):
            drafting = share * self.draft(requests)
            for tokens in range(requests, requests * (self.most + 1) + 1):
                longest = tokens / requests - 1  # at least
                found.append((longest * drafting + self.step(requests, tokens)) / tokens)
        return alone, min(found)


def beginning(n: int = 1) -> np.ndarray:
    """Return states `(n,)` of replicas to which nobody has come."""
    state = np.zeros(n, speculating.SPECULATING_STATE)
    state["asked"], state["drafting_until"], state["busy_until"] = -1, np.inf, np.inf
    return state
