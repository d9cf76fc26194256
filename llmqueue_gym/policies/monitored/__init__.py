"""Policies that watch their predictor, one file each. To add one: write the file and add its line here.

Those that do not watch it stand beside them, to be compared.
"""

from llmqueue_gym.policies.monitored.base import MonitoredPolicies, MonitoredPolicy

__all__ = ["MONITORED_POLICIES", "MonitoredPolicies", "MonitoredPolicy", "monitored_policy"]

_HERE = "llmqueue_gym.policies"

MONITORED_POLICIES = MonitoredPolicies(
    MonitoredPolicy,
    {
        "trust-until-alarm": f"{_HERE}.monitored.trust_until_alarm:trust_until_alarm",
        "blend": f"{_HERE}.monitored.blend:blend",
        "recalibrate": f"{_HERE}.monitored.recalibrate:recalibrate",
        "fcfs": f"{_HERE}.fcfs:fcfs",
        "las": f"{_HERE}.las:las",
        "pspjf": f"{_HERE}.pspjf:pspjf",
        "sprpt": f"{_HERE}.sprpt:sprpt",
        "sprpt-bounce": f"{_HERE}.sprpt_bounce:sprpt_bounce",
        "gittins": f"{_HERE}.gittins:gittins",
        "gittins-blind": f"{_HERE}.gittins:gittins_blind",
        "srpt": f"{_HERE}.sprpt:srpt",
    },
)
monitored_policy = MONITORED_POLICIES.__call__
