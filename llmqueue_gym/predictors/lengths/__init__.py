"""Models of predicted output lengths. To add one: write it and add its line here."""

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.predictors import PREDICTORS, Predictor, predictor
from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor
from llmqueue_gym.predictors.lengths.numbers import OfSizes
from llmqueue_gym.registry import Registry

__all__ = ["LENGTH_PREDICTORS", "Forecast", "LengthPredictor", "length_predictor"]

_HERE = "llmqueue_gym.predictors.lengths"

LENGTH_PREDICTORS = Registry(
    "length predictor",
    {
        "none": f"{_HERE}.numbers:Uninformed",
        "exact": f"{_HERE}.numbers:Exact",
        "lognormal": f"{_HERE}.numbers:Lognormal",
        "drifting": f"{_HERE}.numbers:Drifting",
        "buckets": f"{_HERE}.ranges:Buckets",
        "ranking": f"{_HERE}.ranking:Ranking",
        "trail": f"{_HERE}.trail:Trail",
        "interval": f"{_HERE}.ranges:Interval",
        "pairs": f"{_HERE}.numbers:Pairs",
        "ssjf": f"{_HERE}.numbers:Ssjf",
    },
)


def length_predictor(spec: str | LengthPredictor | Predictor) -> LengthPredictor:
    """Return a length predictor from a spec such as `trail:mae=33.9`, or the predictor itself.

    A model of continuous sizes (`exponential`, `uniform:alpha=0.5`, ...) will do where no length predictor has its
    name; a size is then a number of tokens.
    """
    if isinstance(spec, LengthPredictor):
        return spec
    if isinstance(spec, Predictor):
        return OfSizes(spec)
    name = spec.partition(":")[0]
    if name in LENGTH_PREDICTORS:
        return LENGTH_PREDICTORS.make(spec)
    if name in PREDICTORS:
        return OfSizes(predictor(spec))
    known = list(dict.fromkeys([*LENGTH_PREDICTORS, *PREDICTORS]))
    raise BadInput(f"unknown length predictor {name!r}; {nearest(name, known)}")
