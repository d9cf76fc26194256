"""What replicas take: energy, money, and carbon, of running them and of making them.

Carbon after LLMCarbon (Faiz et al., ICLR 2024): that of running is energy * PUE * carbon of a kWh; that of making a GPU
is spread evenly over five years.
"""

from dataclasses import dataclass, fields

import numpy as np

from llmqueue_gym.profiles.base import Profile

LIFE = 5 * 365 * 86_400.0  # s that a GPU lasts, as LLMCarbon has it
KWH = 3.6e6  # J


@dataclass(frozen=True)
class Spent:
    """What was spent; sums with `+`, as over the replicas of a fleet. NaN where a profile does not say.

    Attributes:
        busy: energy of iterations, J.
        idle: energy between them, J.
        dollars: price of the time, busy or not.
        running: CO2e of the energy, that of the building included, g.
        making: CO2e of making the GPUs, their part for this time, g.
    """

    busy: float = 0.0
    idle: float = 0.0
    dollars: float = 0.0
    running: float = 0.0
    making: float = 0.0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def joules(self) -> float:
        """All energy of the replicas, J; without what the building takes."""
        return self.busy + self.idle

    @property
    def grams(self) -> float:
        """All CO2e, g."""
        return self.running + self.making

    def per_token(self, tokens: int) -> dict[str, float]:
        """Return the shares of output tokens, by the names of `evaluation.serving.SERVING_METRICS`; NaN for none."""
        each = 1 / tokens if tokens else np.nan
        return {
            "joules_per_output_token": self.joules * each,
            "idle_joules_per_output_token": self.idle * each,
            "dollars_per_million_output_tokens": 1e6 * self.dollars * each,
            "grams_per_thousand_output_tokens": 1e3 * self.grams * each,
            "embodied_grams_per_thousand_output_tokens": 1e3 * self.making * each,
        }


def spent(profile: Profile, prefill: float, decode: float, idle: float) -> Spent:
    """Return what a replica takes, at watts by state, whatever its batch.

    Args:
        profile: of the replica.
        prefill: time of iterations with prompts, s.
        decode: time of those without, s.
        idle: time between iterations, s; a replica that is switched off is not idle.
    """
    power, all_time = profile.power, prefill + decode + idle
    busy, rest = power.prefill * prefill + power.decode * decode, power.idle * idle
    return Spent(
        busy=busy,
        idle=rest,
        dollars=profile.price_per_hour * all_time / 3600,
        running=(busy + rest) / KWH * profile.pue * profile.grid,
        making=1000 * profile.embodied_kg * all_time / LIFE,
    )
