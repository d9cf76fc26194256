"""`llmqueue theory`: the exact mean response time of a policy; on several servers what is known of it."""

from typing import Any

import click

from llmqueue_gym.cli.options import CLUSTER, Grouped, as_json, queue, read_policy, several_servers, stable
from llmqueue_gym.cli.output import print_json, print_result
from llmqueue_gym.errors import BadInput

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)  # of the size law, at which E[T | size] is told


@click.command(cls=Grouped)
@queue
@click.option(
    "--method",
    type=click.Choice(["auto", "formula", "soap"]),
    default="auto",
    show_default=True,
    help="On one server: closed form, or the general calculator.",
)
@several_servers
@as_json
def theory(policy: str, method: Any, as_json: bool, **options: Any) -> None:
    """Analyse a policy exactly in the M/G/1 queue, or tell what is known of it on several servers.

    On several servers an exact value, an approximation, a limit and a bound each say what they are.
    """
    if options["patience"] is None:
        stable(options["load"])
    if any(options[name] is not None for name in CLUSTER):
        if method != "auto":
            raise BadInput(f"--method {method} belongs to a single server; leave it out")
        found = _several(policy, options)
        if as_json:
            print_json(found)
        else:
            print_result("known", {key: value for key, value in found.items() if value is not None})
        return
    _single(policy, options["size"], options["predictor"], options["load"], method, as_json)


def _single(policy: str, size: str, predictor: str, load: float, method: Any, as_json: bool) -> None:
    """Print the exact results of a policy on one server."""
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


def _several(policy: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what is known of a policy on several servers.

    Raises:
        BadInput: nothing is; the message names the floor of every policy, and what is known.
    """
    from llmqueue_gym.cli.cluster import cluster_words, read_cluster, refuse_excluded
    from llmqueue_gym.cli.needs import needs_words, read_needs
    from llmqueue_gym.cli.references import best_known, references, references_of_needs, unknown

    refuse_excluded(options)
    if options["needs"] is not None:
        packing, packer = read_needs(policy, options)
        words, rows = needs_words(packing, packer, options), references_of_needs(packer, packing)
    else:
        scenario, discipline, dispatcher = read_cluster(policy, options)
        words, rows = cluster_words(scenario, discipline, options), references(discipline, scenario, dispatcher)
    best = best_known(rows)
    if best is None:
        raise BadInput(unknown(policy, words, rows))
    return {"policy": policy, **words, **best, "theory": rows}
