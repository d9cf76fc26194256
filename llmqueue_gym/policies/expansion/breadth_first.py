"""All nodes of a depth before the next, the best score first within it."""

from llmqueue_gym.policies.expansion.base import ExpansionPolicy

STEP = 1e3  # more than any two scores differ by


def rank(node, params):
    return STEP * node.depth - node.score


def breadth_first() -> ExpansionPolicy:
    return ExpansionPolicy("breadth-first", rank, source="Yao et al., Tree of Thoughts, NeurIPS 2023, ToT-BFS")
