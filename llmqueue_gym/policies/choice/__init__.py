"""Rules that choose a model for each call, one file each. To add one: write the file and add its line here."""

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.choice.base import ChoicePolicy

__all__ = ["CHOICE_POLICIES", "ChoicePolicy", "choice_policy"]

_HERE = "llmqueue_gym.policies.choice"

CHOICE_POLICIES = Policies(
    ChoicePolicy,
    {
        "weakest": f"{_HERE}.fixed:weakest",
        "strongest": f"{_HERE}.fixed:strongest",
        "random-share": f"{_HERE}.random_share:random_share",
        "win-threshold": f"{_HERE}.win_threshold:win_threshold",
        "cascade": f"{_HERE}.cascade:cascade",
        "hedge": f"{_HERE}.hedge:hedge",
        "budgeted": f"{_HERE}.budgeted:budgeted",
        "least-cost": f"{_HERE}.least_cost:least_cost",
        "bandit": f"{_HERE}.bandit:bandit",
        "bandit-cost": f"{_HERE}.bandit_cost:bandit_cost",
        "effort-by-load": f"{_HERE}.effort_by_load:effort_by_load",
    },
)
choice_policy = CHOICE_POLICIES.__call__
