"""The measured predictor of SSJF, as a small table, so that no file is needed to use it.

Source: James-QiuHaoran/LLM-serving-with-proxy-models,
model-serving/prediction/final/predictions_warmup_multi_cls_1000K.csv, the first 20,000 of 85,482 rows: the five-class
BERT predictor on responses of Vicuna-13B to LMSYS-Chat-1M prompts, cut off at 511 tokens (numbers only, no text).
Licence: Apache-2.0. Attribution: Qiu et al., "Efficient Interactive LLM Serving with Proxy Model-based Sequence Length
Prediction" (SSJF), 2024. Computed by `experiments/embed_length_tables.py`.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.predictors.lengths.base import Forecast, LengthPredictor, one_number

EDGES = (13, 31, 58, 97, 141, 203, 265, 325, 395)  # tokens, deciles of the true length; a length on an edge lies below
# Requests of each decile of the true length, by predicted class.
COUNTS = (
    (1979, 138, 35, 21, 4),
    (1420, 373, 68, 47, 7),
    (938, 763, 133, 74, 14),
    (289, 1295, 312, 131, 13),
    (154, 975, 578, 211, 28),
    (78, 592, 940, 352, 48),
    (38, 346, 950, 644, 39),
    (34, 214, 747, 944, 59),
    (26, 143, 535, 1163, 125),
    (25, 101, 408, 1215, 234),
)
TOKENS = (35.2, 121.5, 229.0, 312.4, 340.5)  # mean true length of the requests predicted in each class


@dataclass(frozen=True)
class Ssjf(LengthPredictor):
    """A class drawn as SSJF's predictor gave it to requests in the same tenth of lengths; told as its mean length.

    Lengths are not scaled to the workload: outputs of more than 395 tokens are all predicted like the longest tenth.
    """

    name: ClassVar[str] = "ssjf"

    def predict(self, requests: np.ndarray, outputs: np.ndarray, rng: np.random.Generator) -> Forecast:
        """Return the mean length of a class, one uniform number of `rng` for each request."""
        cumulative = np.cumsum(COUNTS, axis=1) / np.sum(COUNTS, axis=1, keepdims=True)  # (10, 5)
        upto = cumulative[np.searchsorted(EDGES, outputs)]
        label = (rng.random(len(outputs))[:, None] >= upto).sum(axis=1)
        return one_number(np.array(TOKENS)[label])
