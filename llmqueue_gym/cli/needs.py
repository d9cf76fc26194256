"""What `llmqueue simulate` does with jobs that occupy several servers at once."""

import math
from typing import Any

from llmqueue_gym.cli.options import function_in_file
from llmqueue_gym.errors import BadInput

SERVERS = 8  # where nothing is said


def simulate_needs(policy: str, options: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the numbers of a run of a packing policy, and what is known beside them."""
    from llmqueue_gym.cli.references import beside, references_of_needs
    from llmqueue_gym.evaluation import cautious_batch_means, measure

    scenario, packer = read_needs(policy, options)
    run = scenario.play(packer, seed)
    kept = run.after_warmup()
    estimate, numbers = cautious_batch_means(kept.response_times, warmup=0), measure(kept)
    interval = [estimate.low, estimate.high]
    span = float(run.outcome["completion"].max() - run.jobs["arrival"].min())
    return {
        "policy": policy,
        **needs_words(scenario, packer, options),
        "jobs": len(run),
        "seed": seed,
        "mean_response_time": numbers["mean_response_time"],
        "ci95": interval,
        **{key: numbers[key] for key in ("p50", "p99", "p99.9", "mean_slowdown", "preemptions_per_job")},
        "busy_share": run.busy / (span * run.servers),
        "jobs_per_second": len(run) / run.elapsed,
        "theory": beside(references_of_needs(packer, scenario), {"mean_response_time": interval}),
    }


def read_needs(policy: str, options: dict[str, Any]) -> tuple[Any, Any]:
    """Return the `NeedsScenario` of the options, and the packing policy.

    Raises:
        BadInput: a wrong value, or a need of more servers than there are.
    """
    from llmqueue_gym.evaluation.server_needs import NeedsScenario
    from llmqueue_gym.policies.packing import packing_policy

    packer = packing_policy(function_in_file(policy) or policy)
    if options.get("arrivals", "poisson") != "poisson":
        raise BadInput(f"--arrivals {options['arrivals']}: jobs that need several servers come as poisson")
    servers, classes = options["servers"] or SERVERS, _classes(options["needs"])
    most = max(need for need, _ in classes)
    if most > servers:
        raise BadInput(
            f"--needs {options['needs']}: {most} servers are more than the {servers} there are; --servers {most}"
        )
    scenario = NeedsScenario(
        servers=servers,
        classes=tuple((need, share, options["size"]) for need, share in classes),
        load=options["load"],
        predictor=packer.predictor or options["predictor"],
        n_jobs=options.get("jobs", 1),
    )
    return scenario, packer


def needs_words(scenario: Any, packer: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return the scenario as the options tell it."""
    return {
        "needs": list(scenario.needs),
        "shares": list(scenario.shares),
        "size": options["size"],
        "predictor": packer.predictor or options["predictor"],
        "load": scenario.load,
        "servers": scenario.servers,
    }


def _classes(text: str) -> list[tuple[int, float]]:
    """Return (need, share) of each class; equal shares where none are told."""
    parts = [part.partition(":") for part in text.split(",")]
    try:
        needs = [int(need) for need, _, _ in parts]
        shares = [float(share) if colon else math.nan for _, colon, share in parts]
    except ValueError:
        raise BadInput(f"--needs {text!r} must be whole numbers, as in 1,2,4,8, or with shares 1:0.9,4:0.1") from None
    if min(needs) < 1:
        raise BadInput(f"--needs {text!r}: {min(needs)} servers; a job needs at least 1")
    if all(math.isnan(share) for share in shares):
        shares = [1 / len(needs)] * len(needs)
    if not all(share > 0 for share in shares) or not math.isfinite(sum(shares)):
        raise BadInput(f"--needs {text!r}: give every need a share above 0, or none")
    if abs(sum(shares) - 1) > 1e-6:
        raise BadInput(f"--needs {text!r}: the shares add up to {sum(shares):g}, not to 1")
    return [(need, share / sum(shares)) for need, share in zip(needs, shares, strict=True)]
