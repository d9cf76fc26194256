"""Triple exponential smoothing: level, trend and season of a series, each corrected by every new value.

With those of some weights that predict the series itself best, one step ahead, in squared error.

Source: Holt 1957; Winters, Forecasting Sales by Exponentially Weighted Moving Averages, Management Science 1960;
additive form as in Hyndman, Koehler, Ord and Snyder, Forecasting with Exponential Smoothing, 2008.
"""

import itertools

import numpy as np

# Weights of a new value in the level, in the trend and in the season, of which the best are looked for `(3, m)`.
WEIGHTS = np.array(
    list(itertools.product((0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9), (0.01, 0.05, 0.2), (0.05, 0.1, 0.2, 0.4, 0.7)))
).T


def smooth(series: np.ndarray, season: int, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors of one-step forecasts of a series, and its last states, by several weights at once.

    It begins with the mean of the first season as the level, its deviations from it as the season, and the rise of the
    mean from the first season to the second as the trend.

    Args:
        series: `(n,)`, two seasons or more.
        season: values of one.
        weights: of a new value in the level, in the trend and in the season `(3, m)`.

    Returns:
        errors `(n - season, m)`, and level, trend and the last season of deviations `(2 + season, m)`.
    """
    alpha, beta, gamma = weights
    means, middle = series[: 2 * season].reshape(2, season).mean(axis=1), (season - 1) / 2
    trend = np.full(len(alpha), (means[1] - means[0]) / season)
    level = means[0] + trend * middle  # at the end of the first season
    cycle = series[:season, None] - means[0] - trend * (np.arange(season) - middle)[:, None]
    errors = np.zeros((len(series) - season, len(alpha)))
    for k, value in enumerate(series[season:].tolist()):
        error = value - (level + trend + cycle[k % season])
        level += trend + alpha * error
        trend += alpha * beta * error
        cycle[k % season] += (1 - alpha) * gamma * error
        errors[k] = error
    turn = (len(series) - season) % season
    return errors, np.concatenate([[level, trend], np.roll(cycle, -turn, axis=0)])


def forecast(series: np.ndarray, season: int, ahead: int) -> np.ndarray:
    """Return the next values of a series that cannot be negative `(ahead,)`.

    With less than two seasons behind it, those of a season before are repeated, and with less than one the last.
    """
    if len(series) < season:
        return np.full(ahead, series[-1] if len(series) else 0.0)
    if len(series) < 2 * season:
        return np.maximum(series[len(series) - season + np.arange(ahead) % season], 0.0)
    errors, states = smooth(series, season, WEIGHTS)
    level, trend, *cycle = states[:, np.square(errors).sum(axis=0).argmin()]
    steps = np.arange(1, ahead + 1)
    return np.maximum(level + trend * steps + np.array(cycle)[(steps - 1) % season], 0.0)
