"""A learned way of sending a request to one of several replicas: the least score is chosen.

Features of the request and one replica, tokens in units of `scale`: log(1 + n) of the requests outstanding there, the
output tokens w predicted to be left, the prompt tokens r to be read there before the request's first token and for it,
what the cache holds taken off, log(1 + w), log(1 + r), the share of the prompt that the cache holds, the share of the
blocks in use, the share of the requests there that wait, the replica's place among them all, from 0 to 1, and
log(p + 0.01) of the request's prompt and of its predicted output. The last two are the same for every replica; together
with the place they can keep long requests apart from short ones.
"""

import math

import numpy as np

from llmqueue_gym.policies.learned.network import checked, value
from llmqueue_gym.policies.routing.base import RoutingPolicy

FEATURES = (
    *("log outstanding", "work", "to read", "log work", "log to read", "cached share", "used share", "waiting share"),
    *("place", "log prompt", "log predicted"),
)


def score(request, site, params):
    scale = params[1]
    work = max(site.work, 0.0) / scale
    reading = (site.pending + request.prompt - site.cached) / scale
    used = 1.0 - site.free / site.blocks
    waiting = site.waiting / (1.0 + site.running + site.waiting)
    place = site.index / max(site.sites - 1.0, 1.0)
    prompt = math.log(request.prompt / scale + 0.01)
    own = math.log(request.predicted / scale + 0.01)
    logs = math.log(1.0 + site.outstanding), math.log(1.0 + work), math.log(1.0 + max(reading, 0.0))
    cached = site.cached / request.prompt
    x = (logs[0], work, reading, logs[1], logs[2], cached, used, waiting, place, prompt, own)
    return value(x, params)


def routing_score(name: str, params: np.ndarray, source: str, **traits: object) -> RoutingPolicy:
    """Return a network as a router that looks at all replicas."""
    numbers = checked(params, len(FEATURES))
    return RoutingPolicy(name, score, params=numbers, source=source, **traits)  # type: ignore[arg-type]
