"""Replicas that people have and nobody measured for this library: times by `physics`, capacity by arithmetic.

To add one: its line in `REPLICAS`, and its GPU or model if they are not there.
"""

from collections.abc import Callable

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.clocks import FULL
from llmqueue_gym.profiles.gpus import B200, GPU, H100, H200, L40S, MI300X
from llmqueue_gym.profiles.local import localised
from llmqueue_gym.profiles.models import DEEPSEEK_V3, LLAMA31_8B, LLAMA31_70B, QWEN3_30B_A3B, QWEN3_32B, Model
from llmqueue_gym.profiles.physics import ERROR, FITTED, roofline

BYTES = {"fp16": 2.0, "fp8": 1.0}
# Model, GPU, how many of it share each layer, and in which numbers weights are.
REPLICAS: dict[str, tuple[Model, GPU, int, str]] = {
    "l40s-llama3.1-8b": (LLAMA31_8B, L40S, 1, "fp16"),
    "h100-llama3.1-8b": (LLAMA31_8B, H100, 1, "fp16"),
    "l40sx4-llama3.1-70b": (LLAMA31_70B, L40S, 4, "fp16"),
    "h100x2-llama3.1-70b-fp8": (LLAMA31_70B, H100, 2, "fp8"),
    "h100x4-llama3.1-70b": (LLAMA31_70B, H100, 4, "fp16"),
    "h200x2-llama3.1-70b": (LLAMA31_70B, H200, 2, "fp16"),
    "b200-llama3.1-70b": (LLAMA31_70B, B200, 1, "fp16"),
    "mi300x-llama3.1-70b": (LLAMA31_70B, MI300X, 1, "fp16"),
    "l40sx2-qwen3-32b": (QWEN3_32B, L40S, 2, "fp16"),
    "h100x2-qwen3-32b": (QWEN3_32B, H100, 2, "fp16"),
    "b200-qwen3-32b": (QWEN3_32B, B200, 1, "fp16"),
    "l40sx2-qwen3-30b-a3b": (QWEN3_30B_A3B, L40S, 2, "fp16"),
    "h100-qwen3-30b-a3b": (QWEN3_30B_A3B, H100, 1, "fp16"),
    "b200-qwen3-30b-a3b": (QWEN3_30B_A3B, B200, 1, "fp16"),
    "h200x8-deepseek-v3": (DEEPSEEK_V3, H200, 8, "fp8"),
    "b200x8-deepseek-v3": (DEEPSEEK_V3, B200, 8, "fp8"),
}
_SHARES = "weights {weights:.2g}, caches {cache:.2g} of the bandwidth, computing {compute:.2g} of the peak"


def estimated() -> dict[str, Callable[..., Profile]]:
    """Return what builds each profile of `REPLICAS`, by name."""
    return {name: _builder(name, *replica) for name, replica in REPLICAS.items()}


def _builder(name: str, model: Model, gpu: GPU, count: int, weights: str) -> Callable[..., Profile]:
    def build(
        kv: str = "fp16",
        kv_tokens: int | None = None,
        kv_log: str | None = None,
        price: float | None = None,
        pue: float | None = None,
        grid: float | None = None,
        clock: str = FULL,
    ) -> Profile:
        if kv not in BYTES:
            raise BadInput(f"profile {name!r}: kv={kv!r} must be fp16 or fp8; {nearest(kv, BYTES)}")
        weight, each = BYTES[weights], BYTES[kv]
        form, numbers = roofline(model, gpu, count, weight, each)
        told = {
            "name": name,
            "model": model.name,
            "form": form,
            "numbers": numbers.tolist(),
            "kv_tokens": model.kv_tokens_on(gpu, count, weight, each),
            "kv_bytes_per_token": model.kv_bytes(each),
            "source": f"data sheet of {gpu.name} and configuration of {model.name}, {weights} weights, {kv} cache, and "
            f"shares of it fitted to measured replicas: {_SHARES.format(**vars(FITTED))}; see profiles/physics.py",
            "error": ERROR,
            "estimated": _what(model, kv_tokens is None and kv_log is None),
        }
        return localised(Profile.from_dict({**told, **gpu.replica(count)}), kv_tokens, kv_log, price, pue, grid, clock)

    build.__doc__ = f"{model.name} on {count}x {gpu.name}, {weights} weights; times estimated."
    return build


def _what(model: Model, capacity: bool) -> str:
    """Return what is estimated, in words."""
    parts = ["all times"]
    if capacity:
        parts.append("kv_tokens computed: 0.9 of the GPUs' memory less weights, activations not subtracted")
    if model.experts:
        parts.append("tokens go to experts at random and evenly over the GPUs, where real ones crowd")
        parts.append("how fast experts compute, which one run on another GPU tells")
    if model.latent:
        parts.append("the latent cache is kept on every GPU, as vLLM does without data-parallel attention")
    return "; ".join(parts)
