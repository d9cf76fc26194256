"""`llmqueue theory`: the exact mean response time of a policy, or what is known of it."""

from dataclasses import replace
from typing import Any

import click

from llmqueue_gym.cli.asked import Asked
from llmqueue_gym.cli.options import JSON, POLICY, BySystem
from llmqueue_gym.cli.output import print_json, print_result
from llmqueue_gym.errors import BadInput

QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)  # of the size law, at which E[T | size] is told
METHOD = click.Option(
    ["--method"],
    type=click.Choice(["auto", "formula", "soap"]),
    default="auto",
    show_default=True,
    help="On one server: closed form, or the general calculator.",
)


def _theory(asked: Asked, policy: str, method: Any, as_json: bool) -> None:
    player = asked.policy(policy)
    scenario = asked.scenario(player)
    words = asked.renamed_words({"policy": policy, **asked.words(scenario, player)})
    del words["arrivals"]
    if asked.kind.name == "mg1":
        found = {**words, **_exact(scenario, player, method)}
    elif method != "auto":
        raise BadInput(f"--method {method} belongs to a single server; leave it out")
    else:
        found = {**words, **_known(scenario, player, policy)}
    if as_json:
        print_json(found)
        return
    rows = [{"size": x, "mean response time": t, "slowdown": t / x} for x, t in found.pop("response_time_by_size", ())]
    found |= {"response time by size": rows} if rows else {}
    print_result("known", {key: value for key, value in found.items() if value is not None and value is not False})


theory = BySystem(
    "theory",
    _theory,
    "Analyse a policy exactly on one server, or tell what is known of it. Without SYSTEM it is the first that takes "
    "all options.",
    (POLICY, METHOD, JSON),
    left_out=("n_jobs", "arrivals"),
    simulates=False,
)


def _exact(scenario: Any, policy: Any, method: Any) -> dict[str, Any]:
    """Return the exact results of a policy on one server."""
    import numpy as np

    from llmqueue_gym.systems.known import load_of
    from llmqueue_gym.theory import analyse

    law = scenario.law
    analysis = analyse(policy, law, scenario.system.predictor(scenario, policy), load_of(scenario), method)
    sizes = np.unique(law.ppf(np.array(QUANTILES)))
    # A formula may stand where SOAP does not apply; then nothing is known by size.
    times = np.interp(sizes, analysis.sizes, analysis.response_time_by_size) if len(analysis.sizes) else []
    return {
        "mean_response_time": analysis.mean_response_time,
        "mean_slowdown": analysis.mean_slowdown,
        "method": analysis.method,
        "response_time_by_size": [[float(x), float(t)] for x, t in zip(sizes, times, strict=False)],
    }


def _known(scenario: Any, policy: Any, spec: str) -> dict[str, Any]:
    """Return what is known of a policy.

    Raises:
        BadInput: nothing is; the message names the floor of every policy, and what is known.
    """
    from llmqueue_gym.systems.known import best_known, unknown

    rows = scenario.known(policy)
    if rows:  # what cannot be played is refused, as a theorem may not look at all that is wrong
        replace(scenario, n_jobs=1).draw(0, policy)
        policy.params_for(**scenario.facts(policy))
    best = best_known(rows)
    if best is None:
        raise BadInput(unknown(spec, scenario, rows))
    return {**best, "theory": rows}
