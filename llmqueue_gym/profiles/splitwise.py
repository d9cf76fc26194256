"""Llama-2-70B and BLOOM-176B on eight GPUs, by tables of measured iterations (Patel et al., Splitwise, ISCA 2024).

Times are medians of the runs in the simulator's table. Prompts: over the runs with the same prompt tokens in all.
Decodes: runs of 128 tokens after prompts of 512, so 576 tokens of context, by batch; longer context was measured for
single requests only.
"""

import numpy as np

from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.gpus import A100, GPU, H100, replica
from llmqueue_gym.profiles.models import BLOOM_176B, CAPACITY, LLAMA2_70B, Model

MIXED = 1.1  # a batch of prompts and decodes takes so many times the prompt time of all its tokens
BATCHES = (1, 4, 8, 16, 32, 64)
SHORT, LONG = 576, 8256  # tokens of context: prompts of 512 and of 8192, and half of the 128 decoded
_LONG_PROMPTS = (1024, 2048, 4096, 8192, 16_384, 32_768)

_SOURCE = (
    "Mutinifni/splitwise-sim, data/perf_model.csv (Patel et al., Splitwise, ISCA 2024), tensor parallel over 8 GPUs:"
    " medians of 5 or more runs"
)
_ERROR = "not stated; runs of one batch differ by up to {:g} % in prompt time and {:g} % in decode time"
_ESTIMATED = (
    "decodes with more than 576 tokens of context in batches: each adds what it adds to a single request; below 576,"
    " taken as at 576; batches of prompts and decodes: 1.1 times the prompt time, as in splitwise-sim; chunks of a"
    " prompt are timed like whole prompts, so that chunked prefill looks cheaper than it is; " + CAPACITY
)


def splitwise_a100_llama2_70b(kv_tokens: int = LLAMA2_70B.kv_tokens_on(A100, 8)) -> Profile:
    """Llama-2-70B on eight A100."""
    prompts = {128: 65.35, 256: 66.76, 512: 93.02}
    prompts |= dict(zip(_LONG_PROMPTS, (160.86, 282.71, 708.36, 1780.97, 3524.54, 7553.99), strict=True))
    decodes = (44.852, 45.792, 46.465, 50.435, 53.017, 71.605)
    return _tables("splitwise-a100-llama2-70b", LLAMA2_70B, A100, prompts, decodes, 1.658, (32, 5), kv_tokens)


def splitwise_h100_llama2_70b(kv_tokens: int = LLAMA2_70B.kv_tokens_on(H100, 8)) -> Profile:
    """Llama-2-70B on eight H100; prompts of 128 to 512 tokens are one median, their order being noise."""
    prompts = {128: 53.83, 512: 53.83}
    prompts |= dict(zip(_LONG_PROMPTS, (77.68, 134.42, 376.22, 831.49, 1551.73, 2936.33), strict=True))
    decodes = (29.762, 31.786, 32.504, 34.166, 38.619, 50.161)
    return _tables("splitwise-h100-llama2-70b", LLAMA2_70B, H100, prompts, decodes, 1.650, (45, 6), kv_tokens)


def splitwise_a100_bloom_176b(kv_tokens: int = BLOOM_176B.kv_tokens_on(A100, 8)) -> Profile:
    """BLOOM-176B on eight A100."""
    prompts = {128: 79.67, 256: 99.16, 512: 174.38}
    prompts |= dict(zip(_LONG_PROMPTS, (287.47, 536.06, 1332.64, 3591.47, 5782.00, 11251.83), strict=True))
    decodes = (48.764, 51.004, 52.953, 57.341, 65.380, 96.583)
    return _tables("splitwise-a100-bloom-176b", BLOOM_176B, A100, prompts, decodes, 2.533, (18, 3), kv_tokens)


def splitwise_h100_bloom_176b(kv_tokens: int = BLOOM_176B.kv_tokens_on(H100, 8)) -> Profile:
    """BLOOM-176B on eight H100."""
    prompts = {128: 48.28, 256: 51.18, 512: 76.14}
    prompts |= dict(zip(_LONG_PROMPTS, (132.22, 251.96, 649.60, 1411.57, 2521.91, 4996.45), strict=True))
    decodes = (36.113, 38.058, 38.142, 40.640, 45.842, 63.821)
    return _tables("splitwise-h100-bloom-176b", BLOOM_176B, H100, prompts, decodes, 1.325, (16, 3), kv_tokens)


def _tables(
    name: str,
    model: Model,
    gpu: GPU,
    prompts: dict[int, float],
    decodes: tuple[float, ...],
    rise: float,
    spread: tuple[float, float],
    kv_tokens: int,
) -> Profile:
    """Return the profile; times in ms, `rise` what a single request takes longer at `LONG` than at `SHORT`."""
    by_context = [(time, time, time + batch * rise) for batch, time in zip(BATCHES, decodes, strict=True)]
    numbers = [MIXED, len(prompts), *prompts, *(time / 1000 for time in prompts.values())]
    numbers += [len(BATCHES), 3, *BATCHES, 0, SHORT, LONG, *(time / 1000 for row in by_context for time in row)]
    return Profile(
        name=name,
        model=model.name,
        form="splitwise",
        numbers=np.array(numbers),
        kv_tokens=kv_tokens,
        kv_bytes_per_token=model.kv_bytes_per_token,
        source=_SOURCE,
        error=_ERROR.format(*spread),
        estimated=_ESTIMATED,
        **replica(gpu, 8),
    )
