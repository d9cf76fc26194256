"""Prediction models of job sizes. To add one: write it and add its line here."""

from llmqueue_gym.predictors.base import Predictor
from llmqueue_gym.registry import Registry

__all__ = ["PREDICTORS", "Predictor", "predictor"]

_HERE = "llmqueue_gym.predictors"

PREDICTORS = Registry(
    "predictor",
    {
        "none": f"{_HERE}.base:Uninformed",
        "exact": f"{_HERE}.base:Exact",
        "exponential": f"{_HERE}.ratio:Exponential",
        "uniform": f"{_HERE}.ratio:Uniform",
        "multiplicative": f"{_HERE}.ratio:Multiplicative",
        "normal": f"{_HERE}.ratio:Normal",
        "lognormal": f"{_HERE}.ratio:Lognormal",
        "two-lognormals": f"{_HERE}.ratio:TwoLognormals",
        "gamma": f"{_HERE}.ratio:Gamma",
        "laplace": f"{_HERE}.ratio:Laplace",
        "distorted": f"{_HERE}.distorted:Distorted",
        "partly": f"{_HERE}.partly:Partly",
        "drifting": f"{_HERE}.drifting:Drifting",
        "laws": f"{_HERE}.laws:Laws",
        "one-bit": f"{_HERE}.coarse:OneBit",
        "confused-bit": f"{_HERE}.confused_bit:ConfusedBit",
        "buckets": f"{_HERE}.coarse:Buckets",
        "reports": f"{_HERE}.reports:Reports",
        "pairs": f"{_HERE}.pairs:Pairs",
    },
    Predictor,
)
predictor = PREDICTORS.__call__  # a predictor from a spec such as `lognormal:sigma=0.5`, or itself
