"""Shortest request first, in several senses. Nobody is preempted but where memory is short, unless told otherwise.

Sources: Smith's rule; Mitzenmacher, "Scheduling with Predictions and the Price of Misprediction", ITCS 2020, for one
server; Fu et al., "Efficient LLM Scheduling by Learning to Rank", NeurIPS 2024, where SJF is a baseline; Qiu et al.,
"Efficient Interactive LLM Serving with Proxy Model-based Sequence Length Prediction", 2024, and
JamesQiuHaoran/LLM-serving-with-proxy-models; Shahout et al., "Don't Stop Me Now: Embedding Based Scheduling for LLMs",
ICLR 2025 (c=0.8), and harvard-cns/TRAIL-llm-scheduling, which adds the margin and is released with c=0; Jaillet et al.,
arXiv 2502.07115, in whose memory model a request in its k-th round holds prompt + k; TIE, arXiv 2604.00499.
"""

import math

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy

_BASELINE = "Fu et al., Efficient LLM Scheduling by Learning to Rank, NeurIPS 2024 (baseline)"
_OLD = -1e9  # tokens; below any predicted remainder
_STARVING = -1e12
_TENTH = 1.2815515655446004  # quantile 0.9 of the standard normal law


def predicted(request, system, params):
    return request.predicted


def first_predicted(request, system, params):
    return request.first_predicted


def total(request, system, params):
    return request.prompt + request.predicted


def remaining(request, system, params):
    return request.predicted - request.generated


def vllm_priority() -> ServingPolicy:
    """Shortest predicted output first among those that wait; the longest is preempted where memory is short.

    The priority is set on arrival and stays, as in vLLM; a waiting request never takes the place of a running one.
    """
    return ServingPolicy("vllm-priority", first_predicted, source="vLLM, --scheduling-policy priority")


def sjf() -> ServingPolicy:
    """Shortest predicted output first; who runs is not displaced.

    The prediction is the present one, so it follows a predictor that is asked again.
    """
    return ServingPolicy("sjf", predicted, source=_BASELINE)


def sjf_total() -> ServingPolicy:
    """Shortest prompt and predicted output together first; who runs is not displaced."""
    return ServingPolicy("sjf-total", total, source=_BASELINE)


def sprpt() -> ServingPolicy:
    """Shortest predicted remaining output first; running requests are displaced.

    A waiting request displaces the running one that has most left, if that is more than its own.
    """
    source = "Mitzenmacher, ITCS 2020; Shahout et al., Don't Stop Me Now (Trail), ICLR 2025"
    return ServingPolicy("sprpt", remaining, displaces=True, source=source)


def srpt() -> ServingPolicy:
    """Shortest remaining output first: sprpt that is told the true length."""
    return sprpt().with_exact_sizes("srpt")


def most_left_of_the_young(request, system, params):
    left = request.predicted - request.generated
    return left if request.generated < params[0] * request.first_predicted else left + _OLD


def trail(c: float = 0.8, margin: float = 0.0) -> ServingPolicy:
    """Trail.

    A running request can be displaced during its first `c` times first predicted length tokens, while its cache is
    small; c=0 turns that off, c=1 is nearly `sprpt`. Where memory is short those that are past it go last.

    Args:
        c: share of the first prediction up to which a running request can be displaced, in [0, 1].
        margin: tokens by which a request has to be shorter than the one that it displaces.
    """
    if not 0 <= c <= 1:
        raise BadInput(f"trail: c={c:g} must lie in [0, 1]")
    if not margin >= 0:
        raise BadInput(f"trail: margin={margin:g} must not be negative")
    source = "Shahout et al., Don't Stop Me Now: Embedding Based Scheduling for LLMs (Trail), ICLR 2025"
    victim = most_left_of_the_young
    return ServingPolicy("trail", remaining, (c,), victim=victim, displaces=True, margin=margin, source=source)


def starving_first(request, system, params):
    waited = system.clock - request.arrival
    execution = params[0] + params[1] * request.predicted
    if waited > params[2] or waited > params[3] * execution:
        return _STARVING + request.arrival
    return request.predicted


def ssjf(longest_wait: float = 100.0, stretch: float = 10.0) -> ServingPolicy:
    """Shortest predicted output first, the long waiting before them.

    Predicted execution times are 0.1 s and 0.02 s a token. In the source only the longest waiting request is put to the
    test, here each one, so that a short request does not hide behind a long one.

    Args:
        longest_wait: s after which a request goes first.
        stretch: predicted execution times after which it does.
    """
    source = "Qiu et al., Efficient Interactive LLM Serving with Proxy Model-based Sequence Length Prediction, 2024"
    params = (0.1, 0.02, longest_wait, stretch)
    return ServingPolicy("ssjf", starving_first, params, ages=True, victim=predicted, source=source)


def length_and_arrival(request, system, params):
    return params[0] * request.predicted + params[1] * request.arrival


def tie(alpha: float = 3.0, beta: float = 2.0, sigma: float = 0.5) -> ServingPolicy:
    """TIE with log-normal lengths.

    The rank is expected output length, plus `beta` times its conditional value at risk, minus `alpha` times the time
    waited. All waits grow alike, so arrival times order requests as waits do, and no queue is ranked anew.

    With log-normal output lengths around the prediction y as median, E = y exp(sigma^2 / 2), and the mean of the worst
    tenth is CVaR = E Phi(sigma - 1.2816) / 0.1. The paper fits log-t laws, which have no mean in closed form; the
    log-normal forms and the default weights are those of a public re-implementation, at moderate overload.

    Args:
        alpha: tokens that a second of waiting is worth.
        beta: weight of the worst tenth.
        sigma: standard deviation of log(true / predicted); should be that of the predictor.
    """
    if not 0 <= sigma < math.inf:
        raise BadInput(f"tie: sigma={sigma:g} must be finite and not negative")
    if not (alpha >= 0 and beta >= 0):
        raise BadInput(f"tie: alpha={alpha:g} and beta={beta:g} must not be negative")
    mean = math.exp(sigma**2 / 2)
    worst = mean * 0.5 * math.erfc((_TENTH - sigma) / math.sqrt(2)) / 0.1
    return ServingPolicy("tie", length_and_arrival, (mean + beta * worst, alpha), source="TIE, arXiv 2604.00499")


def token_iterations(request, system, params):
    left = max(request.predicted - request.generated, 1.0)
    known = request.prompt + request.generated
    return left * (known + 0.5 * (left + 1.0))


def memory_time(displaces: bool = False) -> ServingPolicy:
    """Smallest predicted token-iterations of cache first.

    A request of k known tokens with R tokens left holds k + 1, ..., k + R tokens: R k + R (R + 1) / 2 token-iterations.
    Where memory is what limits the batch, this is the work that a request brings: by Smith's rule shortest work first.
    """
    source = "Smith's rule on the memory model of Jaillet et al., arXiv 2502.07115; this library's"
    return ServingPolicy("memory-time", token_iterations, displaces=displaces, source=source)
