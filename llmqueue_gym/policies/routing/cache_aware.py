"""SGLang's router: to the replica that was sent most of the prompt before, unless loads differ much.

Loads are out of balance where the most and the least requests outstanding differ by more than `apart` and by more than
the factor `times`: then the request goes where the fewest are. Otherwise it goes where the longest beginning of its
prompt was sent, if that is more than the share `match` of it, and to the replica that was sent the fewest tokens if
not.

"-like": SGLang's tree is over letters and forgets what was not used for long when it grows too large; here the record
is over blocks of tokens and forgets what falls on the same place, and tokens sent are never forgotten.

Source: SGLang, sgl-router, cache_aware; vllm-router has the same.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.routing.base import RoutingPolicy


def score(request, site, params):
    if site.asked == 0:
        return -site.known
    match, apart, times = params[0], params[1], params[2]
    if site.most - site.least > apart and site.most > times * site.least:
        return site.outstanding
    if -site.lowest > match * request.prompt:
        return -site.known
    return site.sent


def cache_aware_like(match: float = 0.3, apart: int = 64, times: float = 1.5) -> RoutingPolicy:
    """SGLang's cache-aware router.

    Args:
        match: share of the prompt that has to be known somewhere.
        apart: requests by which the most and the least loaded replica may differ.
        times: and the factor.
    """
    if not (0 <= match <= 1 and apart >= 0 and times >= 0):
        raise BadInput(
            f"cache-aware-like: match={match:g} is a share, and apart={apart:g} and times={times:g} not negative"
        )
    params = (float(match), float(apart), float(times))
    return RoutingPolicy("cache-aware-like", score, ties="first", params=params, source="SGLang, sgl-router")
