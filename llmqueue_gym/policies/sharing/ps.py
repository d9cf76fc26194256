"""Processor sharing: all jobs in system share the server; needs no prediction.

Where weights differ it is discriminatory processor sharing, and a job's share is in proportion to its weight.
"""

from llmqueue_gym.policies.sharing.base import SharingPolicy


def ps() -> SharingPolicy:
    """Processor sharing, in proportion to weights."""
    return SharingPolicy("ps", "none", weighted=True, source="Kleinrock, Time-Shared Systems, J. ACM 1967")
