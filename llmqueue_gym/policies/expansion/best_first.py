"""The node of best score first, whatever was found through it."""

from llmqueue_gym.policies.expansion.base import ExpansionPolicy


def rank(node, params):
    return -node.score


def best_first() -> ExpansionPolicy:
    return ExpansionPolicy("best-first", rank, source="Yao et al., Tree of Thoughts, NeurIPS 2023, its greedy search")
