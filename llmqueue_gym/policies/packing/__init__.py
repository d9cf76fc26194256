"""Policies for jobs that need several servers. To add one: write its builder in `disciplines` and add its name here."""

from functools import partial

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.families import places
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.packing.base import PackingPolicy

__all__ = ["PACKING", "PackingPolicy", "packing_policy"]

_PLACES = places(
    __name__,
    disciplines="fcfs first-fit preemptive-first-fit least-servers-first most-servers-first max-weight easy "
    "server-filling server-filling-sprpt server-filling-srpt greedy-sprpt greedy-srpt first-fit-sprpt first-fit-srpt "
    "msfq",
)
PACKING = Policies(PackingPolicy, _PLACES, partial(stored, "packing"))
packing_policy = PACKING.__call__
