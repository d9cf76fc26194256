"""Whether a fleet keeps up: where it does not, its queue grows for ever, which a window may end too soon to show.

Where arrivals are faster than service by a share x, waits grow by x s in each second. A window of length T, first come
first served, shows that where s x T, with s the share of requests that is wanted, is above the limit on the time until
a request is served: more than 1 - s of its requests are then too late. Where it need not show an x of `GROWTH`, as the
limit is longer, there is none on waiting, or the order lets a few wait for ever, requests are played three times over
without a break, and the tokens are counted of those that are not done when a pass ends. Passes hold the very same
requests and bursts, so a fleet that keeps up ends each with about as many; see `systems.capacity`, which compares waits
likewise.
"""

from dataclasses import replace

import numpy as np

from llmqueue_gym.planning.objective import Objective
from llmqueue_gym.systems.capacity import GROWTH, SAMPLE, repeated, stretched
from llmqueue_gym.systems.scenario import Scenario

PASSES = 3


def may_hide(objective: Objective, order: str, seconds: float) -> bool:
    """Tell whether a fleet that does not keep up may be within the limits in a window of so many s."""
    limits = [objective.limits[name] for name in ("wait", "ttft", "e2e") if name in objective.limits]
    return order != "fcfs" or min(limits, default=np.inf) > objective.share * GROWTH * seconds


def backlog(scenario: Scenario, router_name: str, seed: int, factor: float = 1.0) -> float:
    """Return by how many tokens the queue grows in a pass, as a share of those of the pass.

    Of tokens, as an order may leave few requests that are long.

    Args:
        scenario: of the windows.
        router_name: router of the fleet.
        seed: of the requests.
        factor: on their rate.
    """
    longer = replace(scenario, n_jobs=max(scenario.n_jobs, SAMPLE))
    router = longer.policy(router_name)
    drawn = longer.draw(int(seed), router)
    n = len(drawn.sizes)
    passes = repeated(drawn._replace(work=stretched(drawn.work, factor)), PASSES)
    for name in ("choices", "ties"):  # of a router that draws
        passes.truth[name] = np.concatenate([drawn.truth[name]] * PASSES)
    run = longer.system.simulate(passes, router, **longer.facts(router))
    arrivals = passes.work["arrival"]
    pass_length = arrivals[n] - arrivals[0]
    tokens, ends = run.jobs["prompt"] + run.sizes, run.outcome["completion"] - arrivals[0]
    done = [float(tokens[ends <= k * pass_length].sum()) for k in (PASSES - 1, PASSES)]
    return 1.0 - (done[1] - done[0]) / float(tokens[:n].sum())
