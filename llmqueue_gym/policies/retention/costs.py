"""What the wastes are reckoned with: the published constants, or those of the replica in question.

A profile gives the time of an iteration that reads n tokens; the line through 1 token and a full budget stands for it.
Swaps take what the blocks take on the link to the host.
"""

from typing import Any, Literal, NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.retention.waste import BUDGET, INFERCEPT, LAMPS, LAMPS_SWAP
from llmqueue_gym.policies.serving.seconds import prefill_seconds

Source = Literal["infercept", "lamps", "profile"]
_MOST = 8192  # tokens of an iteration, where the rules set no less


class Costs(NamedTuple):
    """Numbers of `waste`, in the order in which policies have them in `params`.

    Attributes:
        per_token: ms a token that is computed.
        base: ms an iteration.
        budget: tokens of an iteration.
        both_ways: ms a token for going to the host and coming back; 0 where a token costs `one_way` each way and that
            is all.
        swap_base: ms an iteration for that.
        one_way: ms a token each way for which those who run wait.
    """

    per_token: float
    base: float
    budget: float
    both_ways: float
    swap_base: float
    one_way: float


PUBLISHED = {
    "infercept": Costs(*INFERCEPT, BUDGET, *LAMPS_SWAP),
    "lamps": Costs(*LAMPS, BUDGET, *LAMPS_SWAP),
}


def costs_of(profile: Any, rules: Any) -> Costs:
    """Return the costs on a replica.

    Args:
        profile: its cost profile, of a form that `prefill_seconds` knows.
        rules: rule set, for its token budget and its link to the host.

    Raises:
        BadInput: the profile does not say how many bytes a token has.
    """
    budget = float(min(rules.token_budget or _MOST, _MOST))
    one, full = 1000 * prefill_seconds(profile, np.array([1.0, budget]))
    per_token = (full - one) / max(budget - 1, 1)
    profile.check_transfers("a policy that reckons swaps")
    there = 1000 * profile.kv_bytes_per_token / rules.bandwidth
    return Costs(float(per_token), float(one - per_token), budget, 0.0, 0.0, there)


def check_costs(policy: str, costs: str, published: str) -> None:
    """Refuse costs of another name than the published ones and "profile"."""
    if costs not in (published, "profile"):
        raise BadInput(f"{policy}: costs={costs!r}; choose {published} or profile")
