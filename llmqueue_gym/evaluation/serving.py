"""Metrics of a serving run: latencies of each request, and numbers of the whole run. To add one: add its line.

First token: the iteration that computes the last prompt token delivers output token 1, so TTFT covers it, and a request
of L output tokens takes TTFT + (L - 1) * TPOT. Equation 1 of the survey has L * TPOT, which counts one token twice.

What is not done is never dropped in silence. Latencies are of completed requests alone, because the others have none
yet; `done`, `requests`, `reason`, `truncated` and `latencies_of` say so. A request that is not done meets no objective,
and one that was never scheduled has waited until the run ended.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.classes import by_class_and_tenant
from llmqueue_gym.evaluation.energy import Spent, spent
from llmqueue_gym.systems.members import Member
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.serve import serve

__all__ = ["LATENCIES", "SERVING_METRICS", "measure", "per_request", "serve"]

WAITED, TTFT, TPOT, GAP, E2E, NORMALISED = "wait", "ttft", "tpot", "longest_gap", "e2e", "normalised_latency"

PERCENTILES = {"p50": 50, "p90": 90, "p95": 95, "p99": 99}

# Of each request: an array (n,) with NaN where there is no such time.
LATENCIES: dict[str, Callable[[Run], np.ndarray]] = {
    WAITED: lambda s: s.outcome["scheduled"] - s.jobs["arrival"],  # s, until it is first scheduled
    TTFT: lambda s: s.outcome["first_token"] - s.jobs["arrival"],  # s
    TPOT: lambda s: (s.jobs["last_token"] - s.outcome["first_token"]) / _later_tokens(s),  # s a token, 2 or more
    GAP: lambda s: np.where(s.jobs["generated"] > 1, s.jobs["longest_gap"], np.nan),  # s between two tokens
    E2E: lambda s: s.outcome["completion"] - s.jobs["arrival"],  # s
    NORMALISED: lambda s: (s.outcome["completion"] - s.jobs["arrival"]) / s.jobs["generated"],  # s a token
}


@dataclass(frozen=True, eq=False)
class Measured:
    """A run, the objectives, and what several metrics need.

    Attributes:
        served: the run.
        ttft_slo: most s until the first token; None asks for nothing.
        tpot_slo: most s for each later token; None asks for nothing.
        e2e_slo: most s until the last token; None asks for nothing.
        warmup: share of the requests, from the first on, that latencies and `attainment` leave out.
    """

    served: Run
    ttft_slo: float | None = None
    tpot_slo: float | None = None
    e2e_slo: float | None = None
    warmup: float = 0.0

    def __post_init__(self) -> None:
        for name in ("ttft_slo", "tpot_slo", "e2e_slo"):
            given = getattr(self, name)
            if given is not None and not given > 0:
                raise BadInput(f"{name}={given:g} must be positive, in s, for example 0.2")
        if not 0 <= self.warmup < 1:
            raise BadInput(f"warmup={self.warmup:g} is a share of the requests, from 0 to below 1")
        first, clock = float(self.served.jobs["arrival"][0]), self.served.totals["clock"]
        if not clock > first:
            raise BadInput(f"the run ends at {clock:.4g} s, before anybody comes, at {first:.4g} s; let it run longer")

    @property
    def kept(self) -> slice:
        """The requests after warm-up."""
        return slice(int(self.warmup * len(self.served)), None)

    @cached_property
    def span(self) -> float:
        """From the first arrival to the end of the run, s."""
        return self.served.totals["clock"] - float(self.served.jobs["arrival"][0])

    @cached_property
    def generated(self) -> int:
        """Output tokens delivered, also to requests that are not done."""
        return int(self.served.jobs["generated"].sum())

    @property
    def members(self) -> list[tuple[Member, dict[str, float]]]:
        """The replicas, each with what it did."""
        return list(zip(self.served.system.members, self.served.parts, strict=True))

    @cached_property
    def paid_time(self) -> float:
        """Time for which replicas were there, of all together, s."""
        return sum(self.time_there(part) for _, part in self.members)

    def time_there(self, part: dict[str, float]) -> float:
        """Return for how long a replica was there, s: of `span` at most, as nobody counts the time before requests."""
        return min(part.get("on_time", self.span), self.span)

    @cached_property
    def spent(self) -> Spent:
        """Energy, money and carbon of the replicas over `span`, or as long as they were there."""
        total = Spent()
        for member, part in self.members:
            prefill, decode = part["prefill_time"], part["decode_time"]
            idle = max(self.time_there(part) - prefill - decode, 0.0)  # below 0 by rounding alone
            total += spent(member.profile, prefill, decode, idle)
        return total

    @cached_property
    def met(self) -> np.ndarray:
        """Which requests are done and within the objectives `(n,)`; one of a single token meets any TPOT."""
        met = self.served.done.copy()
        if self.ttft_slo is not None:
            met &= LATENCIES[TTFT](self.served) <= self.ttft_slo
        if self.tpot_slo is not None:
            met &= ~(LATENCIES[TPOT](self.served) > self.tpot_slo)
        if self.e2e_slo is not None:
            met &= LATENCIES[E2E](self.served) <= self.e2e_slo
        return met

    @cached_property
    def waits(self) -> np.ndarray:
        """Time until each request that has arrived is scheduled, or until the run ended `(m,)`, s."""
        arrival = self.served.jobs["arrival"]
        until = np.where(
            np.isnan(self.served.outcome["scheduled"]), self.served.totals["clock"], self.served.outcome["scheduled"]
        )
        return (until - arrival)[arrival <= self.served.totals["clock"]]

    @cached_property
    def classes(self) -> np.ndarray:
        """Mean normalised latency of each class that has a request `(k,)`, s a token; NaN where none of it is done."""
        latency, klass = LATENCIES[NORMALISED](self.served)[self.kept], self.served.jobs["klass"][self.kept]
        done = self.served.done[self.kept]
        return np.array([_mean(latency[done & (klass == k)]) for k in np.unique(klass)])


def _total(name: str) -> Callable[[Measured], float]:
    return lambda m: m.served.totals[name]


def _per_token(name: str) -> Callable[[Measured], float]:
    return lambda m: m.spent.per_token(m.generated)[name]


def _busy(m: Measured) -> float:
    return (m.served.totals["prefill_time"] + m.served.totals["decode_time"]) / m.paid_time


def _useful(m: Measured) -> float:
    totals = m.served.totals
    again = m.served.outcome["recomputed"].sum() / max(totals["prefill_tokens"], 1)
    return _busy(m) - (totals["transfer_time"] + min(again, 1.0) * totals["prefill_time"]) / m.paid_time


def _swapped_bytes(m: Measured) -> float:
    member = m.members[0][0]  # a fleet whose replicas differ counts the blocks of its first
    return float(m.served.outcome["swapped"].sum()) * member.rules.block_size * member.profile.kv_bytes_per_token


def _kv_time(m: Measured) -> float:
    """Return the tokens that the replicas could hold, times how long they were there."""
    return sum(float(one.rules.held) * m.time_there(part) for one, part in m.members)


def _most_kv(m: Measured) -> float:
    return float(np.fmax.reduce([most_kv_share(*one) for one in m.members]))


# Of the whole run, warm-up and all, unless said otherwise. A rate is over `span`.
SERVING_METRICS: dict[str, Callable[[Measured], float]] = {
    "span": lambda m: m.span,  # s, from the first arrival to the end of the run
    "requests_per_second": lambda m: float(m.served.done.sum()) / m.span,
    "output_tokens_per_second": lambda m: m.generated / m.span,
    "tokens_per_second": lambda m: (m.generated + _prompts_read(m)) / m.span,  # prompts that were read, and outputs
    "goodput": lambda m: float(m.met.sum()) / m.span,  # requests/s that meet both objectives
    "attainment": lambda m: float(m.met[m.kept].mean()),  # share of the requests after warm-up that do
    "mean_in_system": lambda m: m.served.totals["integral"] / m.span,  # requests, each counted with its weight
    "mean_batch": lambda m: (
        m.served.totals["batch_time"] / max(_busy(m) * m.paid_time, 1e-300)
    ),  # requests an iteration
    "kv_share": lambda m: m.served.totals["token_time"] / _kv_time(m),  # mean, of what decodes read alone
    "most_kv_share": _most_kv,  # blocks ever in use, of the replica where that is most
    "hit_share": lambda m: m.served.totals["hit_tokens"] / float(m.served.jobs["prompt"].sum()),  # found in caches
    "preemptions": _total("preemptions"),
    "preemptions_per_request": lambda m: m.served.totals["preemptions"] / len(m.served),
    "recomputed_tokens": lambda m: float(m.served.outcome["recomputed"].sum()),
    "swapped_bytes": _swapped_bytes,  # to the host and back, both counted
    "longest_wait": lambda m: float(m.waits.max()),  # s, until first scheduled or, if never, until the run ended
    "max_over_mean_e2e": lambda m: _over_mean(LATENCIES[E2E](m.served)[m.kept]),
    "class_ratio": lambda m: float(m.classes.max() / m.classes.min()),  # worst over best class, normalised latency
    "jain_index": lambda m: float(m.classes.sum() ** 2 / (len(m.classes) * (m.classes**2).sum())),  # over classes
    # At watts by state, whatever the batch; the idle time counts, and is paid for, too.
    "joules_per_output_token": _per_token("joules_per_output_token"),
    "idle_joules_per_output_token": _per_token("idle_joules_per_output_token"),  # of these, J between iterations
    "dollars_per_million_output_tokens": _per_token("dollars_per_million_output_tokens"),  # USD
    "grams_per_thousand_output_tokens": _per_token("grams_per_thousand_output_tokens"),  # CO2e of running and making
    "embodied_grams_per_thousand_output_tokens": _per_token("embodied_grams_per_thousand_output_tokens"),  # of making
    "busy_share": _busy,  # of the time for which replicas were there, in iterations
    "useful_share": _useful,  # busy, less transfers and the share of prefill time that recomputed tokens have
}


def measure(
    served: Run,
    ttft_slo: float | None = None,
    tpot_slo: float | None = None,
    e2e_slo: float | None = None,
    warmup: float = 0.0,
) -> dict[str, Any]:
    """Return every metric of a run.

    Args:
        served: the run.
        ttft_slo: most s until the first token; None asks for nothing.
        tpot_slo: most s for each later token, on average over a request; None asks for nothing.
        e2e_slo: most s until the last token; None asks for nothing.
        warmup: share of the requests, from the first on, that latencies, `attainment` and fairness leave out.

    Returns:
        `requests`, `done`, `reason`, `truncated` and `latencies_of`; each of `LATENCIES` with its mean, p50, p90,
        p95 and p99, NaN where no request has one; each of `SERVING_METRICS`; and where there are several classes or
        tenants what `classes.by_class_and_tenant` says of them.

    Raises:
        BadInput: an objective or the warm-up is out of range.
    """
    run = Measured(served, ttft_slo, tpot_slo, e2e_slo, warmup)
    n, done = len(served), int(served.done.sum())
    told = {
        "requests": n,
        "done": done,
        "reason": served.reason,
        "truncated": done < n,
        "latencies_of": "all requests" if done == n else f"completed requests only, {done} of {n}",
    }
    latencies = {name: summary(values[run.kept]) for name, values in per_request(served).items()}
    with np.errstate(invalid="ignore", divide="ignore"):  # a run in which nothing was done has NaN, not a warning
        numbers = {name: float(metric(run)) for name, metric in SERVING_METRICS.items()}
        return {**told, **latencies, **numbers, **by_class_and_tenant(served, run.met, run.kept, run.span)}


def per_request(served: Run) -> dict[str, np.ndarray]:
    """Return the latencies of each request by name, each `(n,)`; NaN for requests that are not done."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: np.where(served.done, latency(served), np.nan) for name, latency in LATENCIES.items()}


def summary(values: np.ndarray) -> dict[str, float]:
    """Return the mean and `PERCENTILES` of the values `(n,)` that are not NaN."""
    values = values[~np.isnan(values)]
    if not len(values):
        return dict.fromkeys(("mean", *PERCENTILES), np.nan)
    found = np.percentile(values, list(PERCENTILES.values()))
    return {"mean": float(values.mean()), **dict(zip(PERCENTILES, found.tolist(), strict=True))}


def _later_tokens(served: Run) -> np.ndarray:
    """Return the output tokens after the first `(n,)`; NaN where there are none."""
    later = served.jobs["generated"] - 1.0
    return np.where(later > 0, later, np.nan)


def most_kv_share(member: Member, part: dict[str, float]) -> float:
    """Return the share of its blocks that a replica ever used at most; NaN where rules do not look at memory."""
    if member.rules.batching == "turns":
        return np.nan
    return part["most_blocks"] / (member.rules.blocks or 1)


def _prompts_read(m: Measured) -> int:
    return int(m.served.jobs["prompt"][~np.isnan(m.served.outcome["first_token"])].sum())


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def _over_mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.max() / values.mean()) if len(values) else np.nan
