"""What the survey's sections 5 and 6 and the papers behind them claim of programs, drafts and reasoning.

Each with the nearest set-up that profiles, laws and rules here allow; for `claims_of_programs.py`.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from goodput import largest_rate
from reasoning_programs import kept, measured, programs_of, reasoning, sustained
from survey_claims_llm import Claim
from survey_factors_llm import Factors

from llmqueue_gym.evaluation.programs import together
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.programs import ProgramFleet

TOOLS, GPT_J_LIKE, WARMUP = "tool-calls", "a100-llama2-7b", 0.1
TIMES = 4  # as many calls of tools: their programs take a minute, most of which they are away
LOADS = (0.5, 0.8, 0.95, 1.2, 1.6)  # of what first come first served sustains with every context computed anew
CALIBRATION = tuple(range(90, 93))  # seeds on which levels are chosen
LOST = 0.01  # accuracy that a level may lose there
LEVELS = {
    "self-consistency:n=16": tuple(f"certaindex:threshold={level}" for level in (0.3, 0.5, 0.7, 0.8, 0.9)),
    "reasoning": (*(f"dynasor:effort={name}" for name in ("mid", "low", "mild")),
                  *(f"probes-agree:k={k}" for k in (16, 24, 32))),
}  # fmt: skip


def tools(retention: str, rate: float, calls: int) -> Scenario:
    """Return InferCept's mix of programs at a rate, programs/s, on one replica."""
    return Scenario(
        ProgramFleet(GPT_J_LIKE, replicas=1, retention=retention),
        law=TOOLS,
        rate=rate,
        n_programs=programs_of(TOOLS, calls),
    )


@cache
def tools_sustained() -> float:
    """Return the programs/s that the replica sustains with every context computed anew."""
    where = tools("discard", 1.0, 100)
    return float(where.system.sustains(where).rate)


def time_of(run: Any) -> float:
    """Return the mean time of programs, s, gaps included."""
    return float(run.response_times[int(WARMUP * len(run)) :].mean())


def first_token_of(run: Any) -> float:
    """Return the mean time until a program's first token, s."""
    return float((run.outcome["first_token"] - run.jobs["arrival"])[int(WARMUP * len(run)) :].mean())


def two_ways(old: tuple[str, str], new: tuple[str, str], metric: Callable[[Any], float]) -> Any:
    """Return how to compare two pairs of retention and order on InferCept's mix."""

    def run(n: int, seeds: int) -> Factors:
        found: Factors = {}
        for load in LOADS:
            means = [
                [
                    metric(tools(retention, load * tools_sustained(), TIMES * n).simulate(order, seed))
                    for seed in range(seeds)
                ]
                for retention, order in (old, new)
            ]
            found[f"mix, load {load:g}"] = (load, np.divide(*means).tolist())
        return found

    return run


def infercept_rate(n: int, seeds: int) -> Factors:
    """Compare the rates at which a token takes no longer than a level on average, gaps left out."""

    def rate(retention: str, order: str, level: float, seed: int) -> float:
        def keeps(asked: float) -> bool:
            if asked > 10 * tools_sustained():
                return False  # as good as all at once
            run = tools(retention, asked, TIMES * n).simulate(order, seed)
            counted = slice(int(WARMUP * len(run)), None)
            return bool((together(run) / run.sizes)[counted].mean() <= level)

        return largest_rate(keeps, tools_sustained())

    found: Factors = {}
    for level in (0.03, 0.06):
        sides = ("infercept", "program-fcfs"), ("discard", "fcfs")
        new, old = ([rate(*side, level, seed) for seed in range(seeds)] for side in sides)
        found[f"mix, {level:g} s a token"] = (np.nan, np.divide(new, old).tolist())
    return found


def speculation(n: int, seeds: int) -> Factors:
    """Compare drafts with none, by mean time of requests."""
    told = {"target": "a100-llama3-8b", "seats": 128, "draft": 0.05, "size": "exponential:mean=64"}
    found: Factors = {}
    for chance, rule in (
        ("constant:a=0.8", "fixed:g=5"),
        ("constant:a=0.6", "fixed:g=3"),
        ("eagle3-llama3.1-8b", "fixed:g=3"),
    ):
        for load in (0.02, 0.1, 0.3, 0.6):
            where = Scenario("speculative", load=load, n_jobs=n, acceptance=chance, **told)
            means = [
                [where.simulate(player, seed).after_warmup().response_times.mean() for seed in range(seeds)]
                for player in ("no-drafts", rule)
            ]
            found[f"{chance}, {rule}, load {load:g}"] = (load, np.divide(*means).tolist())
    return found


@cache
def calibrated(law: str, programs: int) -> tuple[str, float]:
    """Return the rule that takes fewest tokens of those that keep the accuracy on other seeds, and what it loses."""
    rate = 0.8 * sustained(law, "never", programs, CALIBRATION[0])

    def told(rule: str) -> tuple[float, float]:
        runs = [measured(reasoning(law, rule, programs, rate).simulate("program-fcfs", seed)) for seed in CALIBRATION]
        return float(np.mean([one["accuracy"] for one in runs])), float(np.mean([one["tokens"] for one in runs]))

    whole, most = told("never")
    best = ("never", most, 0.0)
    for rule in LEVELS[law]:
        right, tokens = told(rule)
        if whole - right <= LOST and tokens < best[1]:
            best = (rule, tokens, whole - right)
    return best[0], best[2]


def compute(n: int, seeds: int) -> Factors:
    """Compare the tokens of a program with and without stopping, where accuracy is kept on other seeds."""
    found: Factors = {}
    for law in LEVELS:
        programs = n // 20
        rule, _ = calibrated(law, programs)
        rate = 0.8 * sustained(law, "never", programs, CALIBRATION[0])
        sides = [
            [measured(reasoning(law, one, programs, rate).simulate("program-fcfs", seed)) for seed in range(seeds)]
            for one in ("never", rule)
        ]
        tokens, right = (np.array([[run[key] for run in side] for side in sides]) for key in ("tokens", "accuracy"))
        lost = float((right[0] - right[1]).mean())
        found[f"{law}, {rule}, accuracy lost {lost:.3f}"] = (np.nan, (tokens[0] / tokens[1]).tolist())
    return found


def _late(law: str, rule: str, order: str, programs: int, rate: float, seed: int) -> float:
    """Return the time, s, within which 90 % of the programs end."""
    run = reasoning(law, rule, programs, rate).simulate(order, seed)
    return float(np.quantile(run.response_times[kept(run)], 0.9))


def _rate(law: str, rule: str, order: str, programs: int, within: float, top: float, seed: int) -> float:
    """Return the rate at which 90 % of the programs end within so many s; at most 10 times `top`, programs/s."""

    def keeps(asked: float) -> bool:
        return asked < 10 * top and _late(law, rule, order, programs, asked, seed) <= within

    return largest_rate(keeps, 0.8 * top)


def reasoning_rate(n: int, seeds: int) -> Factors:
    """Compare the rates at which 90 % of programs end within some times what they take alone."""
    found: Factors = {}
    for law in LEVELS:
        programs = n // 20
        rule, _ = calibrated(law, programs)
        top = sustained(law, "never", programs, CALIBRATION[0])
        alone = _late(law, "never", "program-fcfs", programs, 0.05 * top, CALIBRATION[0])
        for times in (1.5,):
            sides = (rule, "program-srpt"), ("never", "fcfs")
            told = programs, times * alone, top
            new, old = ([_rate(law, *side, *told, seed) for seed in range(seeds)] for side in sides)
            factors = [b / a if a and b else np.nan for a, b in zip(old, new, strict=True)]
            found[f"{law}, {rule}, {times:g} times alone"] = (np.nan, factors)
    return found


def parrot(n: int, seeds: int) -> Factors:
    """Compare programs that Parrot's manager knows with calls that a server sees one by one."""
    found: Factors = {}
    for law in ("parrot", "map-reduce"):
        sides = [
            (ProgramFleet("a100-llama2-7b", f"vllm-v1:caching={caching}", replicas=4, router=router), order)
            for caching, router, order in (
                ("none", "least-outstanding", "fcfs"),
                ("vllm", "least-outstanding", "parrot-groups"),
            )
        ]
        base = Scenario(sides[0][0], law=law, rate=1.0, n_programs=programs_of(law, n))
        top = base.system.sustains(base).rate
        for load in (0.5, 0.8, 0.95, 1.2):
            means = [
                [
                    time_of(
                        Scenario(fleet, law=law, rate=load * top, n_programs=programs_of(law, n)).simulate(order, seed)
                    )
                    for seed in range(seeds)
                ]
                for fleet, order in sides
            ]
            found[f"{law}, load {load:g}"] = (load, np.divide(*means).tolist())
    return found


INFERCEPT, LAMPS = ("infercept", "program-fcfs"), ("lamps", "lamps-like")
LAMPS_HERE = ("lamps:costs=profile", "lamps-like")
SETUP = "a100-llama2-7b, one replica, InferCept's mix of six tools with the published laws; gaps foreseen exactly"
CLAIMS = [
    Claim("lamps-latency", "LAMPS: 27 to 85 % lower latency than InferCept (5.1)", (1 / 0.73, 1 / 0.15), SETUP,
          "its model, GPT-J; ranks that follow the load of the moment; no queue before 3 to 6 requests/s there",
          two_ways(INFERCEPT, LAMPS, time_of)),
    Claim("lamps-ttft", "LAMPS: 4 to 96 % lower time to first token than InferCept (5.1)", (1 / 0.96, 1 / 0.04), SETUP,
          "as lamps-latency", two_ways(INFERCEPT, LAMPS, first_token_of)),
    Claim("lamps-vllm", "LAMPS: still more over vLLM, latency (5.1)", None, SETUP, "as lamps-latency",
          two_ways(("discard", "fcfs"), LAMPS, time_of)),
    Claim("lamps-own", "LAMPS with the costs of this replica, by which it swaps, against InferCept", None,
          SETUP, "nobody claims it", two_ways(INFERCEPT, LAMPS_HERE, time_of), is_claim=False),
    Claim("infercept", "InferCept: 1.6 to 2x the rate of vLLM (its paper)", (1.6, 2.0), SETUP,
          "its models; moves that run beside iterations", infercept_rate),
    Claim("continuum", "a time to live of 2 s against dropping, as Continuum has it", None, SETUP,
          "nobody claims it of one number", two_ways(("discard", "program-fcfs"), ("ttl", "program-fcfs"), time_of),
          is_claim=False),
    Claim("thunder", "ThunderAgent's pauses against dropping", None, SETUP, "nobody claims it of one replica",
          two_ways(("discard", "program-fcfs"), ("thunder-agent-like", "program-fcfs"), time_of), is_claim=False),
    Claim("autellix", "Autellix's PLAS against first come first served, contexts dropped", None, SETUP,
          "no number stands in the survey", two_ways(("discard", "fcfs"), ("discard", "plas-like"), time_of),
          is_claim=False),
    Claim("parrot", "Parrot: up to 11.7x lower latency than one call after the other (its paper)", (11.7, 11.7),
          "4 replicas a100-llama2-7b; vLLM's cache and groups against neither; the fewest outstanding requests",
          "the way to the client and back between two calls, which is what Parrot saves most of", parrot),
    Claim("drafts", "speculative decoding: 2.5 to 3 times faster (5.2)", (2.5, 3.0),
          "a100-llama3-8b, 128 seats, a draft token takes a twentieth of a step", "trees of drafts; a model of drafts",
          speculation),
    Claim("dynasor-compute", "Dynasor: up to 50 % less compute at equal accuracy (6)", (2.0, 2.0),
          "a100-llama3-8b, 32 seats; the level that keeps accuracy to a point on other seeds; tokens of a program",
          "its models and tasks; laws of answers are round numbers", compute),
    Claim("dynasor-rate", "Dynasor: 3.3x the rate within objectives (6)", (3.3, 3.3),
          "as dynasor-compute, with fewest tokens of the program to come first; 90 % within a multiple of alone",
          "gangs; its allocation of compute by certaindex", reasoning_rate),
]  # fmt: skip
