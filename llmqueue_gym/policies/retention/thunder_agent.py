"""ThunderAgent's pauses at tool boundaries: where memory is nearly full, the smallest context of those away is dropped.

As long as a share of the KV blocks is in use, one context goes in every iteration, so that a running call is never
preempted while a program at a tool holds memory; who is back waits in the queue until there is room, which is its
resumption.

"-like": ThunderAgent looks every 5 s, frees memory down to a second share at once, resumes the smallest programs first
with room to spare, and does so across replicas.

Source: Kang et al., "ThunderAgent: A Simple, Fast and Program-Aware Agentic Inference System", arXiv 2602.13692; order
and share as in NVIDIA Dynamo's port, --pause-threshold.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.retention.base import RetentionPolicy
from llmqueue_gym.requests import DISCARD, PRESERVE


def waste(away, system, params):
    return -float(away.blocks)


def keep(away, system, params):
    full = system.blocks - away.free >= params[0] * system.blocks
    return DISCARD if full and -away.blocks == away.worst else PRESERVE


def thunder_agent_like(share: float = 0.95) -> RetentionPolicy:
    """The smallest context goes first where memory is nearly full.

    Args:
        share: of the KV blocks in use from which on that happens.
    """
    if not 0 < share <= 1:
        raise BadInput(f"thunder-agent-like: share={share:g} must be above 0 and at most 1")
    source = "Kang et al., ThunderAgent, arXiv 2602.13692; NVIDIA Dynamo, thunderagent_router"
    return RetentionPolicy("thunder-agent-like", keep, waste, again=True, params=(share,), source=source)
