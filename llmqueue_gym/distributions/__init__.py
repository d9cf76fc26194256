"""Service-time laws by name. A law has mean 1 unless told otherwise, so that a load is set by the arrivals alone."""

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.registry import Registry

_HERE = "llmqueue_gym.distributions"

DISTRIBUTIONS = Registry(
    "size law",
    {
        "exponential": f"{_HERE}.tails:Exponential",
        "weibull": f"{_HERE}.tails:Weibull",
        "hyperexponential": f"{_HERE}.phases:Hyperexponential",
        "bounded-pareto": f"{_HERE}.bounded:BoundedPareto",
        "lognormal": f"{_HERE}.tails:Lognormal",
        "gamma": f"{_HERE}.phases:Gamma",
        "erlang": f"{_HERE}.phases:Erlang",
        "uniform": f"{_HERE}.bounded:Uniform",
        "deterministic": f"{_HERE}.discrete:Deterministic",
        "empirical": f"{_HERE}.discrete:from_file",
    },
    Distribution,
)
size_law = DISTRIBUTIONS.__call__  # a law from a spec such as `weibull:shape=0.5`, or the law itself
