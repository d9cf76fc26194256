"""Measured laws that come with the library, as tables of quantiles, so that no file is needed to use them.

Each table states its source and licence; the numbers are quantiles of the published data, computed for this file.
"""

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.empirical import Empirical
from llmqueue_gym.errors import BadInput

# Probabilities of the Azure tables, `(207,)`: steps of 0.005 from 0.01 to 0.99, finer in the tails.
_LEVELS = np.concatenate([[0, 0.0005, 0.001, 0.002, 0.005], np.arange(2, 199) / 200, [0.995, 0.998, 0.999, 0.9995, 1]])

# Output tokens of the 19,366 requests of the Azure 2023 conversation trace (mean 211.1, squared coefficient of
# variation 0.595). A length v is spread over (v - 0.5, v + 0.5], so that the law is continuous.
# Source: Azure/AzurePublicDataset, data/AzureLLMInferenceTrace_conv.csv. Licence: CC-BY-4.0.
# Attribution: Patel et al., "Splitwise: Efficient Generative LLM Inference Using Phase Splitting", ISCA 2024.
# fmt: off
_AZURE_CONV_OUTPUT = (
    6.5, 11.5, 11.7, 11.9, 13.6, 15.8, 17.9, 23.9, 28.4, 32.4, 35.6, 37.6, 39.6, 41.4, 42.9, 44.4, 45.8, 47.1, 48.3,
    49.4, 50.4, 51.6, 52.8, 54, 55.5, 56.5, 57.9, 59.1, 60.3, 61.8, 63.1, 64.3, 65.7, 66.8, 67.9, 68.9, 70, 71.2,
    72.2, 73.3, 74.3, 75.3, 76.3, 77.3, 78.2, 79.1, 80, 80.8, 81.5, 82.3, 83, 83.7, 84.3, 85, 85.6, 86.2, 86.8,
    87.4, 88, 88.5, 89.1, 89.6, 90.1, 90.6, 91.2, 91.7, 92.2, 92.8, 93.3, 93.8, 94.4, 94.9, 95.4, 96, 96.7, 97.4,
    98, 98.7, 99.3, 99.9, 100.6, 101.3, 102.1, 102.9, 103.7, 104.6, 105.6, 106.7, 107.5, 108.5, 109.5, 110.5, 111.6,
    112.8, 114.1, 115.5, 116.8, 118.4, 120.3, 122, 123.7, 125.3, 127.3, 129.4, 131.1, 132.8, 134.8, 136.7, 138.5,
    140.7, 143, 145.3, 147.5, 150.6, 152.7, 155.9, 158.8, 161.3, 162.1, 163.5, 166.5, 168.8, 172.5, 176.6, 179.2,
    182.2, 184.2, 190.3, 195.5, 201.5, 206.6, 216.2, 216.8, 217.2, 219.4, 237.1, 295.9, 370.7, 373.3, 374.9, 376.4,
    378.3, 381.5, 383.8, 385.2, 386.7, 388, 389.6, 391.2, 392.7, 393.4, 394, 394.5, 395, 395.5, 395.8, 396, 396.2,
    396.5, 396.9, 397.4, 398.1, 398.9, 400, 401, 401.8, 403.1, 404.5, 405.6, 407.2, 408.7, 410.2, 410.9, 411.3,
    412.6, 413.6, 414.1, 414.7, 415.5, 417.4, 418.6, 419.9, 421.4, 424.1, 426.2, 427.5, 428.7, 429.1, 430.1, 433.4,
    438, 441.9, 446, 451.2, 460.2, 468.3, 490.1, 508.7, 522, 540.1, 570.9, 600.9, 643.7, 917.8, 954.2, 999.6,
    1000.5,)

# Gaps between the arrivals of the same trace, s (mean 0.1808, squared coefficient of variation 1.197). Same source,
# licence and attribution.
_AZURE_CONV_GAP = (
    2e-6, 6e-6, 7e-6, 1.073e-5, 0.000188, 0.0005463, 0.0009962, 0.001443, 0.001826, 0.002516, 0.003396, 0.004443,
    0.005328, 0.00632, 0.007271, 0.008211, 0.009294, 0.01024, 0.01119, 0.01203, 0.01305, 0.01398, 0.01514, 0.01614,
    0.01727, 0.01844, 0.01946, 0.02049, 0.0215, 0.02238, 0.02349, 0.02445, 0.02546, 0.02642, 0.02744, 0.02854,
    0.02951, 0.03046, 0.03143, 0.03241, 0.03346, 0.03455, 0.03554, 0.03652, 0.03757, 0.0387, 0.03988, 0.04122,
    0.04244, 0.04354, 0.04465, 0.04592, 0.04705, 0.04827, 0.04955, 0.05063, 0.0521, 0.05333, 0.05445, 0.0558,
    0.05714, 0.05849, 0.0594, 0.06072, 0.06199, 0.06326, 0.06454, 0.06584, 0.06713, 0.06833, 0.06954, 0.07071,
    0.07207, 0.07346, 0.07474, 0.07619, 0.07759, 0.07898, 0.08024, 0.08167, 0.08304, 0.08457, 0.08591, 0.08725,
    0.08865, 0.09002, 0.09136, 0.09271, 0.09401, 0.09566, 0.09741, 0.09892, 0.1003, 0.1019, 0.1034, 0.1048, 0.1061,
    0.1077, 0.1093, 0.1111, 0.1129, 0.1147, 0.1166, 0.1184, 0.1202, 0.1218, 0.1239, 0.1257, 0.1282, 0.1302, 0.1322,
    0.134, 0.1357, 0.1376, 0.1393, 0.1412, 0.1434, 0.1455, 0.1477, 0.15, 0.152, 0.1544, 0.1566, 0.1587, 0.1611,
    0.1634, 0.1661, 0.1687, 0.171, 0.1741, 0.1763, 0.1784, 0.1806, 0.1832, 0.1857, 0.1885, 0.1913, 0.1938, 0.197,
    0.2001, 0.2035, 0.2063, 0.21, 0.2136, 0.2164, 0.22, 0.2231, 0.2263, 0.2292, 0.2335, 0.2364, 0.2396, 0.2431,
    0.2467, 0.2503, 0.2542, 0.2582, 0.2619, 0.2659, 0.2694, 0.274, 0.2789, 0.2835, 0.2888, 0.2941, 0.2991, 0.3051,
    0.31, 0.315, 0.3208, 0.3276, 0.3339, 0.3397, 0.3459, 0.3519, 0.3578, 0.3648, 0.3713, 0.3781, 0.3857, 0.3938,
    0.4021, 0.4116, 0.4207, 0.4296, 0.4387, 0.4508, 0.4649, 0.478, 0.4931, 0.507, 0.5255, 0.5442, 0.5652, 0.5893,
    0.6183, 0.6458, 0.6732, 0.705, 0.7493, 0.8058, 0.8897, 1.034, 1.249, 1.411, 1.801, 4.315,)

# Predicted class (of five) and true length of 20,000 responses of Vicuna-13B, cut off at 511 tokens: how many were
# predicted in each class, and the quantiles of the true length given the predicted class.
# Source: James-QiuHaoran/LLM-serving-with-proxy-models,
# model-serving/prediction/final/predictions_warmup_multi_cls_1000K.csv
# (lengths of LMSYS-Chat-1M responses; numbers only, no text). Licence: Apache-2.0.
# Attribution: Qiu et al., "Efficient Interactive LLM Serving with Proxy Model-based Sequence Length Prediction"
# (SSJF), 2024.
_SSJF_LEVELS = np.concatenate([[0, 0.01, 0.025], np.arange(1, 20) / 20, [0.99, 1]])  # (24,)
_SSJF_COUNTS = (4981, 4940, 4706, 4802, 571)
_SSJF_TRUE = (
    (2, 2, 2, 2, 2, 5, 10, 10, 10, 11, 14, 16, 19, 22, 25, 29, 33, 37, 41, 50, 76, 128, 326, 511),
    (2, 8, 13, 21, 31, 42, 50, 57, 65, 72, 79, 87, 94, 102, 112, 123, 137, 152, 177, 212, 257, 324, 447, 511),
    (2, 19, 35, 58, 91, 111, 129, 146, 161, 176, 192, 207, 222, 237, 251, 268, 284, 304, 326, 349, 384, 432, 495, 511),
    (3, 24, 51, 88, 140, 188, 218, 243, 262, 282, 297, 312, 325, 339, 352, 367, 382, 397, 413, 434, 459, 486, 508, 511),
    (3, 21, 35, 73, 130, 165, 204, 251, 294, 314, 339, 356, 369, 383, 400, 421, 439, 454, 471, 483, 497, 509, 511, 511),
)
# fmt: on


def azure_conv_sizes() -> Distribution:
    """Return the law of output lengths in the Azure 2023 conversation trace, scaled to mean 1."""
    return Empirical.from_quantiles(_LEVELS, _AZURE_CONV_OUTPUT)


def azure_conv_gaps() -> Distribution:
    """Return the law of gaps between arrivals in the Azure 2023 conversation trace, scaled to mean 1.

    For use as `Renewal(law=azure_conv_gaps())`; the trace's gaps depend on one another, those of a renewal process do
    not.
    """
    return Empirical.from_quantiles(_LEVELS, _AZURE_CONV_GAP)


def ssjf_pairs(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw true lengths and SSJF's predictions of them from the measured joint law.

    Args:
        n: number of pairs, at least 1.
        rng: source of randomness.

    Returns:
        true lengths, whole tokens, and predicted ones, the mean true length of the predicted class; each `(n,)`,
        float64, tokens.

    Raises:
        BadInput: n is less than 1.
    """
    if n < 1:
        raise BadInput(f"n={n}: at least one pair is needed")
    share = np.array(_SSJF_COUNTS) / sum(_SSJF_COUNTS)
    label, u = rng.choice(len(share), size=n, p=share), rng.random(n)
    true, mean = np.empty(n), np.empty(len(share))
    for k, quantiles in enumerate(_SSJF_TRUE):
        true[label == k] = np.interp(u[label == k], _SSJF_LEVELS, quantiles).round()
        mean[k] = np.diff(_SSJF_LEVELS) @ (np.array(quantiles[1:]) + np.array(quantiles[:-1])) / 2
    return true, mean[label]
