"""`llmqueue simulate`: one run of a policy, with an interval beside its mean."""

from typing import Any

import click

from llmqueue_gym.cli.options import Whole, as_json, queue, read_policy
from llmqueue_gym.cli.output import print_json, print_result


@click.command()
@queue
@click.option("--jobs", type=Whole(1, 10**9), default=1_000_000, show_default=True, help="Jobs to simulate.")
@click.option("--seed", type=Whole(0), default=0, show_default=True, help="Seed of all randomness.")
@click.option("--arrivals", default="poisson", show_default=True, help="Arrival process, as in mmpp:ratio=4.")
@click.option("--trace", metavar="FILE", help="Replay this trace, stretched to the load, not size and arrivals.")
@click.option(
    "--seconds-per-token",
    type=click.FloatRange(0, min_open=True),
    default=0.02,  # SSJF's measured model (Qiu et al., 2024): 0.1 s + 0.02 s for each output token
    show_default=True,
    help="With --trace: service of one output token, s.",
)
@as_json
def simulate(
    policy: str,
    size: str,
    predictor: str,
    load: float,
    jobs: int,
    seed: int,
    arrivals: str,
    trace: str | None,
    seconds_per_token: float,
    as_json: bool,
) -> None:
    """Simulate a policy on one server.

    Times are in s. The first tenth of the jobs is warm-up and left out of every number; of a trace, none is.
    """
    from llmqueue_gym.evaluation import Scenario, cautious_batch_means, measure, rollout

    discipline = read_policy(policy)
    predictor = discipline.predictor or predictor
    if trace is None:
        scenario = Scenario(size, predictor, load, arrivals, jobs)
    else:
        size, arrivals = "trace", "trace"
        scenario = Scenario(predictor=predictor, n_jobs=jobs, workload=_replay(trace, seconds_per_token, load))
    run = rollout(discipline, scenario, seed)
    kept = run if trace else run.after_warmup()
    estimate = cautious_batch_means(kept.response_times, warmup=0)
    numbers = measure(kept)
    found = {
        "policy": policy,
        "size": size,
        "predictor": predictor,
        "load": load,
        "arrivals": arrivals,
        "trace": trace,
        "jobs": len(run),
        "seed": seed,
        "mean_response_time": numbers["mean_response_time"],
        "ci95": [estimate.low, estimate.high],
        **{key: numbers[key] for key in ("p50", "p99", "p99.9", "mean_slowdown", "preemptions_per_job")},
        "jobs_per_second": len(run) / run.elapsed,
    }
    if as_json:
        print_json(found)
    else:
        print_result("simulated", {key: value for key, value in found.items() if value is not None})


def _replay(file: str, seconds_per_token: float, load: float) -> Any:
    from llmqueue_gym.workloads import TraceWorkload, load_trace

    return TraceWorkload.from_trace(load_trace(file), seconds_per_token, load)
