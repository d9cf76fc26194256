"""The same number of tokens for everybody, always."""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.speculation.base import SpeculationPolicy


def draft(job, seen, params):
    return params[0]


def fixed(g: int = 3) -> SpeculationPolicy:
    """Drafts of one length.

    Args:
        g: tokens, 0 or more.
    """
    if g < 0:
        raise BadInput(f"fixed: g={g} tokens; 0 or more")
    source = "Leviathan, Kalman, Matias, Fast Inference from Transformers via Speculative Decoding, ICML 2023"
    return SpeculationPolicy("fixed", draft, params=(float(g),), source=source)


def no_drafts() -> SpeculationPolicy:
    """The target model alone, a token a step."""
    return SpeculationPolicy("no-drafts", draft, params=(0.0,), source="Yu et al., Orca, OSDI 2022, its batching")
