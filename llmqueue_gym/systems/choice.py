"""Several models, of which one answers each call, or some one after another, or at the same time.

An agent says which model a call goes to, and when an answer is there, whether another one is asked.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.distributions.tails import Exponential
from llmqueue_gym.engines import choosing
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.choice import CHOICE_POLICIES, ChoicePolicy
from llmqueue_gym.predictors.quality import QualityPredictor
from llmqueue_gym.profiles.served import Served, served_models
from llmqueue_gym.requests import CALL, MODEL
from llmqueue_gym.systems.agents.choice import ChoiceAgent
from llmqueue_gym.systems.base import Drawn, Row
from llmqueue_gym.systems.bounds import floor_of_choices
from llmqueue_gym.systems.choice_view import (
    ChoiceEpisodes,
    ChoiceView,
    beginning,
    lots_of,
    no_answers,
    no_lines,
    told_of,
    totals_of,
)
from llmqueue_gym.systems.job_system import JobSystem, tables_of
from llmqueue_gym.systems.known import load_of, poisson, row
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View, check_between, check_positive
from llmqueue_gym.theory.erlang import MMk
from llmqueue_gym.workloads.answered import RecordedCalls
from llmqueue_gym.workloads.questions import Rasch, questions
from llmqueue_gym.workloads.streams import stream

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

MILLION = 1e6  # tokens, of which prices are told
MOST_PROMPT = 10**6
DEAREST = 1e9  # s that a wrong answer, or a USD, is worth at most
ALWAYS_BUSY = 0.98  # share of the time, from which on a run says that a line may grow without end


@dataclass(frozen=True)
class ModelChoice(JobSystem):
    """Models with seats, each of them first come first served; a call goes to one or to several of them.

    Sizes are output tokens, of which a model writes more or fewer. The load is the tokens that come per s over those
    that all seats write together, first tokens not counted; who sends all calls to one model fills that one sooner.

    Attributes:
        models: the weakest first, `/` between them: names of `profiles/served.toml`, or `model`, with seats, ttft,
            tpot, read, write, right, wordy; see `profiles.served`.
        prompt: tokens of each call.
        questions: law of what is right, such as rasch:spread=2,kinds=4; see `workloads.questions`.
        auc: of the predictions whether each model will be right, and whether the strongest alone will be.
        verifier: AUC of what is said of an answer that is there.
        passes: chance to be right, as verified, from which on the first answer of several at once counts.
        differs: standard deviation of the logarithm of what a model writes over what was to be expected of it.
        feedback: share of the calls of which the user says whether the answer was right.
        noise: share of these who say the contrary.
        budget: USD that a call may cost on average, which policies are told and nobody enforces.
        wrong: price of a wrong answer, s.
        usd: price of a USD, s.
    """

    name: ClassVar[str] = "model-choice"
    title: ClassVar[str] = "Several models"
    policies: ClassVar[Policies] = CHOICE_POLICIES
    view: ClassVar[type[View]] = ChoiceView
    cost: ClassVar[str] = "mean of response time and the price of wrong answers and of money, s"
    base: ClassVar[str] = "weakest"
    covered: ClassVar[str] = "weakest, strongest and random-share, where sizes are exponential and nothing else varies"
    metrics: ClassVar[str] = "llmqueue_gym.evaluation.choice"
    recorded: ClassVar[None] = None  # type: ignore[assignment]  # recorded lengths say nothing of what is right
    defaults: ClassVar[Mapping[str, Any]] = {
        **JobSystem.defaults,
        "size": "exponential:mean=128",
        "load": 0.3,
        "n_jobs": 10_000,
    }

    models: str | tuple[Served, ...] = "llama-1b:seats=2/llama-70b:seats=16"
    prompt: int = 512
    questions: str | Rasch = "rasch:spread=2"
    auc: float = 0.75
    verifier: float = 0.85
    passes: float = 0.5
    differs: float = 0.3
    feedback: float = 1.0
    noise: float = 0.1
    budget: float = np.inf
    wrong: float = 10.0
    usd: float = 100.0

    def __post_init__(self) -> None:
        check_between(self, 1, MOST_PROMPT, "prompt", whole=True)
        check_between(self, 0.5, 1, "auc", "verifier")
        check_between(self, 0, 1, "passes", "feedback", "noise")
        check_between(self, 0, 5, "differs")
        check_between(self, 0, DEAREST, "wrong", "usd")
        check_positive(self, "budget", infinite=True)
        if not isinstance(self.questions, (str, Rasch)):
            raise BadInput(f"questions={self.questions!r} must be a name or a law of questions")
        _ = self.served, self.abilities  # a wrong part is found here, not at the first run

    @cached_property
    def served(self) -> tuple[Served, ...]:
        """The models, the weakest first."""
        return served_models(self.models)

    @cached_property
    def law_of_questions(self) -> Rasch:
        """The law of what is right."""
        return questions(self.questions)

    @cached_property
    def abilities(self) -> tuple[float, ...]:
        """The ability of each model, by its share of right answers."""
        return tuple(self.law_of_questions.ability(one.right) for one in self.served)

    @property
    def capacity(self) -> float:
        """Tokens of sizes per s that all seats write together."""
        return sum(one.rate for one in self.served)

    @cached_property
    def serving(self) -> np.ndarray:
        """The `SERVING` rows `(m,)`."""
        table = np.zeros(len(self.served), choosing.SERVING)
        for line, one in zip(table, self.served, strict=True):
            line["seats"], line["ttft"], line["tpot"], line["wordy"] = one.seats, one.ttft, one.tpot, one.wordy
            line["read"], line["write"] = one.read / MILLION, one.write / MILLION
        table["first"] = np.cumsum(table["seats"]) - table["seats"]
        return table

    @property
    def terms(self) -> np.ndarray:
        """The `TERMS` record `(1,)`."""
        terms = np.zeros(1, choosing.TERMS)
        terms["seats"], terms["allowed"] = self.serving["seats"].sum(), self.budget
        terms["wrong"], terms["usd"], terms["passes"] = self.wrong, self.usd, self.passes
        return terms

    def check(self, scenario: "Scenario") -> None:
        """Refuse wrong parts, and recorded answers of another number of models."""
        super().check(scenario)
        calls, there = scenario.workload, len(self.served)
        if isinstance(calls, RecordedCalls) and calls.tokens.shape[1] != there:
            raise BadInput(
                f"models={self.models!r} are {there}, and the recorded answers are of {calls.tokens.shape[1]}"
            )

    def facts(self, scenario: "Scenario", policy: Any = None) -> dict[str, Any]:
        """Return the laws, and what wrong answers and money are worth, s."""
        return {**super().facts(scenario, policy), "wrong": float(self.wrong), "usd": float(self.usd)}

    def kinds(self, scenario: "Scenario") -> int:
        """Return how many kinds of calls there are."""
        calls = scenario.workload
        return int(calls.kinds.max()) + 1 if isinstance(calls, RecordedCalls) else self.law_of_questions.kinds

    def work_moments(self, scenario: "Scenario") -> None:
        """Return nothing: what a call takes depends on who answers it."""

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return the mean time of a call at a model, the mean output and the price of a call at the dearest model."""
        law, serving = scenario.law, self.serving
        tokens = float(law.mean if np.isfinite(law.mean) else law.isf(0.5))
        price = float((self.prompt * serving["read"] + tokens * serving["write"]).max())
        times = serving["ttft"] + tokens * serving["wordy"] * serving["tpot"]
        return {"s": float(times.mean()), "tokens": tokens, "usd": price or 1.0, "calls": float(scenario.n_jobs)}

    def draw(self, scenario: "Scenario", seed: Any, policy: Any = None) -> Drawn:
        """Return calls, their `sizes`, and what comes of each at each model; the kind of a call is its class.

        These are `tokens`, `right`, predicted `quality`, what is `verified`, and `feedback`, -1 where none is given,
        all `(n, m)`; and of each call the predicted chance of a `win` of the strongest, the `prompts` and `luck`.
        """
        jobs, truth = super().draw(scenario, seed, policy)
        calls, n, models = scenario.workload, len(jobs), range(len(self.served))
        if isinstance(calls, RecordedCalls):
            rows = calls.rows(n, stream(seed, "sizes"))
            right, tokens, prompts = calls.answers.right[rows], calls.tokens[rows], calls.answers.prompts[rows]
            known = calls.answers.right.mean(axis=0)
            wins = float((calls.answers.right[:, -1] & ~calls.answers.right[:, 0]).mean())
        else:
            jobs["klass"], right = self.law_of_questions.sample(n, self.abilities, seed)
            tokens, prompts = self._tokens(truth["sizes"], seed), np.full(n, self.prompt)
            known = np.array([one.right for one in self.served])
            both = self.law_of_questions.both(self.abilities[0], self.abilities[-1])
            wins = max(known[-1] - both, 0.0) if len(models) > 1 else 0.0

        def told(what: str, auc: float) -> np.ndarray:
            model = QualityPredictor(float(auc))
            streams = (stream(seed, f"model-choice.{what}.{m}") for m in models)
            return np.stack([model.predict(right[:, m], rng, known[m]) for m, rng in enumerate(streams)], axis=1)

        win = QualityPredictor(float(self.auc))
        won = right[:, -1] & ~right[:, 0]
        per_call = {
            "prompts": prompts.astype(float),
            "win": win.predict(won, stream(seed, "model-choice.win"), wins),
            "luck": stream(seed, "model-choice.luck").random(n),
        }
        per_answer = {
            "tokens": tokens,
            "right": right.astype(float),
            "quality": told("quality", self.auc),
            "verified": told("verified", self.verifier),
            "feedback": self._feedback(right, seed),
        }
        return Drawn(jobs, {**truth, **per_call, **per_answer})

    def _tokens(self, sizes: np.ndarray, seed: Any) -> np.ndarray:
        """Return what each model writes `(n, m)`: as much as is expected in the mean."""
        found = []
        for m, one in enumerate(self.served):
            z = stream(seed, f"model-choice.tokens.{m}").standard_normal(len(sizes))
            found.append(sizes * one.wordy * np.exp(self.differs * z - self.differs**2 / 2))
        return np.stack(found, axis=1)

    def _feedback(self, right: np.ndarray, seed: Any) -> np.ndarray:
        """Return what the user would say of each answer `(n, m)`: 1, 0, or -1 where nothing."""
        n, found = len(right), []
        for m in range(right.shape[1]):
            given = stream(seed, f"model-choice.feedback.{m}").random(n) < self.feedback
            contrary = stream(seed, f"model-choice.noise.{m}").random(n) < self.noise
            found.append(np.where(given, right[:, m] ^ contrary, -1.0))
        return np.stack(found, axis=1)

    def simulate(self, drawn: Drawn, policy: ChoicePolicy, **facts: Any) -> Run:
        """Run all calls to their end; the totals are their price, s, and the money spent, the parts are of models.

        Raises:
            BadInput: a function cannot be compiled or gives NaN.
        """
        (score, again), params = policy.compiled(), policy.params_for(**facts)
        jobs, sizes = tables_of(drawn)
        self._play(jobs[:0], sizes, drawn, score, again, params, 1)  # the first call loads the kernel, which takes time
        at_once = min(policy.at_once, len(self.served))
        outcome, state, stations, elapsed = self._play(jobs, sizes, drawn, score, again, params, at_once)
        policy.refuse_failure(params, jobs)
        shares = outcome["model"][:, None] == np.arange(len(self.served))
        parts = tuple(
            {"busy": float(here["busy"] / one.seats / max(state["clock"], 1e-300)), "answers": float(kept)}
            for here, one, kept in zip(stations, self.served, shares.sum(axis=0), strict=True)
        )
        return Run(policy.name, jobs, sizes, outcome, elapsed, self, totals=totals_of(state), parts=parts)

    def _play(
        self,
        jobs: np.ndarray,
        sizes: np.ndarray,
        drawn: Drawn,
        score: Any,
        again: Any,
        params: np.ndarray,
        at_once: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Return the outcome table `(n,)`, the state and the stations at the end, and the seconds in the kernel."""
        n, m, state = len(jobs), len(self.served), beginning()
        outcome, stations = choosing.answer_table(n), no_lines(m)
        tally = np.zeros((int(drawn.work["klass"].max()) + 1, m), choosing.TALLY)
        made = (
            *(told_of(drawn), lots_of(drawn), np.zeros((n, m), choosing.COPY), no_answers(n), outcome, stations),
            *(np.zeros(int(self.serving["seats"].sum()), choosing.SEAT), self.serving, tally),
        )
        scratch = [records(table) for table in (self.terms, np.zeros(1, CALL), np.zeros(m, MODEL))]
        tables = (records(jobs), sizes, jobs["weight"].copy(), *(records(table) for table in made))
        start = time.perf_counter()
        rules = score, again, params, at_once
        choosing.simulate(records(state)[0], *tables, scratch[0][0], scratch[1][0], scratch[2], *rules)
        return outcome, state[0], stations, time.perf_counter() - start

    def bound(self, drawn: Drawn) -> float:
        """Return a floor for whoever knows all answers: each call pays at least for the answer that counts.

        While it is made that answer keeps a seat. Seats count by the tokens of sizes that they write, so that a call
        takes the least share of all seats' work at one of the models; see `systems.bounds`.
        """
        serving, truth = self.serving, drawn.truth
        times = serving["ttft"] + truth["tokens"] * serving["tpot"]
        money = truth["prompts"][:, None] * serving["read"] + truth["tokens"] * serving["write"]
        price = self.wrong * (1 - truth["right"]) + self.usd * money
        shares = np.array([one.rate / one.seats for one in self.served]) / self.capacity
        return floor_of_choices(drawn.work["arrival"], times, shares, price)

    def known(self, scenario: "Scenario", policy: ChoicePolicy) -> list[Row]:
        """Return the exact mean response time of those that split a Poisson stream into some of M/M/c."""
        plain = isinstance(scenario.law, Exponential) and self.differs == 0 and not self.serving["ttft"].any()
        shares = shares_of(policy, len(self.served))
        if not (plain and poisson(scenario)) or shares is None:
            return []
        rate, mean = load_of(scenario) * self.capacity / scenario.law.mean, 0.0
        for share, one in zip(shares, self.served, strict=True):
            load = share * rate * scenario.law.mean / one.rate
            if load >= 1:
                return []
            if share > 0:
                mean += share * MMk(one.seats, load, scenario.law.mean * one.wordy * one.tpot).mean_response_time
        return [row(mean, "exact", "Erlang 1917: an M/M/c of each model")]

    def remarks(self, run: Run, policy: Any) -> list[str]:
        """Return which models are busy all the time, and whether a policy wants to ask more than there are."""
        busy = [one.name for one, part in zip(self.served, run.parts, strict=True) if part["busy"] > ALWAYS_BUSY]
        told = [f"keeps all seats of {name} busy nearly all the time: its line may grow without end" for name in busy]
        if policy.at_once > (there := len(self.served)):
            told.append(f"asks {policy.at_once} models at once, of which there are {there}: it asks all of them")
        return told

    def open(self, scenario: "Scenario", view: Any, size: int) -> ChoiceEpisodes:
        """Return E systems."""
        return ChoiceEpisodes(scenario, view, size)

    def agent(self, policy: ChoicePolicy, scenario: "Scenario", view: Any) -> ChoiceAgent:
        """Return the agent that asks as the rule says."""
        return ChoiceAgent(policy, scenario, view)

    def numbers(self, run: Run) -> dict[str, float]:
        """Return mean response time with the price of wrong answers and of money as the `cost`, and each by itself."""
        numbers, end = super().numbers(run), run.outcome
        told = {"mean": numbers["cost"], "accuracy": float(end["right"].mean()), "usd": float(end["spent"].mean())}
        price = self.wrong * (1 - told["accuracy"]) + self.usd * told["usd"]
        return {**numbers, "cost": told["mean"] + price, **told}

    def more(self, run: Run) -> dict[str, float]:
        """Return accuracy, money and models asked for each call, the shares of answers by model, and the cost."""
        told, end = self.numbers(run), run.outcome
        shares = {f"answers of {m}, {one.name}": float((end["model"] == m).mean()) for m, one in enumerate(self.served)}
        found = {name: told[name] for name in ("cost", "accuracy")}
        return {**found, "usd_per_call": told["usd"], "asked_per_call": float(end["asked"].mean()), **shares}


def shares_of(policy: ChoicePolicy, models: int) -> np.ndarray | None:
    """Return the share of the calls that go to each model `(m,)`, of rules that look at nothing but luck; else None."""
    shares = np.zeros(models)
    if policy.name == "weakest":
        shares[0] = 1.0
    elif policy.name == "strongest":
        shares[-1] = 1.0
    elif policy.name == "random-share":
        shares[0] += 1 - policy.params[0]
        shares[-1] += policy.params[0]
    else:
        return None
    return shares
