"""What a prompt token takes under a cost profile, for routers that reckon in seconds."""

from typing import Any

import numpy as np

from llmqueue_gym.policies.serving.seconds import prefill_seconds

_MOST = 8192  # tokens of an iteration, where the rules set no less


def seconds_per_token(profile: Any, rules: Any) -> float:
    """Return the time of an iteration that is full of prompt tokens, over its tokens, s.

    Args:
        profile: as in `prefill_seconds`.
        rules: rule set, for its token budget.
    """
    tokens = float(min(rules.token_budget or _MOST, _MOST))
    return float(prefill_seconds(profile, np.array([tokens]))[0] / tokens)
