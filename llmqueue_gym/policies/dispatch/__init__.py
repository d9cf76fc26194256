"""Ways of sending a job to one of many queues. To add one: write its builder in `assignments` and its name here."""

from functools import partial

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.dispatch.base import DispatchPolicy
from llmqueue_gym.policies.families import places
from llmqueue_gym.policies.learned import stored

__all__ = ["DISPATCH_POLICIES", "DispatchPolicy", "dispatch_policy"]

_PLACES = places(
    __name__,
    assignments="random round-robin power-of-d join-shortest-queue least-work least-work-left one-bit-count "
    "size-interval join-idle-queue",
)
DISPATCH_POLICIES = Policies(DispatchPolicy, _PLACES, partial(stored, "dispatch"))
dispatch_policy = DISPATCH_POLICIES.__call__
