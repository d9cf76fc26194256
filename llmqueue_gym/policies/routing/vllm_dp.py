"""vLLM's balancing of data-parallel engines: least 4 * waiting + running, as they last reported.

What was sent there since counts as waiting, so that a burst between two reports is spread. The first of several is
chosen. The reports come every 100 ms in vLLM, which is `staleness` of the fleet. BLIS has the rule without what was
sent since (`since=false`).

Source: vllm-project/vllm, DPLBAsyncMPClient, of one client; inference-sim (BLIS).
"""

from llmqueue_gym.policies.routing.base import RoutingPolicy

_WAITING = 4.0  # running requests that a waiting one counts as


def score(request, site, params):
    return _WAITING * (site.waiting + params[0] * site.since) + site.running


def vllm_dp(since: bool = True) -> RoutingPolicy:
    """Least 4 * waiting + running.

    Args:
        since: whether what was sent since the last report counts.
    """
    return RoutingPolicy("vllm-dp", score, ties="first", params=(float(since),), source="vLLM, DPLBAsyncMPClient")
