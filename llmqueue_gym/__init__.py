"""Scheduling with predictions: analyse, simulate, learn and rank policies, from the M/G/1 queue to LLM serving.

Importing this package makes its environments known to Gymnasium. The names below are loaded when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

from llmqueue_gym.envs import register_all

if TYPE_CHECKING:
    from llmqueue_gym.distributions import size_law
    from llmqueue_gym.envs.opened import baseline_agent
    from llmqueue_gym.envs.rollout import rollout
    from llmqueue_gym.policies import Policy, policy
    from llmqueue_gym.predictors import predictor
    from llmqueue_gym.systems import SYSTEMS, Run, Scenario
    from llmqueue_gym.theory import analyse
    from llmqueue_gym.workloads.workload import draw

    __version__: str

__all__ = [
    "SYSTEMS",
    "Policy",
    "Run",
    "Scenario",
    "__version__",
    "analyse",
    "baseline_agent",
    "draw",
    "policy",
    "predictor",
    "rollout",
    "size_law",
]

_LAZY = {
    "SYSTEMS": "llmqueue_gym.systems",
    "Run": "llmqueue_gym.systems",
    "Scenario": "llmqueue_gym.systems",
    "baseline_agent": "llmqueue_gym.envs.opened",
    "rollout": "llmqueue_gym.envs.rollout",
    "Policy": "llmqueue_gym.policies",
    "policy": "llmqueue_gym.policies",
    "predictor": "llmqueue_gym.predictors",
    "size_law": "llmqueue_gym.distributions",
    "draw": "llmqueue_gym.workloads.workload",
    "analyse": "llmqueue_gym.theory",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("llmqueue-gym")
    elif name in _LAZY:
        value = getattr(importlib.import_module(_LAZY[name]), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


register_all()
