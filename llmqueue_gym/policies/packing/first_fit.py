"""First fit: in order of arrival, every job starts that fits; preemptive, all are packed so at every event."""

from llmqueue_gym.policies.fcfs import rank
from llmqueue_gym.policies.packing.base import PackingPolicy

_SOURCE = "isaacg1/msj-simulator"


def first_fit() -> PackingPolicy:
    """First fit."""
    return PackingPolicy("first-fit", rank, packing="skip", preemptive=False, source=_SOURCE)


def preemptive_first_fit() -> PackingPolicy:
    """First fit that moves a later job out for an earlier one, as soon as that fits."""
    return PackingPolicy("preemptive-first-fit", rank, packing="skip", source=_SOURCE)
