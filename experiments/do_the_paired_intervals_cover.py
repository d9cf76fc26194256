"""How often do the 95 % intervals of `compare` hold the true effect of a policy against first come first served?

Many runs of `compare` with different seeds, at several lengths; each gives an interval for the difference of the means,
for their ratio and for the ratio of the 99th percentiles. The truth is that of 20 runs of 100,000 requests with other
seeds, all their requests together; its standard error is stored beside it, and small beside the intervals. SJF with
log-normal predictions (sigma 0.5) against first come first served, profile a100-llama3-8b, rules vllm-v1 with few
seats, so that a queue forms. The first tenth of the requests of every run is left out. The rate is the same at all
lengths: a share of the capacity found on 20,000 requests. Writes `results/do_the_paired_intervals_cover.json`; two
minutes of CPU time, and six with the 20,000 requests that the stored result has too (`--lengths 1000 5000 20000`).
"""

import argparse
import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.evaluation import result, write_json
from llmqueue_gym.evaluation.compare import compare
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.capacity import capacity

OUT = Path(__file__).parent / "results" / "do_the_paired_intervals_cover.json"
BASE, POLICY, WARMUP = "fcfs", "sjf", 0.1
SETTINGS = {
    "azure-conv, 32 seats, load 0.9": Scenario("replica:lengths=azure-conv,rules=vllm-v1:max_seqs=32,load=0.9"),
    "lmsys-arena, 16 seats, load 0.8": Scenario("replica:lengths=lmsys-arena,rules=vllm-v1:max_seqs=16,load=0.8"),
}
MEASURED = 20_000  # requests on which the capacity is found
LENGTHS, RUNS = (1000, 5000), 100
TRUTH_RUNS, TRUTH_REQUESTS, TRUTH_SEED = 20, 100_000, 1_000_000
EFFECTS = {
    "difference_to_fcfs": "difference of means",
    "mean_over_fcfs": "ratio of means",
    "p99_over_fcfs": "ratio of p99",
}

Job = tuple[str, float, int, int]  # setting, its rate, requests, seed


def latencies(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """Return the end-to-end times of a run under first come first served and under the policy, s, each `(kept,)`."""
    scenario = at(job)
    base, other = (scenario.simulate(p, job[-1]).after_warmup(WARMUP).response_times for p in (BASE, POLICY))
    return base, other


def effects(base: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Return the effects of a policy from its end-to-end times and those of first come first served, s."""
    return {
        "difference_to_fcfs": float(other.mean() - base.mean()),
        "mean_over_fcfs": float(other.mean() / base.mean()),
        "p99_over_fcfs": float(np.percentile(other, 99) / np.percentile(base, 99)),
    }


def standard_error(parts: list[dict[str, float]]) -> dict[str, float]:
    """Return the standard error of the truth, by effect, from how much the runs that it comes from differ."""
    return {key: float(np.std([part[key] for part in parts], ddof=1) / len(parts) ** 0.5) for key in EFFECTS}


def intervals(job: Job) -> dict[str, list[float]]:
    """Return the ends of the intervals of one run of `compare`, by effect."""
    found = compare(at(job), [POLICY], job[-1], warmup=WARMUP)
    row = next(row for row in found["policies"] if row["policy"] == POLICY)
    return {effect: [row[effect]["low"], row[effect]["high"]] for effect in EFFECTS}


def at(job: Job) -> Scenario:
    """Return the scenario of a job."""
    setting, rate, n, _ = job
    return replace(SETTINGS[setting], n_jobs=n, rate=rate, load=None)


def count(truth: dict[str, float], given: list[dict[str, list[float]]]) -> dict[str, Any]:
    """Return how many intervals hold the truth, by effect, how many lie on each side of it, and their mean width."""
    told = {}
    for effect, exact in truth.items():
        low, high = np.array([ends[effect] for ends in given]).T
        held = int(((low <= exact) & (exact <= high)).sum())
        sides = {"below": int((high < exact).sum()), "above": int((low > exact).sum())}
        told[effect] = {"held": held, **sides, "share": held / len(given), "width": float((high - low).mean())}
    return told


def run(lengths: Iterable[int], runs: int, truth_runs: int, truth_requests: int, processes: int) -> list[dict]:
    """Return the truth and the counts of every setting and length."""
    rows = []
    with ProcessPoolExecutor(processes, initializer=end_with_parent) as pool:
        for setting, scenario in SETTINGS.items():
            rate = scenario.load * capacity(replace(scenario, n_jobs=MEASURED)).rate_scale
            jobs = [(setting, rate, truth_requests, TRUTH_SEED + k) for k in range(truth_runs)]
            parts = list(followed(pool.map(latencies, jobs), f"{setting}: truth", truth_runs))
            truth = effects(*(np.concatenate(side) for side in zip(*parts, strict=True)))
            error = standard_error([effects(*part) for part in parts])
            for n in lengths:
                jobs = [(setting, rate, n, seed) for seed in range(runs)]
                given = list(followed(pool.map(intervals, jobs), f"{setting}: {n:,} requests", runs))
                told = {"truth": truth, "standard_error": error, "effects": count(truth, given)}
                rows.append({"setting": setting, "requests": n, **told})
    return rows


def followed(steps: Iterable[Any], words: str, total: int) -> Iterable[Any]:
    """Return the steps with a progress bar on stderr."""
    return track(steps, words, total, console=Console(stderr=True))


def report(found: dict[str, Any], console: Console) -> None:
    """Print how often the truth is held."""
    table = Table(
        "setting", "requests", *EFFECTS.values(), title=f"{found['runs']} runs: 95 % intervals with the truth"
    )
    for row in found["rows"]:
        shares = [f"{row['effects'][effect]['share']:.0%}" for effect in EFFECTS]
        table.add_row(row["setting"], f"{row['requests']:,}", *shares)
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    """Count the intervals that hold the truth, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="requests of a run")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each length")
    parser.add_argument("--truth-runs", type=int, default=TRUTH_RUNS, help="that the truth comes from")
    parser.add_argument("--truth-requests", type=int, default=TRUTH_REQUESTS, help="in each of these")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT, help="where the result is stored")
    options = parser.parse_args(arguments)
    rows = run(options.lengths, options.runs, options.truth_runs, options.truth_requests, options.processes)
    values = {
        "policy": POLICY,
        "runs": options.runs,
        "truth_runs": options.truth_runs,
        "truth_requests": options.truth_requests,
        "rows": rows,
    }
    found = result(values, seeds=range(options.runs))
    options.out.parent.mkdir(exist_ok=True)
    write_json(options.out, found)
    print(json.dumps(plain(found))) if options.json else report(found, Console())


if __name__ == "__main__":
    main()
