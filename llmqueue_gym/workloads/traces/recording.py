"""What the log of an engine tells of the requests that it served, and that as a table in the compact form of traces."""

import csv
import io
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

_TIMES = {"sent_s": "sent", "first_token_s": "first_token", "end_s": "end"}


class Served(NamedTuple):
    """A request that was served to its end; times in s since a time of the log."""

    arrival: float
    prompt: int
    output: int
    klass: int = 0
    client: int = 0
    predicted: float | None = None
    sent: float | None = None
    first_token: float | None = None
    end: float | None = None


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
    """

    kind: str = ""
    served: list[Served] = field(default_factory=list)
    lines: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    first: dict[str, int] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    iterations: int = 0

    def leave_out(self, reason: str, line: int) -> None:
        """Count what is of no use."""
        self.left_out[reason] += 1
        self.first.setdefault(reason, line)

    def csv(self) -> str:
        """Return the text of a trace.

        Columns: `arrival_s`, s from the first request, `prompt_tokens` and `output_tokens`; `class` and `client` where
        they differ; `predicted_tokens` where each has one, so that `llmqueue predictors fit` reads the file as it is;
        and the times in s at which each was sent, had its first token and ended, where some are known.
        """
        start = self.served[0].arrival
        columns: dict[str, list[object]] = {
            "arrival_s": [f"{one.arrival - start:.6f}" for one in self.served],
            "prompt_tokens": [one.prompt for one in self.served],
            "output_tokens": [one.output for one in self.served],
        }
        owners = {"class": [one.klass for one in self.served], "client": [one.client for one in self.served]}
        columns |= {name: [*numbers] for name, numbers in owners.items() if len(set(numbers)) > 1}
        if all(one.predicted is not None for one in self.served):
            columns["predicted_tokens"] = [f"{one.predicted:.6g}" for one in self.served]
        for name, of in _TIMES.items():
            times = [getattr(one, of) for one in self.served]
            if any(time is not None for time in times):
                columns[name] = ["" if time is None else f"{time - start:.6f}" for time in times]
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return stream.getvalue()
