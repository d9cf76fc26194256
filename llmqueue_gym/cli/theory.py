"""`llmqueue theory`: the exact mean response time of a policy."""

from typing import Any

import click

from llmqueue_gym.cli.options import as_json, queue, read_policy
from llmqueue_gym.cli.output import print_json, print_result

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)  # of the size law, at which E[T | size] is told


@click.command()
@queue
@click.option("--method", type=click.Choice(["auto", "formula", "soap"]), default="auto", show_default=True)
@as_json
def theory(policy: str, size: str, predictor: str, load: float, method: Any, as_json: bool) -> None:
    """Analyse a policy exactly in the M/G/1 queue."""
    import numpy as np

    from llmqueue_gym.distributions import size_law
    from llmqueue_gym.predictors import predictor as read_predictor
    from llmqueue_gym.theory import analyse

    discipline, law = read_policy(policy), size_law(size)
    predictor = discipline.predictor or predictor
    analysis = analyse(discipline, law, read_predictor(predictor).bind(law), load, method)
    sizes = np.unique(law.ppf(np.array(QUANTILES)))
    # A formula may stand where SOAP does not apply; then nothing is known by size.
    times = np.interp(sizes, analysis.sizes, analysis.response_time_by_size) if len(analysis.sizes) else []
    by_size = [[float(x), float(t)] for x, t in zip(sizes, times, strict=False)]
    found = {
        "policy": policy,
        "size": size,
        "predictor": predictor,
        "load": load,
        "mean_response_time": analysis.mean_response_time,
        "mean_slowdown": analysis.mean_slowdown,
        "method": analysis.method,
    }
    if as_json:
        print_json({**found, "response_time_by_size": by_size})
    else:
        rows = [{"size": x, "mean response time": t, "slowdown": t / x} for x, t in by_size]
        print_result("exact", {**found, "response time by size": rows})
