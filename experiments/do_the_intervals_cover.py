"""How often does a 95 % interval for the mean response time hold the exact mean, under heavy-tailed sizes?

Bounded Pareto sizes (alpha 1.5) at load 0.8: one giant job outweighs thousands of others, so batches without one look
calmer than they are. Compares intervals by 30 batches with the cautious ones that `llmqueue simulate` prints. Writes
`results/do_the_intervals_cover.json`.
"""

from pathlib import Path

from rich.progress import track

from llmqueue_gym.evaluation import Scenario, batch_means, cautious_batch_means, result, write_json

RESULTS = Path(__file__).parent / "results" / "do_the_intervals_cover.json"
SCENARIO = Scenario(size="bounded-pareto:alpha=1.5,high=1000", load=0.8, n_jobs=1_000_000)
POLICIES = ("fcfs", "one-bit-lcfs", "sprpt")
METHODS = {"30 batches": batch_means, "cautious": cautious_batch_means}
SEEDS = range(100)


def main() -> None:
    """Count the intervals that hold the exact mean, per policy and method."""
    held = {name: dict.fromkeys(METHODS, 0) for name in POLICIES}
    for name in POLICIES:
        exact = SCENARIO.known(name)[0]["value"]
        for seed in track(SEEDS, f"{name}, exact {exact:.4f}"):
            times = SCENARIO.simulate(name, seed).response_times
            for method, estimate in METHODS.items():
                interval = estimate(times)
                held[name][method] += bool(interval.low <= exact <= interval.high)
        print(name, held[name], "of", len(SEEDS))
    write_json(RESULTS, result({"held": held, "runs": len(SEEDS)}, seeds=list(SEEDS), scenario=SCENARIO))


if __name__ == "__main__":
    main()
