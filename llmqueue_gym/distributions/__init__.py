"""Service-time laws by name. A law has mean 1 unless told otherwise, so that a load is set by the arrivals alone."""

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.registry import Registry

_HERE = "llmqueue_gym.distributions"

DISTRIBUTIONS = Registry(
    "size law",
    {
        "exponential": f"{_HERE}.exponential:Exponential",
        "weibull": f"{_HERE}.weibull:Weibull",
        "hyperexponential": f"{_HERE}.hyperexponential:Hyperexponential",
        "bounded-pareto": f"{_HERE}.bounded_pareto:BoundedPareto",
        "lognormal": f"{_HERE}.lognormal:Lognormal",
        "gamma": f"{_HERE}.gamma:Gamma",
        "erlang": f"{_HERE}.gamma:Erlang",
        "uniform": f"{_HERE}.uniform:Uniform",
        "deterministic": f"{_HERE}.deterministic:Deterministic",
        "empirical": f"{_HERE}.empirical:from_file",
    },
    Distribution,
)
size_law = DISTRIBUTIONS.__call__  # a law from a spec such as `weibull:shape=0.5`, or the law itself
