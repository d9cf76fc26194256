"""GPUs at a lower clock or under a cap of their power: how much longer iterations take, and how much less they draw.

Only what was measured, on the GPU it was measured on. Iterations with prompts and those without are slowed apart.
"""

from dataclasses import dataclass, replace

import numpy as np

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.profiles.base import Profile

FULL = "full"


@dataclass(frozen=True)
class Level:
    """A clock, or a cap.

    Attributes:
        gpu: that it was measured on.
        prompts: times as long as iterations with prompts take.
        decodes: times as long as those without take.
        watts: share of the watts of both that is left.
        cap: most W of a GPU; what is left is this at most.
        source: where the figures come from.
        estimated: what of it is not in the figures.
    """

    gpu: str
    prompts: float
    decodes: float
    watts: float
    cap: float
    source: str
    estimated: str


LEVELS = {
    "1.6ghz": Level(
        *("H100-80GB", 1.0, 1.0, 0.8, np.inf),
        source="1.6 in place of 2.0 GHz: about the same throughput at less than 0.8 of the energy for most batches "
        "(Stojkovic et al., arXiv 2403.20306)",
        estimated="times unchanged and 0.8 of the watts in both phases, where the source has the whole of a run",
    ),
    "175w": Level(
        *("A100-80GB", 1 / 0.939, 1 / 0.939, 0.76 * 0.939, np.inf),
        source="a cap of 175 in place of 250 W: 24 % less energy at a rate of tokens 6.1 % lower, LLaMA-65B (Samsi et "
        "al., arXiv 2310.03003)",
        estimated="both phases alike, where the source has the whole of a run; prompts draw more than the cap so",
    ),
    "350w": Level(
        *("H100-80GB", 1.3, 1.0, 1.0, 350.0),
        source="a cap of 350 in place of 700 W: prompts take 1.3 times as long and decodes the same "
        "(Mutinifni/splitwise-sim, h100-80gb-pcap; Patel et al., Splitwise, ISCA 2024)",
        estimated="watts are those of the full clock or the cap, whichever is less; in rooflines the computing of both "
        "phases is slowed and the reading of neither, so that short prompts take less than 1.3 times as long",
    ),
}


def at_clock(profile: Profile, clock: str) -> Profile:
    """Return a profile at a clock, `FULL` or one of `LEVELS`.

    Raises:
        BadInput: an unknown clock, or one that was not measured on this GPU.
    """
    if clock == FULL:
        return profile
    if clock not in LEVELS:
        raise BadInput(f"profile {profile.name!r}: unknown clock {clock!r}; {nearest(clock, [FULL, *LEVELS])}")
    level = LEVELS[clock]
    count, _, gpu = profile.gpu.partition("x ")
    if gpu != level.gpu:
        raise BadInput(
            f"profile {profile.name!r}: clock={clock} was measured on {level.gpu} alone, not on {profile.gpu}; "
            f"choose {FULL}"
        )
    cap, power = float(count) * level.cap, profile.power
    told = f"at {clock}: {level.source}"
    return replace(
        profile,
        numbers=slowed(profile.form, profile.numbers, level.prompts, level.decodes),
        power=replace(
            power,
            prefill=min(level.watts * power.prefill, cap),
            decode=min(level.watts * power.decode, cap),
            source=f"{power.source}; {told}",
        ),
        source=f"{profile.source}; {told}",
        estimated="; ".join(part for part in (profile.estimated, f"at {clock}: {level.estimated}") if part),
    )


def slowed(form: str, numbers: np.ndarray, prompts: float, decodes: float) -> np.ndarray:
    """Return the numbers of a form where prompts and decodes take so many times as long.

    A roofline does not tell them apart: computing is slowed like prompts, reading and launching like decodes.
    """
    slower = numbers.copy()
    if form == "roofline":  # floor; base, token, pair; context
        slower[[0, 1, 4]] *= decodes
        slower[2:4] *= prompts
    elif form == "experts":  # fixed, experts; share; overlap; token, pair; context
        slower[[0, 1, 6]] *= decodes
        slower[4:6] *= prompts
    elif form == "phases":
        slower[0:3] *= prompts
        slower[[4, 5, 6, 7, 8, 9]] *= decodes
    elif form == "splitwise":
        k = int(numbers[1])
        at = 2 + 2 * k
        slower[2 + k : at] *= prompts
        slower[at + 2 + int(numbers[at]) + int(numbers[at + 1]) :] *= decodes
    else:
        raise BadInput(f"form {form!r} has no clocks; choose {FULL}")
    return slower
