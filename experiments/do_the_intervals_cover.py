"""How often does a 95 % interval for the mean response time hold the exact mean, near saturation and under heavy tails?

Runs of 20,000 jobs, and of 1,000,000: batches of a short run near saturation are not independent, and one giant job
outweighs thousands of others, so runs without one look calmer than they are. Compares intervals by 30 batches, the
widest of those by 10 to 60, and those that `llmqueue simulate` prints, which know how slowly work in system settles;
and counts the runs that say they are short. Writes `results/do_the_intervals_cover.json`; four minutes of CPU time.
"""

from collections.abc import Callable
from pathlib import Path

from rich.progress import track

from llmqueue_gym.evaluation import Estimate, Run, Scenario, batch_means, cautious_batch_means, result, write_json
from llmqueue_gym.evaluation.steady_state import shortness, steady_state_mean

RESULTS = Path(__file__).parent / "results" / "do_the_intervals_cover.json"
PARETO = "bounded-pareto:alpha=1.5,high=1000"
SCENARIOS = {
    "exponential .95": (Scenario(size="exponential", load=0.95, n_jobs=20_000), ("fcfs", "sprpt"), 200),
    "weibull .9": (Scenario(size="weibull:shape=0.5", load=0.9, n_jobs=20_000), ("fcfs", "sprpt", "gittins"), 200),
    "pareto .7": (Scenario(size=PARETO, load=0.7, n_jobs=20_000), ("fcfs", "one-bit-lcfs", "las", "sprpt"), 200),
    "pareto .8, long": (Scenario(size=PARETO, load=0.8, n_jobs=1_000_000), ("fcfs", "one-bit-lcfs", "sprpt"), 100),
}
METHODS: dict[str, Callable[[Run, Scenario], Estimate]] = {
    "30 batches": lambda run, scenario: batch_means(run.response_times, warmup=0),
    "widest of batches": lambda run, scenario: cautious_batch_means(run.response_times, warmup=0),
    "printed": lambda run, scenario: steady_state_mean(run.response_times, run, scenario),
}


def main() -> None:
    """Count the intervals that hold the exact mean, per scenario, policy and method."""
    found = []
    for name, (scenario, policies, runs) in SCENARIOS.items():
        for policy in policies:
            exact = scenario.known(policy)[0]["value"]
            held, short = dict.fromkeys(METHODS, 0), 0
            for seed in track(range(runs), f"{name}, {policy}, exact {exact:.4f}"):
                run = scenario.simulate(policy, seed).after_warmup()
                intervals = {method: estimate(run, scenario) for method, estimate in METHODS.items()}
                for method, interval in intervals.items():
                    held[method] += bool(interval.low <= exact <= interval.high)
                short += bool(shortness(run.response_times, intervals["printed"], run, scenario))
            print(name, policy, held, "of", runs, "- said to be short:", short)
            found.append({"scenario": name, "policy": policy, "held": held, "said_short": short, "runs": runs})
    told = {name: scenario.to_dict() for name, (scenario, *_) in SCENARIOS.items()}
    write_json(RESULTS, result({"cells": found, "scenarios": told}, seeds=[0, 199]))


if __name__ == "__main__":
    main()
