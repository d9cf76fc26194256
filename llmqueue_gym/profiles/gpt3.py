"""GPT-3 175B by the two figures of Mitzenmacher and Shahout's survey (Queueing, Predictions, and LLMs)."""

import numpy as np

from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.gpus import A100, replica
from llmqueue_gym.profiles.models import GPT3_175B

STEP = 0.25  # s


def gpt3_175b(kv_tokens: int = 59_520) -> Profile:
    """GPT-3 175B on A100: an iteration takes 250 ms, whatever its batch."""
    return Profile(
        name="gpt3-175b",
        model=GPT3_175B.name,
        form="roofline",
        numbers=np.array([STEP, STEP, 0, 0, 0]),
        kv_tokens=kv_tokens,
        kv_bytes_per_token=GPT3_175B.kv_bytes_per_token,
        source=(
            "Mitzenmacher and Shahout, Queueing, Predictions, and LLMs, section 3.4: about 250 ms for a decoded token"
            " and 2.3 GB of keys and values at 512 tokens (2.4e9 bytes by its 96 layers of 12288)"
        ),
        estimated=(
            "all but the decode step and the bytes of a token: no slope is given, so prompts, batch and context cost"
            " nothing more; eight GPUs, and kv_tokens that of OPT-175B, equally large, on eight A100-80GB in"
            " LLMServe/DistServe, max_num_tokens.csv"
        ),
        **replica(A100, 8),
    )
