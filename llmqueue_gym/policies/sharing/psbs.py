"""Practical size-based scheduling: fair sojourn protocol with estimates and weights, whose late jobs share."""

from llmqueue_gym.policies.sharing.base import SharingPolicy


def psbs() -> SharingPolicy:
    """Practical size-based scheduling: by virtual end, late jobs share in proportion to weights."""
    source = "Dell'Amico, Carra, Michiardi, PSBS, IEEE Transactions on Computers 65(7), 2016"
    return SharingPolicy("psbs", "virtual", weighted=True, source=source)
