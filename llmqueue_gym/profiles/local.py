"""What one's own replica has of its own: the capacity that its log tells, its price, its electricity, its clock."""

from dataclasses import replace
from typing import Any

from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.clocks import FULL, at_clock
from llmqueue_gym.profiles.vllm_log import kv_capacity_told

__all__ = ["FULL", "localised"]


def localised(
    profile: Profile,
    kv_tokens: int | None = None,
    kv_log: str | None = None,
    price: float | None = None,
    pue: float | None = None,
    grid: float | None = None,
    clock: str = FULL,
) -> Profile:
    """Return a profile with what is given in place of its own.

    Args:
        profile: of the model on the GPUs.
        kv_tokens: tokens whose keys and values fit.
        kv_log: a log of vLLM, from which they are read.
        price: USD an hour for the replica.
        pue: energy of the building over that of the replica.
        grid: CO2e of a kWh, g.
        clock: of the GPUs, see `clocks.LEVELS`.

    Raises:
        BadInput: something out of its range, or two capacities.
    """
    if kv_tokens is not None and kv_log is not None:
        raise BadInput(f"profile {profile.name!r}: kv_tokens and kv_log both tell the capacity; give one of them")
    if kv_log is not None:
        kv_tokens = kv_capacity_told(kv_log)
    given: dict[str, Any] = {"kv_tokens": kv_tokens, "price_per_hour": price, "pue": pue, "grid": grid}
    given["price_source"] = None if price is None else "given"
    changed = {name: value for name, value in given.items() if value is not None}
    for name, value in changed.items():
        if value != value:  # in a profile NaN says that it is not known
            raise BadInput(f"profile {profile.name!r}: {name}={value!r} is no number; leave it out")
    return at_clock(replace(profile, **changed) if changed else profile, clock)
