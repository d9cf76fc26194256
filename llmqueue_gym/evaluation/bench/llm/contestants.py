"""Who plays: every serving policy under the rules of vLLM v1, and first come first served under those of other engines.

Every policy is given the predictions of the case, `srpt` the true lengths. Where a predictor tells one number, the ends
of its interval are that number. What a policy changes in the rules, such as its batch size, it keeps.
"""

from dataclasses import dataclass

from llmqueue_gym.engines.batching.rules import Rules, rule_set
from llmqueue_gym.evaluation.bench.information import NOTHING, PREDICTION, TRUTH
from llmqueue_gym.evaluation.bench.llm.cases import OTHER_RULES, RULES
from llmqueue_gym.evaluation.bench.llm.streams import Extent
from llmqueue_gym.evaluation.bench.ranking import BASE
from llmqueue_gym.policies.serving import SERVING_POLICIES, serving_policy

ROOM = 4  # requests of greatest length that memory must hold, or Orca, which reserves that, is left out


@dataclass(frozen=True)
class Contestant:
    """A policy under a rule set.

    Attributes:
        name: of the policy; with the rule set where that is not the track's.
        policy: its spec.
        rules: the rule set, or its spec.
    """

    name: str
    policy: str
    rules: str | Rules = RULES

    @property
    def sees(self) -> str:
        """What it is told of a request."""
        made = serving_policy(self.policy)
        if (made.predictor or "").startswith("exact"):
            return TRUTH
        return PREDICTION if made.uses_predictions else NOTHING

    @property
    def may_win(self) -> bool:
        """Whether it competes; the truth is not to be had, and another engine's rules are no policy."""
        return self.rules == RULES and self.sees != TRUTH


def contestants(extent: Extent, kv_tokens: int) -> list[Contestant]:
    """Return who plays, first come first served at the head.

    Rule sets that do not cut prompts are given a budget for the longest prompt, and Orca the greatest length.

    Args:
        extent: how long the requests are.
        kv_tokens: that the memory holds.
    """
    changes = {
        "sarathi": "",
        "vllm-v0": f":token_budget={max(4096, extent.prompt)}",
        "orca": f":max_model_len={extent.total}",
    }
    names = [BASE, *(name for name in SERVING_POLICIES if name != BASE)]
    others = [rules for rules in OTHER_RULES if rules != "orca" or ROOM * extent.total <= kv_tokens]
    return [
        *(Contestant(name, name) for name in names),
        *(Contestant(f"{BASE}, {rules}", BASE, rule_set(rules + changes[rules])) for rules in others),
    ]
