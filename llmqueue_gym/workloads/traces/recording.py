"""What the log of an engine tells of the requests that it served, and that as a table in the compact form of traces."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from llmqueue_gym.columns import MOST_SECONDS, MOST_TOKENS

AGAIN = "told before, as where a log is given twice"
WRONG = "with a number or a name that cannot be"
OUT_OF_ORDER = "that end before they come, or with other times out of order"
_TIMES = {"sent_s": "sent", "first_token_s": "first_token", "end_s": "end"}


class Served(NamedTuple):
    """A request that was served to its end; times in s since a time of the log."""

    arrival: float
    prompt: int
    output: int
    klass: float = 0
    client: float = 0
    predicted: float | None = None
    sent: float | None = None
    first_token: float | None = None
    end: float | None = None

    def wrong(self) -> str:
        """Return what cannot be of it; nothing where all can."""
        times = [time for time in (self.arrival, self.sent, self.first_token, self.end) if time is not None]
        whole = all(0 <= number <= MOST_TOKENS and number == int(number) for number in (self.klass, self.client))
        if (
            not whole
            or not 0 <= (self.predicted or 0) <= MOST_TOKENS
            or not 0 <= min(times) <= max(times) <= MOST_SECONDS
        ):
            return WRONG
        return OUT_OF_ORDER if any(later < sooner for sooner, later in pairwise(times)) else ""


@dataclass
class Recording:
    """What a log tells.

    Attributes:
        kind: of the log; empty before it is known.
        served: requests, sorted by arrival when all are read.
        lines: that were read, blank ones not counted.
        left_out: how many lines or requests, by reason.
        first: line in which the first of each is, from 1 on.
        notes: what was estimated, and of how many requests.
        iterations: lines of vLLM's that tell how long an iteration took.
        names: of requests that are known by more than their times, each of which is taken once.
    """

    kind: str = ""
    served: list[Served] = field(default_factory=list)
    lines: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    iterations: int = 0
    names: set[str] = field(default_factory=set)

    def leave_out(self, reason: str, line: int) -> None:
        """Count what is of no use."""
        self.left_out[reason] += 1
        self.first.setdefault(reason, line)

    def take(self, one: Served, line: int, name: str = "") -> bool:
        """Take in a request, or count it where it was told before or cannot be; return whether it was taken."""
        if why := one.wrong() or (AGAIN if name in self.names else ""):
            self.leave_out(why, line)
        else:
            self.served.append(one)
            if name:
                self.names.add(name)
        return not why

    def columns(self) -> dict[str, np.ndarray]:
        """Return the columns `(requests,)` of a trace by name.

        They are `arrival_s`, s from the first request, `prompt_tokens` and `output_tokens`; `class` and `client` where
        they differ; `predicted_tokens` where each has one, so that `llmqueue predictors fit` reads the file as it is;
        and the times in s at which each was sent, had its first token and ended, where some are known; NaN where not.
        """
        arrival, prompt, output, klass, client, predicted, *_ = zip(*self.served, strict=True)
        columns = {
            "arrival_s": np.round(np.array(arrival) - arrival[0], 6),
            "prompt_tokens": np.array(prompt),
            "output_tokens": np.array(output),
        }
        owners = {"class": np.array(klass, np.int64), "client": np.array(client, np.int64)}
        columns |= {name: numbers for name, numbers in owners.items() if len(np.unique(numbers)) > 1}
        if None not in predicted:
            columns["predicted_tokens"] = np.round(np.array(predicted, float), 3)
        for name, of in _TIMES.items():
            times = np.array([getattr(one, of) for one in self.served], float)  # None is NaN
            if not np.all(np.isnan(times)):
                columns[name] = np.round(times - arrival[0], 6)
        return columns
