"""Orders of the calls of programs, one file each, beside those that see each call by itself.

To add one: write the file and add its line here.
"""

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.serving import ServingPolicy

__all__ = ["PROGRAM_POLICIES", "program_policy"]

_HERE, _SERVING = "llmqueue_gym.policies.programs", "llmqueue_gym.policies.serving"

PROGRAM_POLICIES = Policies(
    ServingPolicy,
    {
        "fcfs": f"{_SERVING}.fcfs:fcfs",
        "program-fcfs": f"{_HERE}.program_fcfs:program_fcfs",
        "sjf": f"{_SERVING}.sjf:sjf",
        "sprpt": f"{_SERVING}.sprpt:sprpt",
        "srpt": f"{_SERVING}.sprpt:srpt",
        "trail": f"{_SERVING}.trail:trail",
        "elis-like": f"{_HERE}.elis:elis_like",
        "las": f"{_SERVING}.las:las",
        "plas-like": f"{_HERE}.plas:plas_like",
        "atlas-like": f"{_HERE}.plas:atlas_like",
        "program-srpt": f"{_HERE}.program_srpt:program_srpt",
        "program-srpt-preemptive": f"{_HERE}.program_srpt:program_srpt_preemptive",
        "critical-path": f"{_HERE}.critical_path:critical_path",
        "thought-srpt": f"{_HERE}.thought_srpt:thought_srpt",
        "lamps-like": f"{_SERVING}.lamps:lamps_like",
        "deepest-first": f"{_HERE}.deepest_first:deepest_first",
        "parrot-groups": f"{_HERE}.parrot_groups:parrot_groups",
    },
)
program_policy = PROGRAM_POLICIES.__call__
