"""Policies for jobs that run on a number of servers of the scheduler's choice, one file each.

To add one: write the file and add its line here. Most serve in order of arrival, or with `shortest_first=true` whoever
is predicted to have the least work.
"""

from functools import partial

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.moldable.base import MoldablePolicy

__all__ = ["MOLDABLE", "MoldablePolicy", "moldable_policy"]

_HERE = "llmqueue_gym.policies.moldable"

MOLDABLE = Policies(
    MoldablePolicy,
    {
        "one-server": f"{_HERE}.one_server:one_server",
        "all-servers": f"{_HERE}.all_servers:all_servers",
        "fixed-width": f"{_HERE}.fixed_width:fixed_width",
        "equal-share": f"{_HERE}.equal_share:equal_share",
        "efficiency": f"{_HERE}.efficiency:efficiency",
        "finish-soonest": f"{_HERE}.finish_soonest:finish_soonest",
        "least-delay": f"{_HERE}.least_delay:least_delay",
    },
    partial(stored, "moldable"),
)
moldable_policy = MOLDABLE.__call__
