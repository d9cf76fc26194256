"""GPUs: memory, power and price of one, and what a replica made of several has in all."""

from dataclasses import dataclass
from typing import Any

from llmqueue_gym.profiles.base import Power

GIB = 2**30
_LAMBDA = "on-demand list price of 8-GPU instances at Lambda, lambda.ai/instances, read on 2026-09-20"
_SPLITWISE = "splitwise-sim 8f99e7d, configs/power_model/constant.yaml"


@dataclass(frozen=True)
class GPU:
    """One GPU.

    Attributes:
        name: as in the profiles.
        memory_bytes: what it is sold as, 80 GiB; splitwise-sim (configs/hardware_repo) counts the same.
        idle: W doing nothing.
        prefill: W in iterations with prompts.
        decode: W in iterations without.
        price: USD an hour.
    """

    name: str
    memory_bytes: float
    idle: float
    prefill: float
    decode: float
    price: float


A100 = GPU("A100-80GB", 80 * GIB, idle=63.0, prefill=400.0, decode=250.0, price=2.79)
H100 = GPU("H100-80GB", 80 * GIB, idle=75.0, prefill=700.0, decode=380.0, price=3.99)


def replica(gpu: GPU, count: int = 1) -> dict[str, Any]:
    """Return the fields of a `Profile` that follow from its GPUs alone."""
    return {
        "gpu": f"{count}x {gpu.name}",
        "memory_gb": count * gpu.memory_bytes / 1e9,
        "power": Power(
            count * gpu.idle,
            count * gpu.prefill,
            count * gpu.decode,
            f"{_SPLITWISE}: {gpu.idle:g}/{gpu.prefill:g}/{gpu.decode:g} W idle/prompt/token"
            " for each GPU, whatever the batch",
        ),
        "price_per_hour": count * gpu.price,
        "price_source": f"{_LAMBDA}: {gpu.price} USD for each GPU; prices change, so rescale",
    }
