"""Shortest predicted remaining processing time, beside which jobs that have outlived their prediction share.

Under plain `sprpt` such a job keeps the server to its end; here the first job on time and all late ones share equally.
"""

from llmqueue_gym.policies.sharing.base import SharingPolicy


def srpte_ps() -> SharingPolicy:
    """Shortest predicted remaining processing time, shared equally with all late jobs."""
    source = "Dell'Amico, Carra, Michiardi, PSBS, IEEE Transactions on Computers 65(7), 2016"
    return SharingPolicy("srpte-ps", "remaining", beside=True, source=source)
