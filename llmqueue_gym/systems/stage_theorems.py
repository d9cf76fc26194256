"""What theorems say of one server on which predictions cost, as rows of `systems.known`, for Poisson arrivals."""

import contextlib
from typing import Any

from llmqueue_gym.errors import BadInput, Unstable
from llmqueue_gym.systems.known import FLOOR, Row, load_of, poisson, row

SOURCE = "M/G/1 of jobs with stages, soap"


def predicting(policy: Any, scenario: Any) -> list[Row]:
    """Return exact values, or the floor of every policy where the theorem does not cover the policy.

    Raises:
        Unstable: predictions and jobs together are more than the server can do; the message names the true load.
    """
    from llmqueue_gym.theory.many_servers import srpt_bracket
    from llmqueue_gym.theory.stages import analyse_stages

    if not poisson(scenario):
        return []
    system, law, load = scenario.system, scenario.law, load_of(scenario)
    try:
        predictor, cheap = system.predictor(scenario, policy), system.cheap_model(scenario)
        found = analyse_stages(policy, law, predictor, load, system.costs, cheap)
    except Unstable:
        raise
    except BadInput:
        with contextlib.suppress(BadInput):
            return [row(srpt_bracket(law, load, 1).low, FLOOR, "SRPT, told all sizes for nothing")]
        return []
    rows = [row(found.mean_response_time, "exact", SOURCE)]
    if found.price > 0:
        rows += [row(found.price, "exact", SOURCE, "price_per_job"), row(found.cost, "exact", SOURCE, "cost")]
    if found.load > load * (1 + 1e-9):
        rows.append(row(found.load, "exact", SOURCE, "load_with_predictions"))
    return rows
