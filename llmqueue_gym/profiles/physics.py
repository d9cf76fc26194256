"""What an iteration takes by the speed of a GPU and the size of a model, where nobody measured it.

An iteration reads all weights once, of the experts those that its tokens go to, and it multiplies each token with them.
What is read and what is computed overlap in part. Attention of prompts is computed, that of decodes is read. Sums over
the GPUs of a replica come twice a layer. How far short of the data sheets all this falls are eight factors, fitted to
iterations of five operator profiles on A100 and H100 and of four runs of vLLM on other GPUs, and told with their error
by `experiments/roofline_factors.py`.

BLIS (inference-sim, trained-physics) has such factors, too. Its 0.152 for prompts, fitted to latencies of requests, has
them computed at 6.6 times the peak of the data sheet, so that factors are fitted to iterations here; the times of a
layer and of an iteration are its own.
"""

from dataclasses import dataclass

import numpy as np

from llmqueue_gym.profiles.gpus import GPU
from llmqueue_gym.profiles.models import Model


@dataclass(frozen=True)
class Factors:
    """Shares of what the data sheets promise, and fixed times.

    Attributes:
        weights: of the bandwidth of the memory, for weights.
        cache: likewise, for keys and values.
        compute: of the peak, for products with weights.
        experts: likewise, for products with the weights of experts.
        attention: of the 16-bit peak, for attention of prompts.
        link: of the bandwidth between GPUs, for sums over them.
        overlap: of the time to read that computing cannot hide.
        sum: s that a sum over GPUs takes at least.
        layer: s a layer, for launches and what is small.
        step: s an iteration, for the host.
    """

    weights: float
    cache: float
    compute: float
    experts: float
    attention: float
    link: float
    overlap: float
    sum: float
    layer: float = 32.1e-6
    step: float = 126e-6


FITTED = Factors(
    weights=0.796, cache=0.907, compute=0.716, experts=0.146, attention=0.35, link=0.35, overlap=0.769, sum=35e-6
)
ERROR = (
    "not measured; with the same shares, iterations of eight measured replicas are 3 to 20 % off, 9 % on average, each "
    "left out of the fit, and mean end-to-end times of four replayed runs of vLLM -15 to +15 %, mean times to first "
    "token -31 to +15 %"
)


def roofline(
    model: Model, gpu: GPU, count: int = 1, weight_bytes: float = 2, kv_bytes: float = 2, factors: Factors = FITTED
) -> tuple[str, np.ndarray]:
    """Return the form, "roofline" or "experts", and its numbers `(k,)`, s.

    Args:
        model: what is served.
        gpu: one of the GPUs.
        count: GPUs that share each layer.
        weight_bytes: of a weight; at 1 products are computed at the 8-bit peak, if there is one.
        kv_bytes: of a number in the cache.
        factors: how far short of the data sheet all is.
    """
    read = weight_bytes / (count * gpu.bandwidth * factors.weights)  # s a parameter
    sums = 2.0 * model.layers if count > 1 else 0.0
    fixed = model.always_read * read + factors.layer * model.layers + factors.step + sums * factors.sum
    peak = count * (gpu.flops8 if weight_bytes <= 1 and gpu.flops8 else gpu.flops)
    chosen = model.expert_parameters * model.chosen / model.experts if model.experts else 0.0
    token = 2 * ((model.multiplied - chosen) / factors.compute + chosen / factors.experts) / peak
    token += sums * model.hidden * 2 * 2 * (count - 1) / count / (gpu.link * factors.link)
    pair = 4.0 * model.layers * model.heads * model.head_dim / (count * gpu.flops * factors.attention)
    context = model.kv_bytes_held(count, kv_bytes) / (count * gpu.bandwidth * factors.cache)
    if not model.experts:
        return "roofline", np.array([fixed, factors.overlap * fixed, token, pair, context])
    share = model.chosen / model.experts
    return "experts", np.array([fixed, model.expert_parameters * read, share, factors.overlap, token, pair, context])
