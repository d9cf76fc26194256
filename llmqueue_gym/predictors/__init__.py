"""Prediction models, one file each. To add one: write the file and add its line here."""

from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.registry import Registry

__all__ = ["PREDICTORS", "Predictor", "predictor"]

_HERE = "llmqueue_gym.predictors"

PREDICTORS = Registry(
    "predictor",
    {
        "none": f"{_HERE}.none:Uninformed",
        "exact": f"{_HERE}.exact:Exact",
        "exponential": f"{_HERE}.exponential:Exponential",
        "uniform": f"{_HERE}.uniform:Uniform",
        "multiplicative": f"{_HERE}.multiplicative:Multiplicative",
        "normal": f"{_HERE}.normal:Normal",
        "lognormal": f"{_HERE}.lognormal:Lognormal",
        "one-bit": f"{_HERE}.one_bit:OneBit",
        "buckets": f"{_HERE}.buckets:Buckets",
        "pairs": f"{_HERE}.pairs:Pairs",
    },
    Predictor,
)
predictor = PREDICTORS.__call__  # a predictor from a spec such as `lognormal:sigma=0.5`, or itself
