"""The largest rate at which enough requests are within their objectives, for studies that compare fleets.

A request is within them where its first token comes in time and its later tokens do, on average. The rate is looked for
by bisection on one seed's requests, which stay the same at every rate but for their times, so that two fleets meet the
very same requests and their ratio is paired.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from llmqueue_gym.evaluation.serving import measure
from llmqueue_gym.systems import Scenario

STEP, PRECISION = 1.3, 1.02  # factors: of the search for both ends, and between them at last
SLOWEST = 1e-3  # requests/s, below which there is none
WARMUP = 0.1  # share of the requests that is left out


@dataclass(frozen=True)
class Objectives:
    """What a request is to meet, and how many have to.

    Attributes:
        ttft: most s until the first token.
        tpot: most s for each later token, on average.
        share: of the requests.
    """

    ttft: float
    tpot: float
    share: float = 0.9


def holds(where: Scenario, player: Any, seed: int, rate: float, asked: Objectives) -> bool:
    """Tell whether enough requests are within their objectives at a rate."""
    run = replace(where, load=None, rate=rate).simulate(player, seed)
    told = measure(run, ttft_slo=asked.ttft, tpot_slo=asked.tpot, warmup=WARMUP)
    return bool(run.done.all() and told["attainment"] >= asked.share)


def goodput(where: Scenario, player: Any, seed: int, asked: Objectives, guess: float) -> float:
    """Return the largest rate at which enough requests are within their objectives, requests/s; 0 where there is none.

    Args:
        where: the fleet and its requests; its own load and rate do not matter.
        player: the router.
        seed: of the requests.
        asked: objectives.
        guess: requests/s to begin with.
    """
    return largest_rate(lambda rate: holds(where, player, seed, rate, asked), guess)


def largest_rate(keeps: Callable[[float], bool], guess: float) -> float:
    """Return the largest rate at which something holds, to 2 %, requests/s; 0 where there is none."""
    low = high = guess
    if keeps(guess):
        while keeps(high := high * STEP):
            low = high
    else:
        while not keeps(low := low / STEP):
            high = low
            if low < SLOWEST:
                return 0.0
    while high / low > PRECISION:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if keeps(middle) else (low, middle)
    return low
