"""Serving policies, one file each. To add one: write the file and add its line here."""

from functools import partial

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.serving.base import ServingPolicy

__all__ = ["SERVING_POLICIES", "ServingPolicy", "serving_policy"]

_HERE = "llmqueue_gym.policies.serving"

SERVING_POLICIES = Policies(
    ServingPolicy,
    {
        "fcfs": f"{_HERE}.fcfs:fcfs",
        "vllm-priority": f"{_HERE}.vllm_priority:vllm_priority",
        "sjf": f"{_HERE}.sjf:sjf",
        "sjf-total": f"{_HERE}.sjf:sjf_total",
        "sprpt": f"{_HERE}.sprpt:sprpt",
        "srpt": f"{_HERE}.sprpt:srpt",
        "trail": f"{_HERE}.trail:trail",
        "las": f"{_HERE}.las:las",
        "fastserve": f"{_HERE}.fastserve:fastserve",
        "ltr": f"{_HERE}.ltr:ltr",
        "ssjf": f"{_HERE}.ssjf:ssjf",
        "tie": f"{_HERE}.tie:tie",
        "gittins-lengths": f"{_HERE}.gittins_lengths:gittins_lengths",
        "remaining-seconds": f"{_HERE}.remaining_seconds:remaining_seconds",
        "memory-time": f"{_HERE}.memory_time:memory_time",
        "mc-sf": f"{_HERE}.mc_sf:mc_sf",
        "mc-fcfs": f"{_HERE}.mc_sf:mc_fcfs",
        "a-max": f"{_HERE}.a_max:a_max",
        "a-min-like": f"{_HERE}.a_min:a_min_like",
        "light-admission": f"{_HERE}.light_admission:light_admission",
        "alpha-protect-like": f"{_HERE}.alpha_protect:alpha_protect_like",
        "s3-like": f"{_HERE}.s3:s3_like",
        "slai-like": f"{_HERE}.slai:slai_like",
        "class-priority": f"{_HERE}.class_priority:class_priority",
        "edf": f"{_HERE}.edf:edf",
        "least-laxity": f"{_HERE}.least_laxity:least_laxity",
        "sageserve-like": f"{_HERE}.sageserve:sageserve_like",
        "class-shares": f"{_HERE}.class_shares:class_shares",
        "vtc": f"{_HERE}.vtc:vtc",
        "uncached-then-output": f"{_HERE}.uncached_then_output:uncached_then_output",
        "longest-prefix": f"{_HERE}.longest_prefix:longest_prefix",
        "longest-prefix-aged": f"{_HERE}.longest_prefix:longest_prefix_aged",
        "longest-prefix-bounded": f"{_HERE}.longest_prefix:longest_prefix_bounded",
        "shortest-uncached": f"{_HERE}.shortest_uncached:shortest_uncached",
        "hrrn-like": f"{_HERE}.hrrn:hrrn_like",
    },
    partial(stored, "serving", "prefix-order"),
)
serving_policy = SERVING_POLICIES.__call__
