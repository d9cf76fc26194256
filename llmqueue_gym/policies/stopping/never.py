"""All that was planned is done."""

from llmqueue_gym.policies.stopping.base import StoppingPolicy


def stops(told, params):
    return 0.0


def never() -> StoppingPolicy:
    source = "self-consistency: Wang et al., Self-Consistency Improves Chain of Thought Reasoning, ICLR 2023"
    return StoppingPolicy("never", stops, source=source)
