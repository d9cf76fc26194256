"""Triple exponential smoothing: level, trend and season of a series, each corrected by every new value.

With the three weights as they predict the series itself best, one step ahead. Source: Holt 1957; Winters, Forecasting
Sales by Exponentially Weighted Moving Averages, Management Science 1960; additive form as in Hyndman, Koehler, Ord and
Snyder, Forecasting with Exponential Smoothing, 2008.
"""

import numpy as np

FIRST_WEIGHTS = (0.3, 0.05, 0.1)


def smooth(series: np.ndarray, season: int, weights: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the errors of one-step forecasts of a series `(n,)`, and its last states.

    It begins with the mean of the first season as the level, its deviations from it as the season, and the rise of the
    mean from the first season to the second as the trend.

    Args:
        series: `(n,)`, two seasons or more.
        season: values of one.
        weights: of a new value in the level, in the trend and in the season.

    Returns:
        errors `(n - season,)`, and level, trend and the last season of deviations `(2 + season,)`.
    """
    alpha, beta, gamma = weights
    means = series[: 2 * season].reshape(2, season).mean(axis=1)
    level, trend = float(means[0]), float(means[1] - means[0]) / season
    level += trend * (season - 1) / 2  # from the middle of the season to its end
    cycle = (series[:season] - means[0] - trend * (np.arange(season) - (season - 1) / 2)).tolist()
    errors = []
    for k, value in enumerate(series[season:].tolist()):
        at = k % season
        error = value - (level + trend + cycle[at])
        level += trend + alpha * error
        trend += alpha * beta * error
        cycle[at] += gamma * (1 - alpha) * error
        errors.append(error)
    turn = (len(series) - season) % season
    return np.array(errors), np.array([level, trend, *cycle[turn:], *cycle[:turn]])


def fitted_weights(series: np.ndarray, season: int) -> tuple[float, float, float]:
    """Return the weights that predict a series best, one step ahead, in squared error."""
    from scipy.optimize import minimize

    scale = float(np.square(series - series.mean()).sum()) or 1.0

    def loss(weights: np.ndarray) -> float:
        return float(np.square(smooth(series, season, tuple(weights))[0]).sum()) / scale

    found = minimize(loss, FIRST_WEIGHTS, method="L-BFGS-B", bounds=[(1e-3, 0.999)] * 3, options={"maxiter": 50})
    return tuple(float(weight) for weight in found.x)  # type: ignore[return-value]


def forecast(series: np.ndarray, season: int, ahead: int) -> np.ndarray:
    """Return the next values of a series that cannot be negative `(ahead,)`.

    With less than two seasons behind it, those of a season before are repeated, and with less than one the last.
    """
    if len(series) < season:
        return np.full(ahead, series[-1] if len(series) else 0.0)
    if len(series) < 2 * season:
        return np.maximum(series[len(series) - season + np.arange(ahead) % season], 0.0)
    _, (level, trend, *cycle) = smooth(series, season, fitted_weights(series, season))
    steps = np.arange(1, ahead + 1)
    return np.maximum(level + trend * steps + np.array(cycle)[(steps - 1) % season], 0.0)
