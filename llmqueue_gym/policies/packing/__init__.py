"""Policies for jobs that need several servers, one file each. To add one: write the file and add its line here."""

from functools import partial

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.packing.base import PackingPolicy

__all__ = ["PACKING", "PackingPolicy", "packing_policy"]

_HERE = "llmqueue_gym.policies.packing"

PACKING = Policies(
    PackingPolicy,
    {
        "fcfs": f"{_HERE}.fcfs:fcfs",
        "first-fit": f"{_HERE}.first_fit:first_fit",
        "preemptive-first-fit": f"{_HERE}.first_fit:preemptive_first_fit",
        "least-servers-first": f"{_HERE}.least_servers_first:least_servers_first",
        "most-servers-first": f"{_HERE}.most_servers_first:most_servers_first",
        "max-weight": f"{_HERE}.max_weight:max_weight",
        "easy": f"{_HERE}.easy:easy",
        "server-filling": f"{_HERE}.server_filling:server_filling",
        "server-filling-sprpt": f"{_HERE}.server_filling_srpt:server_filling_sprpt",
        "server-filling-srpt": f"{_HERE}.server_filling_srpt:server_filling_srpt",
        "greedy-sprpt": f"{_HERE}.greedy_srpt:greedy_sprpt",
        "greedy-srpt": f"{_HERE}.greedy_srpt:greedy_srpt",
        "first-fit-sprpt": f"{_HERE}.first_fit_srpt:first_fit_sprpt",
        "first-fit-srpt": f"{_HERE}.first_fit_srpt:first_fit_srpt",
        "msfq": f"{_HERE}.msfq:msfq",
    },
    partial(stored, "packing"),
)
packing_policy = PACKING.__call__
