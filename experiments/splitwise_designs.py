"""Splitwise's designs for a budget, and the rate that each sustains; for `claims_of_fleets.py`.

Machines of eight A100s or H100s under splitwise-sim's own rules and times. A budget is what a number of machines of one
kind cost and draw, at the list prices of the profiles (8 x 2.79 and 8 x 3.99 USD/h) and 6.5 and 10.2 kW a machine
(data sheets of NVIDIA's DGX). The pooled fleet sends each request to the machine of fewest tokens; in a
split one some machines only read prompts and the others decode, lend themselves out (mixed pool), and their number is
what sustains most on the first seed. Sustained is a rate at which all nine of Splitwise's objectives hold: slowdowns
against an A100 machine that is never shared, at the median, p90 and p99.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from goodput import WARMUP, largest_rate

from llmqueue_gym.evaluation.serving import per_request
from llmqueue_gym.profiles.gpus import A100, H100
from llmqueue_gym.systems import Run, Scenario

PRICES = {"a100": 8 * A100.price, "h100": 8 * H100.price}  # USD/h
KILOWATTS = {"a100": 6.5, "h100": 10.2}
QUANTILES = (50, 90, 99)
SLOWDOWNS = {"ttft": (2.0, 3.0, 6.0), "tpot": (1.25, 1.5, 5.0), "e2e": (1.25, 1.5, 5.0)}
ALONE = 0.005  # requests/s at which nobody meets anybody
LINK = 200 * 2.0**30  # bytes/s
DESIGNS = {"AA": ("a100", "a100"), "HH": ("h100", "h100"), "HA": ("h100", "a100")}  # who reads, who decodes


@dataclass(frozen=True)
class Machines:
    """Machines that read and machines that decode; where nobody decodes, all do both.

    Attributes:
        model: which they serve.
        readers: kind and number of those that read, or of all.
        writers: kind and number of those that decode, or None.
    """

    model: str
    readers: tuple[str, int]
    writers: tuple[str, int] | None = None

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Kinds and numbers."""
        return [self.readers, *([] if self.writers is None else [self.writers])]

    @property
    def price(self) -> float:
        """USD an hour."""
        return sum(count * PRICES[kind] for kind, count in self.groups)

    @property
    def kilowatts(self) -> float:
        """Of all machines at most."""
        return sum(count * KILOWATTS[kind] for kind, count in self.groups)

    def profile(self, kind: str) -> str:
        """Return the profile of a kind."""
        return f"splitwise-sim-{kind}-{self.model}"

    def run(self, lengths: str, requests: int, rate: float, seed: int) -> Run:
        """Play them."""
        roles = ["both"] if self.writers is None else ["prefill", "decode"]
        lines = [
            f'[[replica]]\ncount = {count}\nrole = "{role}"\nprofile = "{self.profile(kind)}"\nrules = "splitwise"\n'
            for role, (kind, count) in zip(roles, self.groups, strict=True)
        ]
        told = {"bandwidth": LINK, "latency": 0.0, "retry": 1.0, "handover": "least-reserved", "lengths": lengths}
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "fleet.toml")
            file.write_text("\n".join(lines), encoding="utf-8")
            where = Scenario("fleet", fleet=str(file), rate=rate, n_jobs=requests, **told)
            return where.simulate("token-jsq" if self.writers is None else "mixed-pool", seed)


@cache
def alone(model: str, lengths: str, requests: int, seed: int) -> dict[str, np.ndarray]:
    """Return the latencies of the requests on an A100 machine of their own, s."""
    return per_request(Machines(model, ("a100", 1)).run(lengths, requests, ALONE, seed))


@cache
def sustained(machines: Machines, lengths: str, requests: int, seed: int, guess: float) -> float:
    """Return the largest rate at which all objectives hold, requests/s; 0 where there is none."""
    slow = alone(machines.model, lengths, requests, seed)

    def keeps(rate: float) -> bool:
        run = machines.run(lengths, requests, rate, seed)
        if not run.done.all():
            return False
        times, first = per_request(run), int(WARMUP * requests)
        return all(
            np.all(np.nanpercentile((times[name] / slow[name])[first:], QUANTILES) <= most)
            for name, most in SLOWDOWNS.items()
        )

    return largest_rate(keeps, guess)


def splits(model: str, design: str, price: float, kilowatts: float) -> Iterator[Machines]:
    """Yield the machines of a design, as many as the budget has room for, by the number of those that read."""
    reader, writer = DESIGNS[design]
    for count in range(1, 100):
        best = None
        for others in range(1, 100):
            made = Machines(model, (reader, count), (writer, others))
            if made.price <= price and made.kilowatts <= kilowatts:
                best = made
        if best is None:
            return
        yield best


def factors(
    baseline: Machines, design: str, share: float, lengths: str, requests: int, seeds: int
) -> tuple[str, list[float]]:
    """Return the best split of a design for a share of a pooled fleet's money, and its rates over that fleet's.

    Args:
        baseline: the pooled fleet.
        design: one of `DESIGNS`.
        share: of the money; the power is at most the same.
        lengths: law of the requests.
        requests: of a run.
        seeds: runs.
    """
    rates = [sustained(baseline, lengths, requests, seed, 20.0) for seed in range(seeds)]
    guess = max(rates[0], 1.0)
    told = list(splits(baseline.model, design, share * baseline.price, baseline.kilowatts))
    best = max(told, key=lambda made: sustained(made, lengths, requests, 0, guess))
    mine = [sustained(best, lengths, requests, seed, guess) for seed in range(seeds)]
    words = " + ".join(f"{count} {kind.upper()}" for kind, count in best.groups)
    ratios = [new / old if old else np.nan for new, old in zip(mine, rates, strict=True)]
    return f"{design}: {words}", [ratio if ratio > 0 else np.nan for ratio in ratios]
