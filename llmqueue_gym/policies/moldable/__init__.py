"""Policies for jobs that run on a number of servers of the scheduler's choice.

To add one: write its builder in `disciplines` and add its name here.
"""

from functools import partial

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.families import places
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.moldable.base import MoldablePolicy

__all__ = ["MOLDABLE", "MoldablePolicy", "moldable_policy"]

_PLACES = places(
    __name__,
    disciplines="one-server all-servers fixed-width equal-share efficiency finish-soonest least-delay",
)
MOLDABLE = Policies(MoldablePolicy, _PLACES, partial(stored, "moldable"))
moldable_policy = MOLDABLE.__call__
