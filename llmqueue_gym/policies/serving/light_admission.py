"""LightLLM's admission: first come first served, if memory suffices for everybody's longest output.

Running requests and the candidate are counted up to the most that each may generate (`request.upper`; LightLLM has the
client's `max_new_tokens`), at the fullest instant until they end. The schedulers of S-LoRA and VTC do the same.

Source: ModelTC/lightllm, router request queue.
"""

from llmqueue_gym.policies.serving.base import ServingPolicy


def length(request, system, params):
    return request.upper


def light_admission() -> ServingPolicy:
    """First come first served, admitted if memory suffices to the longest ends."""
    return ServingPolicy("light-admission", length=length, admission="peak", source="ModelTC/lightllm, router")
