"""`llmqueue simulate`: one run of a policy, on servers or on an LLM replica, with an interval beside its mean."""

from typing import Any

import click

from llmqueue_gym.cli.options import (
    CLUSTER,
    REPLICA,
    Grouped,
    Whole,
    as_json,
    queue,
    read_policy,
    replica,
    several_servers,
    stable,
)
from llmqueue_gym.cli.output import print_json, print_result
from llmqueue_gym.errors import BadInput

SERVER = ("size", "jobs", "seconds_per_token")  # options of a single server that a replica has not
MAKES_REPLICA = ("profile", "rules", "lengths")


@click.command(cls=Grouped)
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
@several_servers
@replica
@as_json
@click.pass_context
def simulate(ctx: click.Context, policy: str, seed: int, as_json: bool, **options: Any) -> None:
    """Simulate a policy on one server, on several, or with --profile, --rules or --lengths on an LLM replica.

    Times are in s. The first tenth of the jobs is warm-up and left out of every number; of a trace, none is.

    On several servers the result stands beside what theory knows: an exact value, a limit, or bounds.

    On a replica the predictor is lognormal:sigma=0.5 unless told otherwise, a trace keeps its own rate, and --lengths
    comes at load 0.8; there --load is a share of the largest rate that fcfs sustains, and --size, --jobs and
    --seconds-per-token mean nothing. The policy may be FILE.py:FUNCTION, a rank(request, system, params).
    """
    told = {key for key in options if ctx.get_parameter_source(key) is click.core.ParameterSource.COMMANDLINE}
    if options["patience"] is None:
        stable(options["load"])
    if told & set(MAKES_REPLICA):
        from llmqueue_gym.cli.serving import run_serving

        _refuse(told, SERVER, "belongs to a single server, not to a replica; see llmqueue simulate --help")
        _refuse(told, CLUSTER, "belongs to servers of a queue, not to a replica; see llmqueue simulate --help")
        asked = {key: value if key in told or key == "trace_format" else None for key, value in options.items()}
        run_serving(policy, asked, seed, as_json)
        return
    _refuse(told, REPLICA, "belongs to a replica: add --profile a100-llama3-8b, or another of llmqueue profile list")
    if told & set(CLUSTER):
        from llmqueue_gym.cli.cluster import run_cluster

        run_cluster(policy, options, seed, as_json)
        return
    _run_queue(policy, options, seed, as_json)


def _run_queue(policy: str, options: dict[str, Any], seed: int, as_json: bool) -> None:
    """Simulate a policy on a single server, and print what came of it."""
    from llmqueue_gym.evaluation import Scenario, cautious_batch_means, measure, rollout

    size, load, arrivals, trace, jobs = (options[key] for key in ("size", "load", "arrivals", "trace", "jobs"))
    discipline = read_policy(policy)
    predictor = discipline.predictor or options["predictor"]
    if trace is None:
        scenario = Scenario(size, predictor, load, arrivals, jobs)
    else:
        size, arrivals = "trace", "trace"
        workload = _replay(trace, options["trace_format"], options["seconds_per_token"], load)
        scenario = Scenario(predictor=predictor, n_jobs=jobs, workload=workload)
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


def _replay(file: str, format: str, seconds_per_token: float, load: float) -> Any:
    from llmqueue_gym.workloads import TraceWorkload, load_trace

    return TraceWorkload.from_trace(load_trace(file, format), seconds_per_token, load)


def _refuse(told: set[str], names: tuple[str, ...], why: str) -> None:
    for name in names:
        if name in told:
            raise BadInput(f"--{name.replace('_', '-')} {why}")
