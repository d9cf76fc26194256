"""Measured laws that come with the library, as tables of quantiles, so that no file is needed to use them.

They stand in `quantiles.toml`, each with its source and licence.
"""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.distributions.quantile_table import QuantileTable
from llmqueue_gym.errors import BadInput

# Probabilities of the Azure tables, `(207,)`: steps of 0.005 from 0.01 to 0.99, finer in the tails.
_LEVELS = np.concatenate([[0, 0.0005, 0.001, 0.002, 0.005], np.arange(2, 199) / 200, [0.995, 0.998, 0.999, 0.9995, 1]])

_SSJF_LEVELS = np.concatenate([[0, 0.01, 0.025], np.arange(1, 20) / 20, [0.99, 1]])  # (24,)


@cache
def _numbers() -> dict[str, Any]:
    """Return the numbers of `quantiles.toml`."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


def azure_conv_sizes() -> Distribution:
    """Return the law of output lengths in the Azure 2023 conversation trace, scaled to mean 1."""
    return QuantileTable(_LEVELS, _numbers()["azure_conv_output"])


def azure_conv_gaps() -> Distribution:
    """Return the law of gaps between arrivals in the Azure 2023 conversation trace, scaled to mean 1.

    For use as `Renewal(law=azure_conv_gaps())`; the trace's gaps depend on one another, those of a renewal process do
    not.
    """
    return QuantileTable(_LEVELS, _numbers()["azure_conv_gap"])


def ssjf_pairs(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw n >= 1 true lengths, whole tokens, and SSJF's predictions of them from the measured joint law.

    Returns:
        true and predicted lengths `(n,)`, float64, tokens; predicted is the mean true length of a class.
    """
    if n < 1:
        raise BadInput(f"n={n}: at least one pair is needed")
    counts, known = _numbers()["ssjf"]["counts"], _numbers()["ssjf"]["true"]
    share = np.array(counts) / sum(counts)
    label, u = rng.choice(len(share), size=n, p=share), rng.random(n)
    true, mean = np.empty(n), np.empty(len(share))
    for k, quantiles in enumerate(known):
        true[label == k] = np.interp(u[label == k], _SSJF_LEVELS, quantiles).round()
        mean[k] = np.diff(_SSJF_LEVELS) @ (np.array(quantiles[1:]) + np.array(quantiles[:-1])) / 2
    return true, mean[label]
