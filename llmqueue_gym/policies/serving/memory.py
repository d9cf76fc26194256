"""First come first served or smallest first, with care for the memory that requests will need until they end.

"-like" where the exact rule is not public.

Sources: ModelTC/lightllm, router request queue; Jaillet et al., "Online Scheduling for LLM Inference with KV Cache
Constraints", arXiv 2502.07115; Chen, Ye, Zhou, arXiv 2508.14544; Jin et al., "S3: Increasing GPU Utilization during
Generative Inference for Higher Throughput", NeurIPS 2023.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy
from llmqueue_gym.policies.serving.shortest import predicted

_CONSTRAINED = "Jaillet et al., Online Scheduling for LLM Inference with KV Cache Constraints, arXiv 2502.07115"


def fcfs() -> ServingPolicy:
    """First come first served; preempted requests go to the front of the queue."""
    return ServingPolicy("fcfs", source="vLLM, v1/core/sched/scheduler.py; RULES of each engine")


def alpha_protect_like(alpha: float = 0.2) -> ServingPolicy:
    """First come first served with a watermark of `alpha`.

    Where memory runs out all the same, the paper clears the whole batch; here the rule set preempts one at a time.

    Args:
        alpha: share of the blocks that stays free on admission, in [0, 1); from 0.1 to 0.3 in the paper.
    """
    if not 0 <= alpha < 1:
        raise BadInput(f"alpha-protect-like: alpha={alpha:g} must lie in [0, 1)")
    rules = {"watermark": alpha, "no_watermark": False}
    return ServingPolicy("alpha-protect-like", rules=rules, source="Jaillet et al., arXiv 2502.07115 (benchmark)")


def upper(request, system, params):
    return request.upper


def light_admission() -> ServingPolicy:
    """First come first served, admitted if memory suffices to the longest ends.

    Running requests and the candidate are counted up to the most that each may generate (`request.upper`; LightLLM has
    the client's `max_new_tokens`), at the fullest instant until they end. The schedulers of S-LoRA and VTC do the same.
    """
    return ServingPolicy("light-admission", length=upper, admission="peak", source="ModelTC/lightllm, router")


def mc_fcfs() -> ServingPolicy:
    """First come first served, admitted if memory suffices to the predicted ends (MC-Benchmark)."""
    return ServingPolicy("mc-fcfs", admission="peak", source=_CONSTRAINED)


def mc_sf() -> ServingPolicy:
    """Shortest predicted output first, admitted if memory suffices to the predicted ends.

    The first request that would not fit with all that run until their predicted ends is where the scan ends. Nobody is
    preempted as long as predictions do not fall short, every running request gets a token in every iteration, and whole
    prompts take one iteration, as in the paper's rounds: use `lookahead=1` and a token budget beyond all prompts for
    the exact model.
    """
    return ServingPolicy("mc-sf", predicted, admission="peak", source=_CONSTRAINED)


def a_max() -> ServingPolicy:
    """Smallest upper end first, admitted if memory suffices up to the upper ends.

    MC-SF with the upper ends of predicted intervals: safe where they hold, wasteful where they are wide.
    """
    return ServingPolicy("a-max", upper, length=upper, admission="peak", source="Chen, Ye, Zhou, arXiv 2508.14544")


def learned(request, system, params):
    return max(request.lower, request.generated + 1.0)


def smallest(request, system, params):
    return -max(request.lower, request.generated + 1.0)


def a_min_like() -> ServingPolicy:
    """Smallest learned lower end first, admitted if memory suffices up to these; the smallest is evicted first.

    A request counts as long as its lower end, or as one token more than it has generated if that is more. Evicted
    requests keep the tokens that they have generated and recompute the cache. The paper's pseudo-code was not at hand,
    only its abstract and introduction: how the bound is raised, and that memory is looked ahead by these bounds, is
    this library's reading.
    """
    source = "Chen, Ye, Zhou, arXiv 2508.14544, by its abstract and introduction"
    return ServingPolicy("a-min-like", learned, victim=smallest, length=learned, admission="peak", source=source)


def reserved(request, system, params):
    edge = max(request.upper, 1.0)
    while edge <= request.generated:
        edge *= 2.0
    return edge


def largest_reservation(request, system, params):
    edge = max(request.upper, 1.0)
    while edge <= request.generated:
        edge *= 2.0
    return -(request.prompt + edge)


def s3_like() -> ServingPolicy:
    """Largest reservation first, past those that do not fit; doubled for who outgrows it.

    Memory is reserved for the upper edge of the predicted length bucket. There is no public code. The paper packs whole
    batches and sends stragglers to another GPU or back; here requests join one by one as memory gets free, and the
    reservation doubles as often as needed.
    """
    source = "Jin et al., S3: Increasing GPU Utilization during Generative Inference, NeurIPS 2023"
    rank = largest_reservation
    return ServingPolicy("s3-like", rank, length=reserved, admission="reserve", skips=True, source=source)
