"""One server on which predictions cost: what is predicted of whom is decided, and paid for.

An agent decides for each arrival whether nothing, the cheap prediction or that of the size is bought, is asked again
when it has a prediction, and picks who is served at every arrival, completion and end of a prediction.

Source: Shahout, Mitzenmacher, "SkipPredict: When to Invest in Predictions for Scheduling", NeurIPS 2024.
"""

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.predicting import fresh, simulate, time_of_predictions
from llmqueue_gym.engines.state import HEAP
from llmqueue_gym.errors import BadInput
from llmqueue_gym.jobs import PROFILE, job_table, outcome_table
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.predicting import PREDICTING, PredictingPolicy
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.predictors.cost import SERVER, SERVERS, PredictorCost, predictor_cost
from llmqueue_gym.systems import stage_theorems
from llmqueue_gym.systems.agents.predict import PredictAgent
from llmqueue_gym.systems.base import Drawn, Row
from llmqueue_gym.systems.bounds import srpt_mean
from llmqueue_gym.systems.job_system import JobSystem, tables_of
from llmqueue_gym.systems.known import load_of
from llmqueue_gym.systems.predict_view import PredictEpisodes, PredictView, hidden_of, terms_of, totals_of
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.view import View
from llmqueue_gym.workloads.streams import stream

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

RESOLUTION = 0.02  # slice of service between rank checks, relative to age + mean size, where ranks may rise
LONG = 10**6  # jobs in a queue that is long, in which it is looked whether the server keeps up
SAMPLE = 200_000  # jobs from which the time that their predictions take is told


@dataclass(frozen=True)
class Predict(JobSystem):
    """One server on which predictions cost; the load is the arrival rate times the mean size, without predictions.

    Attributes:
        predictor_cost: of a cheap and of an expensive prediction, as in cheap=0.01,expensive=0.05,where=server. With
            where=outside they are prices, in s; with where=server s of the same server; with where=servers,servers=2
            s of servers of their own. With profile=0.5,slow=0.3 a job can be profiled: 0.5 s of its service, at a speed
            of 0.7, tell its size.
        cheap_predictor: prediction model of which a cheap prediction tells the class; as `predictor` unless told.
    """

    name: ClassVar[str] = "predict"
    title: ClassVar[str] = "One server, predictions that cost"
    policies: ClassVar[Policies] = PREDICTING
    view: ClassVar[type[View]] = PredictView
    cost: ClassVar[str] = "mean response time and price of predictions, s"
    beside: ClassVar[bool] = False
    covered: ClassVar[str] = "policies that look at the job alone, with predictions made outside or on the server"
    run_length: ClassVar[int] = 1_000_000

    predictor_cost: str | PredictorCost = "cheap=0.5,expensive=2"
    cheap_predictor: str | Predictor | None = None

    def __post_init__(self) -> None:
        _ = self.costs  # a wrong part is found here, not at the first run
        if self.cheap_predictor is not None:
            predictor(self.cheap_predictor)

    @cached_property
    def costs(self) -> PredictorCost:
        """What predictions cost."""
        return predictor_cost(self.predictor_cost)

    def cheap_model(self, scenario: "Scenario") -> Predictor:
        """Return the prediction model behind the cheap predictions, bound to the size law."""
        made: Predictor = predictor(scenario.predictor if self.cheap_predictor is None else self.cheap_predictor)
        return made.bind(scenario.law)

    def facts(self, scenario: "Scenario", policy: Any = None) -> dict[str, Any]:
        """Return the size law, the bound predictor and the costs."""
        return {**super().facts(scenario, policy), "predictor_cost": self.costs}

    def draw(self, scenario: "Scenario", seed: int, policy: Any = None) -> Drawn:
        """Return jobs of which nothing is predicted, their `sizes`, and what only buying tells.

        These are the `predictions` of the size, `cheap`, the numbers of which a cheap prediction tells the class, and a
        `coin` in [0, 1) of each job, all `(n,)`.
        """
        jobs, truth = super().draw(scenario, seed, policy)
        sizes, predictions = truth["sizes"], jobs["predicted"].copy()
        jobs["predicted"], jobs["klass"] = 0.0, -1
        cheap = self.cheap_model(scenario).predict(sizes, stream(seed, "predict.cheap"))
        coin = stream(seed, "predict.coin").random(len(jobs))
        return Drawn(jobs, {**truth, "predictions": predictions, "cheap": cheap, "coin": coin})

    def simulate(self, drawn: Drawn, policy: PredictingPolicy, **facts: Any) -> Run:
        """Run every job to its completion. The totals are numbers of predictions by kind, their price, and of jobs.

        Raises:
            BadInput: a function cannot be compiled or gives NaN, or asks for what there is not.
        """
        (rank, ask), params = policy.compiled(), policy.params_for(**facts)
        jobs, sizes = tables_of(drawn)
        hidden, stages = hidden_of(drawn, policy.edges)
        terms = records(terms_of(self.costs, float(policy.pause)))
        slices = RESOLUTION if policy.shape == "general" else np.inf

        def play(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
            table, outcome, state = jobs[:n].copy(), outcome_table(n), fresh()
            heap, pending = np.zeros(n, HEAP), np.zeros(n if self.costs.where == SERVERS else 1, HEAP)
            tables = records(table), records(stages[:n].copy()), hidden[:n], sizes[:n], records(outcome)
            scratch = records(heap), records(pending), np.zeros(int(self.costs.servers))
            start = time.perf_counter()
            simulate(records(state)[0], *tables, *scratch, terms[0], rank, ask, params, slices, float(sizes.mean()))
            return table, outcome, state, time.perf_counter() - start

        play(1)  # the first call in a process loads or compiles the kernel
        jobs, outcome, state, elapsed = play(len(jobs))
        policy.refuse_failure(params, jobs)
        _refuse_wrong(policy, state[0])
        return Run(policy.name, jobs, sizes, outcome, elapsed, self, totals=totals_of(state[0]))

    def bound(self, drawn: Drawn) -> float:
        """Return the mean response time of SRPT, the least on any jobs (Schrage, 1968), told all sizes for nothing."""
        return srpt_mean(drawn.work["arrival"], drawn.sizes)

    def overload(self, scenario: "Scenario", policy: PredictingPolicy) -> str | None:
        """Return what is wrong where predictions take time that the server, or those of predictions, do not have."""
        load, mean, costs = load_of(scenario), scenario.law.mean, self.costs
        most, slower = costs.cheap + costs.expensive, costs.profile * costs.slow / (1 - costs.slow)
        most_here = slower + (most if costs.where == SERVER else 0.0)
        most_elsewhere = most / costs.servers if costs.where == SERVERS else 0.0
        if load / mean * max(mean + most_here, most_elsewhere) < 1:  # whatever is predicted
            return None
        here, elsewhere = self._time_of_predictions(scenario, policy)
        true, busy = load * (1 + here / mean), load / mean * elsewhere / costs.servers
        if true >= 1:
            return (
                f"load {load:g} is {true:.4g} with the {here:.3g} s for each job by which {policy.name} predicts: the "
                "queue grows without end from 1 on; take a lower load, or predict less"
            )
        if busy >= 1:
            return (
                f"predictions of {policy.name} are a load of {busy:.4g} to servers={costs.servers}: their queue grows "
                "without end from 1 on; take more servers, or predict less"
            )
        return None

    def _time_of_predictions(self, scenario: "Scenario", policy: PredictingPolicy) -> tuple[float, float]:
        """Return how long the predictions of a job keep the server, and those of predictions, in a long queue, s."""
        costs, rng = self.costs, np.random.default_rng(0)
        sizes = scenario.law.ppf((np.arange(SAMPLE) + 0.5) / SAMPLE)
        told = {"predictions": self.predictor(scenario, policy), "cheap": self.cheap_model(scenario)}
        truth = {"sizes": sizes, **{name: model.predict(sizes, rng) for name, model in told.items()}}
        work = job_table(np.zeros(SAMPLE))
        work["klass"] = -1
        hidden, stages = hidden_of(Drawn(work, {**truth, "coin": rng.random(SAMPLE)}), policy.edges)
        (_, ask), params, state = policy.compiled(), policy.params_for(**self.facts(scenario, policy)), fresh()
        # How many wait for a prediction on the server follows from the ranks; of those who look at it the fewest ask.
        state["in_system"] = state["predicting"] = LONG
        tables = records(state)[0], records(work), records(stages), hidden, sizes
        terms = records(terms_of(costs, float(policy.pause)))[0]
        here, elsewhere = time_of_predictions(*tables, terms, ask, params)
        policy.refuse_failure(params, work)
        return here / SAMPLE, elsewhere / SAMPLE

    def known(self, scenario: "Scenario", policy: PredictingPolicy) -> list[Row]:
        """Return exact values, or the floor of every policy, where arrivals are Poisson."""
        return stage_theorems.predicting(policy, scenario)

    def open(self, scenario: "Scenario", view: Any, size: int) -> PredictEpisodes:
        """Return E servers."""
        return PredictEpisodes(scenario, view, size)

    def agent(self, policy: PredictingPolicy, scenario: "Scenario", view: Any) -> PredictAgent:
        """Return the agent that buys what the policy asks for, and serves by its ranks."""
        return PredictAgent(policy, scenario, view)

    def numbers(self, run: Run) -> dict[str, float]:
        """Return the mean response time with the price of a job as the `cost`, and the 99th percentile."""
        numbers = super().numbers(run)
        return {**numbers, "cost": numbers["cost"] + run.totals["price"] / run.totals["arrived"]}

    def more(self, run: Run) -> dict[str, float]:
        """Return predictions by kind and their price for each job of the whole run."""
        jobs = run.totals["arrived"]
        kinds = {f"{kind}_per_job": run.totals[kind] / jobs for kind in ("cheap", "expensive", "profiled")}
        told = {name: share for name, share in kinds.items() if share > 0}
        if self.costs.where in (SERVER, SERVERS):
            return told
        price = run.totals["price"] / jobs
        return {**told, "price_per_job": price, "cost": float(np.mean(run.response_times)) + price}


def _refuse_wrong(policy: PredictingPolicy, state: np.ndarray) -> None:
    """Refuse a run in which a policy asked for a stage that there is not."""
    if state["wrong"] == 0:
        return
    who, code = f"{policy.kind} {policy.name!r} asks for stage {state['code']:g} of job {state['wrong'] - 1}", PROFILE
    if state["code"] == code:
        raise BadInput(f"{who}, a profile, and predictor_cost has none; add profile=0.5,slow=0.3 to it")
    raise BadInput(f"{who}; choose 0 to serve it, 1 for a cheap prediction, 2 for an expensive one, 3 for a profile")
