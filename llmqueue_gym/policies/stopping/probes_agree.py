"""Once the last k probes of a chain of thought agree; Dynasor's efforts are numbers of probes and tokens between them.

A probe asks for the final answer at once, in a few tokens that are thrown away. Empty answers and words of doubt (wait,
hold, but, okay, no, hmm) agree with nothing.
"""

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.stopping.base import StoppingPolicy

EFFORTS = {"mild": (8, 64), "low": (5, 64), "mid": (3, 64), "high": (2, 64), "crazy": (2, 32)}  # k, tokens
SOURCE = "Dynasor: Fu et al., Efficiently Scaling LLM Reasoning with Certaindex, NeurIPS 2025, and its repository"


def stops(told, params):
    return told.agree >= params[0]


def probes_agree(k: int = 3, every: int = 64) -> StoppingPolicy:
    """Probes that agree so many times.

    Args:
        k: probes in a row with the same answer.
        every: tokens from one probe to the next.
    """
    if k < 1:
        raise BadInput(f"probes-agree: k={k} probes; 1 or more")
    if every < 1:
        raise BadInput(f"probes-agree: every={every} tokens; 1 or more")
    return StoppingPolicy("probes-agree", stops, every=every, params=(float(k),), source=SOURCE)


def dynasor(effort: str = "mid") -> StoppingPolicy:
    """One of Dynasor's efforts to save.

    Args:
        effort: mild, low, mid, high or crazy.
    """
    if effort not in EFFORTS:
        raise BadInput(f"dynasor: effort={effort!r}; {nearest(effort, EFFORTS)}")
    k, every = EFFORTS[effort]
    return StoppingPolicy("dynasor", stops, every=every, params=(float(k),), source=SOURCE)
