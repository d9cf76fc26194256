"""Rules that say which node of a tree of reasoning is expanded next, one file each.

To add one: write the file and add its line here. How many children each gets under Rebase is `theory.expansion`.
"""

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.expansion.base import ExpansionPolicy

__all__ = ["EXPANSION_POLICIES", "ExpansionPolicy", "expansion_policy"]

_HERE = "llmqueue_gym.policies.expansion"

EXPANSION_POLICIES = Policies(
    ExpansionPolicy,
    {
        "uct": f"{_HERE}.uct:uct",
        "puct": f"{_HERE}.puct:puct",
        "best-first": f"{_HERE}.best_first:best_first",
        "breadth-first": f"{_HERE}.breadth_first:breadth_first",
    },
)
expansion_policy = EXPANSION_POLICIES.__call__
