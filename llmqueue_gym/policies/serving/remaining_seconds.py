"""Shortest predicted remaining work first, in seconds of this GPU: what is left to read and what is left to write.

Reading n tokens behind c cached ones costs token n + square ((c + n)^2 - c^2), as one prompt does in the profile, less
what an iteration costs anyway. Writing a token costs its share of an iteration of a full batch of decodes, and the
keys and values that it reads, which become more. A preempted request counts what it has to compute again. So a long
prompt with a short answer and a short prompt with a long answer are put on one scale, which ranks by output length
alone do not.

Source: shortest remaining processing time (Schrage 1968) on the cost profile; the split is an open question in section
4.1 of Mitzenmacher and Shahout, "Queueing, Predictions, and LLMs". The rank is this library's.
"""

from typing import Any

import numpy as np

from llmqueue_gym.policies.serving.base import ServingPolicy
from llmqueue_gym.policies.serving.seconds import decode_seconds, prefill_seconds

# Where the profile is looked at, tokens: prompts beyond what a GPU computes within its least iteration, and contexts.
_PROMPTS = np.array([512.0, 2048.0, 8192.0])
_NEAR, _FAR = 512.0, 2048.0


def rank(request, system, params):
    token, square, write, read = params[0], params[1], params[2], params[3]
    known = request.prompt + request.generated
    cached = request.computed
    behind = max(known - cached - 1.0, 0.0)  # the last known token is computed as the next one is written
    left = max(request.predicted - request.generated, 1.0)
    reading = behind * (token + square * (2.0 * cached + behind))
    return reading + left * (write + read * (known + 0.5 * left))


def prepare(profile: Any, rules: Any) -> np.ndarray:
    """Return seconds: per prompt token, per square of prompt tokens, per output token, per token that it reads."""
    square, token, _ = np.polyfit(_PROMPTS, prefill_seconds(profile, _PROMPTS), 2)
    batch = 128 if rules is None else rules.max_seqs
    near, far = decode_seconds(profile, batch, _NEAR), decode_seconds(profile, batch, _FAR)
    read = (far - near) / (batch * (_FAR - _NEAR))
    write = near / batch - read * _NEAR
    return np.maximum([token, square, write, read], 0.0)


def remaining_seconds(displaces: bool = False) -> ServingPolicy:
    """Shortest predicted remaining seconds first.

    Args:
        displaces: whether a waiting request takes the place of a running one that has more left.
    """
    source = "Schrage 1968 on a cost profile; Mitzenmacher and Shahout, Queueing, Predictions, and LLMs, section 4.1"
    return ServingPolicy("remaining-seconds", rank, displaces=displaces, prepare=prepare, source=source)
