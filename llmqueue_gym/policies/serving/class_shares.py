"""Shares of the service for classes: who is admitted next is of the class that is furthest behind its share.

A class has received what `vtc` counts of a tenant, divided by its share. So classes that always have somebody waiting
get tokens in proportion to their shares, and what one does not use goes to the others. It is weighted fair queueing
with the lengths of outputs not known beforehand.

Source: Demers, Keshav, Shenker, "Analysis and simulation of a fair queueing algorithm", SIGCOMM 1989; Sheng et al.,
OSDI 2024.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy
from llmqueue_gym.policies.serving.vtc import rank, shares_of


def class_shares(shares: str = "") -> ServingPolicy:
    """Classes by what they have received, divided by their shares.

    Args:
        shares: of classes 0, 1 and so on with `;` between, as in 3;1; all others have 1.
    """
    source = "Demers, Keshav, Shenker, SIGCOMM 1989; Sheng et al., OSDI 2024"
    numbers = shares_of("class-shares", "shares", shares)
    return ServingPolicy("class-shares", rank, owners="class", shares=numbers, source=source)
