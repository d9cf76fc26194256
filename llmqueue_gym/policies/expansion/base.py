"""Which node is expanded next: a rule is a rank of a node of a tree of reasoning (`requests.NODE`), lower goes first.

A rule that descends follows the child of least rank from the root down, until one has no children; another looks at all
that have none. A user's rule is a plain function:

    def rank(node, params):
        return -node.score
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym.policies.base import BasePolicy, Shown
from llmqueue_gym.requests import NODE


@dataclass(frozen=True)
class ExpansionPolicy(BasePolicy):
    """Which node is expanded next.

    Attributes:
        name: its name in the literature.
        rank: plain function `rank(node, params) -> float`, the least is next.
        descends: whether it goes down from the root; it looks at all nodes without children where not.
        params: numbers for it.
        predictor: predictor that the rule brings along, or None.
        prepare: see `BasePolicy`.
        source: paper, or "ours".

    Raises:
        BadInput: a column does not exist.
        TruthError: the rank reads what is true.
    """

    kind: ClassVar[str] = "expansion rule"
    shown: ClassVar[tuple[Shown, ...]] = (
        Shown("node", NODE, NODE.names or (), frozenset(("value", "score", "prior"))),
    )

    name: str
    rank: Callable[[Any, np.ndarray], float]
    descends: bool = False
    params: tuple[float, ...] = ()
    predictor: str | None = None
    prepare: Callable[..., np.ndarray] | None = None
    source: str = ""

    def __post_init__(self) -> None:
        self.check()
