"""GPUs and models: memory, power and price of a replica, and what keys and values take of its memory."""

from dataclasses import dataclass
from typing import Any

from llmqueue_gym.profiles.base import kv_bytes, kv_capacity

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

    def replica(self, count: int) -> dict[str, Any]:
        """Return the fields of a `Profile` that follow from so many of this GPU alone, as `Profile.from_dict` reads."""
        watts = f"{self.idle:g}/{self.prefill:g}/{self.decode:g} W idle/prompt/token for each GPU, whatever the batch"
        return {
            "gpu": f"{count}x {self.name}",
            "memory_gb": count * self.memory_bytes / 1e9,
            "power": {
                "idle": count * self.idle,
                "prefill": count * self.prefill,
                "decode": count * self.decode,
                "source": f"{_SPLITWISE}: {watts}",
            },
            "price_per_hour": count * self.price,
            "price_source": f"{_LAMBDA}: {self.price} USD for each GPU; prices change, so rescale",
        }


A100 = GPU("A100-80GB", 80 * GIB, idle=63.0, prefill=400.0, decode=250.0, price=2.79)
H100 = GPU("H100-80GB", 80 * GIB, idle=75.0, prefill=700.0, decode=380.0, price=3.99)


@dataclass(frozen=True)
class Model:
    """The part of an architecture that memory depends on, weights and cache in 16-bit numbers.

    Attributes:
        name: of the model.
        parameters: in all.
        layers: attention layers.
        kv_heads: heads with keys and values of their own.
        head_dim: numbers in a head.
    """

    name: str
    parameters: float
    layers: int
    kv_heads: int
    head_dim: int = 128

    @property
    def kv_bytes_per_token(self) -> float:
        """Bytes of the keys and values of one token."""
        return kv_bytes(self.layers, self.kv_heads, self.head_dim)

    def kv_tokens_on(self, gpu: GPU, count: int = 1) -> int:
        """Return the tokens that fit on so many GPUs: 0.9 of their memory, less two bytes for each parameter."""
        return kv_capacity(count * gpu.memory_bytes, 2 * self.parameters, self.kv_bytes_per_token)


# Parameters follow from the published configurations: embeddings, attention, feed-forward and norms counted.
LLAMA2_7B = Model("Llama-2-7B", 6_738_415_616, layers=32, kv_heads=32)
LLAMA2_70B = Model("Llama-2-70B", 68_976_648_192, layers=80, kv_heads=8)
LLAMA3_8B = Model("Llama-3-8B", 8_030_261_248, layers=32, kv_heads=8)
BLOOM_176B = Model("BLOOM-176B", 176_247_271_424, layers=70, kv_heads=112)
# Of these the capacities are stated by a source, so that the rounded counts in their names do.
OPT_13B = Model("OPT-13B", 13e9, layers=40, kv_heads=40)
OPT_66B = Model("OPT-66B", 66e9, layers=64, kv_heads=72)
GPT3_175B = Model("GPT-3 175B", 175e9, layers=96, kv_heads=96)

GPUS = {gpu.name: gpu for gpu in (A100, H100)}
MODELS = {m.name: m for m in (LLAMA2_7B, LLAMA2_70B, LLAMA3_8B, BLOOM_176B, OPT_13B, OPT_66B, GPT3_175B)}
