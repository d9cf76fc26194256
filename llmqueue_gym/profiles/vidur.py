"""Llama models by roofline formulas, fitted to the operator times that ship with Vidur (Agrawal et al., MLSys 2024).

Embedding, sampling and the work of the host are in none of Vidur's times.
"""

import numpy as np

from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.gpus import A100, GPU, H100, replica
from llmqueue_gym.profiles.models import CAPACITY, LLAMA2_7B, LLAMA2_70B, LLAMA3_8B, Model

_SOURCE = (
    "Roofline fitted to the profiled operators of microsoft/vidur 7d47513 (Agrawal et al., Vidur, MLSys 2024): the sum"
    " over layers; no embedding, sampling or host time"
)
_H100 = (
    "the attention terms (pair, context): A100 decode times times 2.039/3.35, the ratio of the bandwidths, and A100"
    " prefill times over 1.7"
)
_VIDUR_BLOCKS = 3328 * 16  # as in reference runs of Vidur with Llama-2-70B on two A100
_BLOCKS = "kv_tokens is 3328 blocks of 16, as in Vidur's own runs on two A100-80GB"


def a100_llama3_8b(kv_tokens: int = LLAMA3_8B.kv_tokens_on(A100)) -> Profile:
    """Llama-3-8B on one A100."""
    note = "attention, fitted to about 95 sampled points (decode 12.8 %, prefill 9.4 % off)"
    numbers = (10.426, 7.1369, 0.064384, 4.5208e-6, 8.9908e-5)
    return _roofline("a100-llama3-8b", LLAMA3_8B, A100, 1, numbers, (3.9, 10.1, -0.46), kv_tokens, note, CAPACITY)


def a100_llama2_7b(kv_tokens: int = LLAMA2_7B.kv_tokens_on(A100)) -> Profile:
    """Llama-2-7B on one A100."""
    note = (
        "attention: decode fitted to 44 sampled points (8.8 % off), prefill that of Llama-2-70B on two GPUs over 0.79,"
        " the mean ratio at 24 sampled points"
    )
    numbers = (9.5139, 7.0653, 0.062103, 4.9353e-6, 2.685e-4)
    return _roofline("a100-llama2-7b", LLAMA2_7B, A100, 1, numbers, (4.35, 13.0, -0.94), kv_tokens, note, CAPACITY)


def a100_llama2_70b_tp2(kv_tokens: int = _VIDUR_BLOCKS) -> Profile:
    """Llama-2-70B on two A100, all parts measured."""
    numbers = (57.559, 42.692, 0.32111, 9.7473e-6, 1.1497e-4)
    return _roofline("a100-llama2-70b-tp2", LLAMA2_70B, A100, 2, numbers, (4.0, 10.6, -0.12), kv_tokens, "", _BLOCKS)


def h100_llama2_7b(kv_tokens: int = LLAMA2_7B.kv_tokens_on(H100)) -> Profile:
    """Llama-2-7B on one H100; attention estimated."""
    numbers = (5.6761, 5.6861, 0.019729, 2.9031e-6, 1.6343e-4)
    return _roofline("h100-llama2-7b", LLAMA2_7B, H100, 1, numbers, (3.86, 13.7, -0.63), kv_tokens, _H100, CAPACITY)


def h100_llama2_70b_tp2(kv_tokens: int = _VIDUR_BLOCKS) -> Profile:
    """Llama-2-70B on two H100; attention estimated."""
    numbers = (31.722, 25.469, 0.11237, 5.7337e-6, 6.9976e-5)
    blocks = _BLOCKS + ", which have as much memory"
    return _roofline("h100-llama2-70b-tp2", LLAMA2_70B, H100, 2, numbers, (5.9, 15.6, -0.82), kv_tokens, _H100, blocks)


def _roofline(
    name: str,
    model: Model,
    gpu: GPU,
    count: int,
    milliseconds: tuple[float, ...],
    error: tuple[float, float, float],
    kv_tokens: int,
    note: str,
    capacity: str,
) -> Profile:
    mape, p95, bias = error
    return Profile(
        name=name,
        model=model.name,
        form="roofline",
        numbers=np.array(milliseconds) / 1000,
        kv_tokens=kv_tokens,
        kv_bytes_per_token=model.kv_bytes_per_token,
        source=_SOURCE,
        error=f"mean absolute error {mape:g} %, 95th percentile {p95:g} %, bias {bias:g} % over 1500 random batches",
        estimated="; ".join(part for part in (note, capacity) if part),
        **replica(gpu, count),
    )
