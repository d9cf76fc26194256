"""What `llmqueue simulate` does with several servers: one queue for all, a queue each, or jobs that need several."""

from typing import Any

import click

from llmqueue_gym.cli.options import read_policy
from llmqueue_gym.cli.output import print_json, print_result
from llmqueue_gym.errors import BadInput

SERVERS_OF_DISPATCH = 10
# Pairs of options that have no place beside one another.
EXCLUDED = {
    ("needs", "speeds"): "jobs that need several servers run on equal ones",
    ("needs", "patience"): "jobs that need several servers do not give up",
    ("needs", "dispatch"): "jobs that need several servers share one queue",
    ("dispatch", "patience"): "impatient jobs share one queue",
    ("trace", "needs"): "a trace is replayed on one server",
    ("trace", "dispatch"): "a trace is replayed on one server",
    ("trace", "patience"): "a trace is replayed on one server",
    ("trace", "speeds"): "a trace is replayed on one server",
    ("trace", "servers"): "a trace is replayed on one server",
}


def run_cluster(policy: str, options: dict[str, Any], seed: int, as_json: bool) -> None:
    """Simulate a policy on several servers, and print what came of it beside what is known."""
    refuse_excluded(options)
    if options["needs"]:
        from llmqueue_gym.cli.needs import simulate_needs

        found = simulate_needs(policy, options, seed)
    else:
        found = _simulate(policy, options, seed)
    if as_json:
        print_json(found)
        return
    print_result("simulated", {key: value for key, value in found.items() if value is not None and value != []})
    if not found["theory"]:
        click.echo("Theory knows no value and no bound for this case.")


def _simulate(policy: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the numbers of a run on one queue for all servers, or on a queue each."""
    from llmqueue_gym.cli.references import beside, references
    from llmqueue_gym.evaluation.cluster import measure_cluster, play

    scenario, discipline, dispatcher = read_cluster(policy, options)
    run = play(scenario, discipline, seed, dispatcher)
    kept = run.after_warmup()
    numbers, intervals = measure_cluster(kept), _intervals(kept)
    found = {
        "policy": policy,
        **cluster_words(scenario, discipline, options),
        "arrivals": options["arrivals"],
        "jobs": len(run),
        "seed": seed,
        "mean_response_time": numbers["mean_response_time"],
        "ci95": intervals["mean_response_time"],
        **{key: numbers[key] for key in ("p50", "p99", "mean_wait", "preemptions_per_job")},
    }
    if scenario.patience:
        low, high = intervals["served"]
        intervals["throughput"] = [low * scenario.rate, high * scenario.rate]
        found |= {"served": numbers["served"], "served_ci95": [low, high]}
        found |= {"abandoned": 1 - numbers["served"], "abandoned_ci95": [1 - high, 1 - low]}
        # jobs served per s; the rate of arrivals is known, so that the share alone is noisy
        found |= {"throughput": numbers["served"] * scenario.rate, "throughput_ci95": intervals["throughput"]}
        found["work_served"] = numbers["work_served"]
    found["jobs_per_second"] = len(run) / run.elapsed
    known = references(discipline, scenario, dispatcher)
    return {**found, "theory": beside(known, intervals)}


def _intervals(run: Any) -> dict[str, list[float]]:
    """Return the 95 % intervals of the mean response time of jobs that were served, and of their share."""
    import numpy as np

    from llmqueue_gym.evaluation import cautious_batch_means

    served = ~np.isnan(run.response_times)
    values = {"mean_response_time": run.response_times[served], "served": served}
    found = {name: cautious_batch_means(value, warmup=0) if len(value) else None for name, value in values.items()}
    return {name: [e.low, e.high] if e else [float("nan")] * 2 for name, e in found.items()}


def read_cluster(policy: str, options: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return the scenario, the order of the queue or of each queue, and the dispatch policy or None.

    Raises:
        BadInput: a wrong value, a policy of another kind, or a sample of more queues than there are.
    """
    from llmqueue_gym.evaluation.cluster import ClusterScenario
    from llmqueue_gym.policies.dispatch import dispatch_policy

    speeds, discipline = _speeds(options["speeds"]), read_policy(policy)
    dispatcher = dispatch_policy(options["dispatch"]) if options["dispatch"] else None
    servers = options["servers"] or (len(speeds) if speeds else SERVERS_OF_DISPATCH if dispatcher else 1)
    if dispatcher is not None and dispatcher.looks == "sample" and dispatcher.d > servers:
        raise BadInput(f"--dispatch {options['dispatch']} samples {dispatcher.d} of {servers} queues; take d={servers}")
    rest = {"arrivals": options.get("arrivals", "poisson"), "n_jobs": options.get("jobs", 1)}
    scenario = ClusterScenario(
        size=options["size"],
        predictor=discipline.predictor or options["predictor"],
        load=options["load"],
        servers=servers,
        speeds=speeds,
        patience=options["patience"],
        told="deadline" in discipline.reads(),
        **rest,
    )
    discipline.params_for(scenario.law, scenario.bound_predictor(discipline))  # refuses a predictor that says nothing
    return scenario, discipline, dispatcher


def cluster_words(scenario: Any, discipline: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the scenario as the options tell it."""
    return {
        "dispatch": options["dispatch"],
        "size": options["size"],
        "predictor": discipline.predictor or options["predictor"],
        "load": scenario.load,
        "servers": scenario.servers,
        "speeds": list(scenario.speeds) if scenario.speeds else None,
        "patience": options["patience"],
    }


def refuse_excluded(options: dict[str, Any]) -> None:
    """Refuse options that exclude one another."""
    for (one, other), why in EXCLUDED.items():
        if options.get(one) is not None and options[other] is not None:
            raise BadInput(f"--{one} and --{other} exclude one another: {why}; leave one out")


def _speeds(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise BadInput(f"--speeds {text!r} must be numbers, separated by commas, as in 2,1,1") from None
