"""What is predicted of arrivals: how many come within some time from each tick on."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ArrivalForecast:
    """One more than the number that comes, times a lognormal error.

    Errors of ticks that are near one another are alike, as those of forecasts are: their correlation falls by 1/e in
    the time that is looked ahead. So nobody learns the truth by looking often.

    Attributes:
        ahead: s that it looks ahead.
        error: standard deviation of the logarithm of the error; 0 tells the truth.
    """

    ahead: float
    error: float

    def predict(self, arrival: np.ndarray, tick: float, rng: np.random.Generator) -> np.ndarray:
        """Return what is predicted at time 0 and at each tick until nobody comes any more `(k,)`.

        Args:
            arrival: of requests, ascending `(n,)`, s; infinite where it is not known.
            tick: s between two ticks.
            rng: stream of chance.
        """
        from scipy.signal import lfilter

        known = arrival[np.isfinite(arrival)]
        times = np.arange(int(known.max(initial=0.0) / tick) + 2) * tick
        counts = np.searchsorted(known, times + self.ahead, "right") - np.searchsorted(known, times, "right")
        alike = float(np.exp(-tick / self.ahead))
        fresh = rng.standard_normal(len(times)) * np.sqrt(1 - alike**2)
        fresh[0] /= np.sqrt(1 - alike**2)  # the first is as far off as any other
        errors = lfilter([1.0], [1.0, -alike], fresh)
        return np.maximum(np.expm1(np.log1p(counts) + self.error * errors), 0.0)
