"""Rules that end a program of reasoning before its plan does, one file each.

To add one: write the file and add its line here.
"""

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.stopping.base import StoppingPolicy

__all__ = ["STOPPING_POLICIES", "StoppingPolicy", "stopping_policy"]

_HERE = "llmqueue_gym.policies.stopping"

STOPPING_POLICIES = Policies(
    StoppingPolicy,
    {
        "never": f"{_HERE}.never:never",
        "majority": f"{_HERE}.majority:majority",
        "posterior": f"{_HERE}.posterior:posterior",
        "certaindex": f"{_HERE}.certaindex:certaindex",
        "mean-score": f"{_HERE}.mean_score:mean_score",
        "probes-agree": f"{_HERE}.probes_agree:probes_agree",
        "dynasor": f"{_HERE}.probes_agree:dynasor",
        "predicted-budget": f"{_HERE}.predicted_budget:predicted_budget",
        "demote-overrun": f"{_HERE}.demote_overrun:demote_overrun",
    },
)
stopping_policy = STOPPING_POLICIES.__call__
