"""OPT models by the formulas of DistServe's simulator (Zhong et al., DistServe, OSDI 2024), measured on A100-80GB.

Prompts and decodes have a formula each. Its host overhead is 2 ms and 1e-4 ms for each token of context in the batch;
the latter part is added to the slopes for prompt tokens and context here, because an engine counts only new tokens.
"""

import numpy as np

from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.gpus import A100, replica
from llmqueue_gym.profiles.models import OPT_13B, OPT_66B, Model

SWITCH = 95  # decodes from which on the second line for decodes holds
STAGE_MS, OVERHEAD_MS, OVERHEAD_TOKEN_MS = 1.0, 2.0, 1e-4  # for the one pipeline stage, an iteration, a context token

_SOURCE = (
    "LLMServe/DistServe 82831f1, simdistserve/estimators, profile_data/profiler-a100-80g (Zhong et al., DistServe,"
    " OSDI 2024), coefficients to three digits; kv_tokens from its max_num_tokens.csv"
)
_ESTIMATED = (
    "a batch of prompts and decodes, which DistServe never times as one: the larger base, and all slopes added; a later"
    " chunk of a prompt, timed as if nothing were cached"
)

_Line = tuple[float, float, float]


def distserve_opt_13b_tp1(kv_tokens: int = 66_144) -> Profile:
    """OPT-13B on one A100; decode time falls by 1.4 ms from 94 to 95 decodes, as the source has it."""
    lines = (18.10, 0.1019, 7.12e-6), (19.93, 6.27e-4, 0.0385), (7.17, 5.80e-4, 0.158)
    return _phases("distserve-opt-13b-tp1", OPT_13B, 1, lines, kv_tokens)


def distserve_opt_13b_tp2(kv_tokens: int = 163_008) -> Profile:
    """OPT-13B on two A100."""
    lines = (14.74, 0.0686, 2.45e-6), (13.29, 3.41e-4, 0.0630), (10.64, 3.12e-4, 0.0856)
    return _phases("distserve-opt-13b-tp2", OPT_13B, 2, lines, kv_tokens)


def distserve_opt_13b_tp4(kv_tokens: int = 356_736) -> Profile:
    """OPT-13B on four A100."""
    lines = (12.06, 0.0381, 5.2e-7), (10.26, 1.88e-4, 0.0327), (10.48, 1.71e-4, 0.0457)
    return _phases("distserve-opt-13b-tp4", OPT_13B, 4, lines, kv_tokens)


def distserve_opt_66b_tp4(kv_tokens: int = 78_496) -> Profile:
    """OPT-66B on four A100."""
    lines = (29.44, 0.151, 8.3e-6), (30.76, 4.5e-4, 0.0633), (27.47, 4.0e-4, 0.125)
    return _phases("distserve-opt-66b-tp4", OPT_66B, 4, lines, kv_tokens)


def vllm_opt_13b_tp1(kv_tokens: int = 66_144) -> Profile:
    """OPT-13B on one A100 under the vLLM of 2023, as DistServe's authors timed it."""
    lines = (22.05, 0.1405, 8.08e-6), (23.48, 5.93e-4, 0.0607), (20.21, 4.91e-4, 0.120)
    return _phases("vllm-opt-13b-tp1", OPT_13B, 1, lines, kv_tokens)


def _phases(name: str, model: Model, gpus: int, lines: tuple[_Line, _Line, _Line], kv_tokens: int) -> Profile:
    prefill, few, many = lines
    milliseconds = [prefill[0] + STAGE_MS, prefill[1] + OVERHEAD_TOKEN_MS, prefill[2]]
    for base, context, request in (few, many):
        milliseconds += [base, context + OVERHEAD_TOKEN_MS, request]
    milliseconds += [OVERHEAD_MS, 0.0]
    seconds = np.array(milliseconds) / 1000
    return Profile(
        name=name,
        model=model.name,
        form="phases",
        numbers=np.insert(seconds, 3, SWITCH),
        kv_tokens=kv_tokens,
        kv_bytes_per_token=model.kv_bytes_per_token,
        source=_SOURCE,
        estimated=_ESTIMATED,
        **replica(A100, gpus),
    )
