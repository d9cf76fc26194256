"""Ways of sending a job to one of many queues, one file each. To add one: write the file and add its line here."""

from functools import partial

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.dispatch.base import DispatchPolicy
from llmqueue_gym.policies.learned import stored

__all__ = ["DISPATCH_POLICIES", "DispatchPolicy", "dispatch_policy"]

_HERE = "llmqueue_gym.policies.dispatch"

DISPATCH_POLICIES = Policies(
    DispatchPolicy,
    {
        "random": f"{_HERE}.random:random",
        "round-robin": f"{_HERE}.round_robin:round_robin",
        "power-of-d": f"{_HERE}.fewest_jobs:power_of_d",
        "join-shortest-queue": f"{_HERE}.fewest_jobs:join_shortest_queue",
        "least-work": f"{_HERE}.least_work:least_work",
        "least-work-left": f"{_HERE}.least_work:least_work_left",
        "one-bit-count": f"{_HERE}.one_bit_count:one_bit_count",
        "size-interval": f"{_HERE}.size_interval:size_interval",
        "join-idle-queue": f"{_HERE}.join_idle_queue:join_idle_queue",
    },
    partial(stored, "dispatch"),
)
dispatch_policy = DISPATCH_POLICIES.__call__
