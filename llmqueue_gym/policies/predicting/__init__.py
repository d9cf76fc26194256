"""Policies that pay for predictions, one file each. To add one: write the file and add its line here."""

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.predicting.base import PredictingPolicy

__all__ = ["PREDICTING", "PredictingPolicy", "predicting_policy"]

_HERE = "llmqueue_gym.policies.predicting"

PREDICTING = Policies(
    PredictingPolicy,
    {
        "fcfs": f"{_HERE}.fcfs:fcfs",
        "sprpt-paid": f"{_HERE}.sprpt_paid:sprpt_paid",
        "one-bit-paid": f"{_HERE}.one_bit_paid:one_bit_paid",
        "skip-predict": f"{_HERE}.skip_predict:skip_predict",
        "delay-predict": f"{_HERE}.delay_predict:delay_predict",
        "selective": f"{_HERE}.selective:selective",
        "load-adaptive": f"{_HERE}.load_adaptive:load_adaptive",
        "bypass": f"{_HERE}.bypass:bypass",
        "profile": f"{_HERE}.profile:profile",
    },
)
predicting_policy = PREDICTING.__call__
