"""Serving policies, a file for each family. To add one: write its builder and add its name here."""

from functools import partial

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.families import places
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.serving.base import ServingPolicy

__all__ = ["SERVING_POLICIES", "ServingPolicy", "serving_policy"]

_PLACES = places(
    __name__,
    shortest="vllm-priority sjf sjf-total sprpt srpt trail ssjf tie memory-time",
    gittins_lengths="gittins-lengths",
    remaining_seconds="remaining-seconds",
    merged="las ltr",
    fastserve="fastserve",
    slai="slai-like",
    memory="fcfs alpha-protect-like light-admission mc-fcfs mc-sf a-max a-min-like s3-like",
)
SERVING_POLICIES = Policies(ServingPolicy, _PLACES, partial(stored, "serving"))
serving_policy = SERVING_POLICIES.__call__
