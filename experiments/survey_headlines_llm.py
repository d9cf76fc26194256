"""Which headline factors of the survey's sections 3 and 4.1 on LLM serving does this simulator give, and which not?

Every claim (Mitzenmacher and Shahout, "Queueing, Predictions, and LLMs"; two figures of LTR's own paper) is set up as
nearly as the profiles, lengths and rule sets here allow, as a sweep. A factor is the old system's number over the new
one's on the very same requests; its 95 % interval is Student's t on the logarithms over seeds. The rule for the verdict
was written down before the first run:

* reproduced: an interval that lies above 1 meets the claimed range, or along the loads of one set-up the factor passes
  through it; for a claim without a number, some interval lies above 1 and none below;
* same direction, smaller: no interval reaches the claim, but one lies above 1;
* same direction, larger: all set-ups lie above the claim; or on either side of it, none meeting it;
* not reproduced: no interval lies above 1, or, for a claim without a number, some lie above and some below.

"up to x" claims the number x. Verdicts are given twice: for the sweep up to load 0.95, where the old system keeps up,
and for all of it. Beyond capacity a longer run gives larger factors, so the second says what overload alone can do. The
first tenth of the requests of a run is left out of latencies.

What was changed after trials with 2 seeds: wide intervals met anything, so one has to lie above 1 to count, and a
factor passes through a claim along the loads of one set-up only; levels of 0.1 s a token gave way to 1; FastServe's
transfers run beside iterations, and it got the heavy-tailed lengths; LTR got the short ShareGPT. After the full run,
which had ties such as 1.00001: "above" means from 1.005 on, "below" up to 1 / 1.005, which took the word "smaller" from
LTR at loads where no queue forms; and Trail without preemption was put beside Trail. Writes
`results/survey_headlines_llm.json`; some minutes.
"""

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from llmqueue_gym.evaluation import across_seeds, result, write_json
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.serving.closed_loop import Served, serve
from llmqueue_gym.evaluation.serving.metrics import per_request
from llmqueue_gym.evaluation.serving.scenario import Capacity, ServingScenario, capacity, stretched
from llmqueue_gym.evaluation.serving.watch import watch
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.profiles.base import kv_capacity
from llmqueue_gym.profiles.gpus import GIB
from llmqueue_gym.profiles.models import LLAMA2_7B, OPT_13B, Model
from llmqueue_gym.requests import Requests
from llmqueue_gym.workloads.requests import RequestWorkload

OUT = Path(__file__).parent / "results" / "survey_headlines_llm.json"
SEEDS, REQUESTS, WARMUP = 8, 2000, 0.1
LEAST = 0.005  # by which a factor has to differ from 1
STABLE = 0.95  # load up to which the old system keeps up
LOADS = (0.5, 0.7, 0.8, 0.9, 0.95, 1.1, 1.5)
OPT_CONTEXT = 2048  # tokens, the longest that OPT reads
# Mean and spread of Vicuna-7B's answers to 10,000 Alpaca instructions, at most 512 tokens (zhengzangw/
# Sequence-Scheduling); log-normal is this file's, and so is the prompt, a round number.
ALPACA = "lognormal:prompt=20,prompt_sigma=0.5,output=126,output_sigma=0.73"
ALPACA_LONGEST = 532
HEAVY = "lognormal:prompt=100,output=150,output_sigma=1.5"  # round numbers, a heavier tail than any recorded one here
LENGTHS = {"sharegpt": "sharegpt", "lmsys-arena": "lmsys-arena", "Alpaca-like": ALPACA, "heavy-tailed": HEAVY}
LEVELS = (0.25, 0.5, 1.0)  # s a token end to end, of which "the same latency" is one

Factors = dict[str, tuple[float, list[float]]]  # setting -> (load, NaN where there is none; a factor for each seed)
Metric = Callable[[Served], float]


@dataclass(frozen=True)
class Side:
    """One of the two systems compared: its policy, rule set and predictor."""

    policy: str
    rules: str
    predictor: str = "none"


@dataclass(frozen=True)
class Claim:
    """A claim, where it is from, and the nearest set-up.

    Attributes:
        key: short name.
        words: what is claimed.
        claimed: lowest and highest number, or None where there is none.
        setup: in words.
        missing: on what the claim depends that is not modelled, or only guessed.
        run: the factors for a number of requests and of seeds.
        is_claim: False where nobody claims it and it only stands beside one that is claimed.
    """

    key: str
    words: str
    claimed: tuple[float, float] | None
    setup: str
    missing: str
    run: Callable[[int, int], Factors]
    is_claim: bool = True


def mean_of(latency: str) -> Metric:
    """Return the mean of a latency as a metric of a run; NaN where something was left undone."""
    return lambda served: float(_kept(served, latency).mean()) if served.done.all() else np.nan


def tail_of(latency: str, q: float) -> Metric:
    """Return a percentile of a latency as a metric of a run; NaN where something was left undone."""
    return lambda served: float(np.nanpercentile(_kept(served, latency), q)) if served.done.all() else np.nan


def _kept(served: Served, latency: str) -> np.ndarray:
    values = per_request(served)[latency]
    return values[int(WARMUP * len(values)) :]


def recomputed(served: Served) -> float:
    """Return the tokens that were computed again, plus one so that a run without any has a factor."""
    return float(served.service["recomputed"].sum()) + 1.0


def compare(
    workload: RequestWorkload,
    profile: str,
    old: Side,
    new: Side,
    metric: Metric,
    n: int,
    seeds: int,
    loads: Any = LOADS,
) -> Factors:
    """Return the old system's number over the new one's at shares of the old one's capacity.

    A load that is a string such as "20/s" is a rate.
    """
    before = ServingScenario(workload, old.predictor, profile, old.rules, n)
    after = ServingScenario(workload, new.predictor, profile, new.rules, n)
    top = capacity(before)
    found: Factors = {}
    for given in loads:
        load = float(given[:-2]) / top.rate if isinstance(given, str) else float(given)
        label = f"{given} (load {load:.2f})" if isinstance(given, str) else f"load {load:g}"
        at = {"load": load, "known_capacity": top}
        factors = []
        for seed in range(seeds):
            numbers = [metric(replace(s, **at).serve(p.policy, seed)) for s, p in ((before, old), (after, new))]
            factors.append(numbers[0] / numbers[1])
        found[label] = (load, factors)
    return found


def named(prefix: str, found: Factors) -> Factors:
    """Return factors with the name of the set-up before each setting."""
    return {f"{prefix}, {label}": value for label, value in found.items()}


def sustained(given: Requests, profile: str, side: Side, level: float, guess: float) -> float:
    """Return the largest rate at which the mean latency per token stays within a level, by bisection to 1 %.

    Args:
        given: requests.
        profile: cost profile.
        side: the system.
        level: s a token.
        guess: requests/s to start from.

    Returns:
        requests/s; NaN where the level holds even if all come nearly at once, as a longer run would have a limit.
    """
    rate = (len(given.outputs) - 1) / float(given.requests["arrival"][-1] - given.requests["arrival"][0])

    def holds(asked: float) -> bool:
        run = serve(stretched(given, asked / rate), side.policy, profile, side.rules)
        return bool(run.done.all() and mean_of("normalised_latency")(run) <= level)

    low = high = guess
    while not holds(low):
        low, high = 0.7 * low, low
    while low == high or holds(high):
        low, high = high, 1.4 * high
        if high > 1e4:
            return np.nan
    while high / low > 1.01:
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@cache
def sustained_rates(rules: str, gigabytes: int, lengths: str, level: float, n: int, seeds: int) -> list[float]:
    """Return the rate that first come first served sustains under a rule set, for each seed, requests/s."""
    profile, side = f"vllm-opt-13b-tp1:kv_tokens={tokens_on(OPT_13B, gigabytes)}", Side("fcfs", rules)
    scenario = ServingScenario(RequestWorkload(lengths, 1.0, max_tokens=OPT_CONTEXT), "none", profile, rules, n)
    rates, guess = [], 1.0
    for seed in range(seeds):
        rates.append(sustained(scenario.draw("fcfs", seed), profile, side, level, guess))
        guess = rates[-1] if np.isfinite(rates[-1]) else guess
    return rates


def throughput(old: str) -> Callable[[int, int], Factors]:
    """Return how to compare the rates that vLLM and an older rule set sustain at the same latency."""

    def run(n: int, seeds: int) -> Factors:
        found: Factors = {}
        for gigabytes in (40, 80):
            for lengths in ("sharegpt", "lmsys-arena"):
                for level in LEVELS:
                    where = (gigabytes, lengths, level, max(n // 2, 100), seeds)
                    new = sustained_rates("vllm-v0:max_seqs=256", *where)
                    factors = np.divide(new, sustained_rates(old, *where)).tolist()
                    found[f"{gigabytes} GB, {lengths}, {level:g} s/token"] = (np.nan, factors)
        return found

    return run


def tokens_on(model: Model, gigabytes: int) -> int:
    """Return the tokens that fit beside 16-bit weights on a GPU of so many GiB."""
    return kv_capacity(gigabytes * GIB, 2 * model.parameters, model.kv_bytes_per_token)


def trail(metric: Metric, c: float = 0.8) -> Callable[[int, int], Factors]:
    """Return how to compare Trail with vLLM; c=0 preempts nobody."""
    workload = RequestWorkload(ALPACA, 1.0, max_tokens=ALPACA_LONGEST)
    old, new = Side("fcfs", "vllm-v1:max_seqs=48"), Side(f"trail:c={c:g}", "vllm-v1:max_seqs=48", "trail")
    loads = ("10/s", "20/s", "30/s", 0.9, 0.95, 1.1, 1.5)
    return lambda n, seeds: compare(workload, "a100-llama3-8b", old, new, metric, n, seeds, loads)


def fastserve(metric: Metric) -> Callable[[int, int], Factors]:
    """Return how to compare FastServe with Orca."""
    old, new = Side("fcfs", "orca:max_seqs=16"), Side("fastserve", "vllm-v1:overlapped=true")

    def run(n: int, seeds: int) -> Factors:
        found: Factors = {}
        for name, lengths in LENGTHS.items():
            workload = RequestWorkload(lengths, 1.0, max_tokens=OPT_CONTEXT)
            found |= named(name, compare(workload, "distserve-opt-13b-tp1", old, new, metric, n, seeds))
        return found

    return run


LTR = {"sharegpt": Side("ltr", "vllm-v1:max_seqs=256", "ranking:tau=0.54")}
LTR["sharegpt to 2048"] = LTR["sharegpt"]
LTR["lmsys-arena"] = replace(LTR["sharegpt"], predictor="ranking:tau=0.62")


def ltr_workload(name: str, rate: float) -> RequestWorkload:
    """Return the requests of an LTR set-up by its name."""
    lengths, _, longest = name.partition(" to ")
    return RequestWorkload(lengths, rate, max_tokens=int(longest) if longest else None)


def ltr_burst(*names: str) -> Callable[[int, int], Factors]:
    """Return how to compare LTR with first come first served where 2000 requests come at once."""

    def run(n: int, seeds: int) -> Factors:
        found: Factors = {}
        for name in names:
            new = LTR[name]
            scenario = ServingScenario(ltr_workload(name, np.inf), new.predictor, "a100-llama3-8b", new.rules, n)
            means = [
                [float(per_request(scenario.serve(p, seed))["normalised_latency"].mean()) for p in ("fcfs", "ltr")]
                for seed in range(seeds)
            ]
            found[f"{name}, {n} at once"] = (np.nan, [fcfs / ltr for fcfs, ltr in means])
        return found

    return run


def ltr_rates(n: int, seeds: int) -> Factors:
    """Compare LTR with first come first served over rates."""
    found: Factors = {}
    for lengths, new in LTR.items():
        old, metric = Side("fcfs", new.rules), mean_of("normalised_latency")
        workload = ltr_workload(lengths, 1.0)
        found |= named(lengths, compare(workload, "a100-llama3-8b", old, new, metric, n, seeds, (*LOADS, 3.0)))
    return found


def chunks(metric: Metric) -> Callable[[int, int], Factors]:
    """Return how to compare prefills first with chunked prefill."""
    old, new = Side("fcfs", "vllm-v0"), Side("fcfs", "sarathi")
    workload = RequestWorkload("azure-conv", 1.0, max_tokens=4096)  # vLLM before its rewrite takes no longer prompt
    return lambda n, seeds: compare(workload, "a100-llama3-8b", old, new, metric, n, seeds, LOADS[:5])


def tokens_apart(n: int, seeds: int) -> Factors:
    """Compare the 99th percentile of the time between two tokens, all tokens of all requests counted."""
    workload = RequestWorkload("azure-conv", 1.0, max_tokens=4096)
    scenario = ServingScenario(workload, "none", "a100-llama3-8b", "vllm-v0", max(50, n // 10))
    top: Capacity = capacity(scenario)
    found: Factors = {}
    for load in (0.5, 0.8):
        factors = []
        for seed in range(seeds):
            given = replace(scenario, load=load, known_capacity=top).draw("fcfs", seed)
            p99 = [np.percentile(gaps(given, "a100-llama3-8b", rules), 99) for rules in ("vllm-v0", "sarathi")]
            factors.append(p99[0] / p99[1])
        found[f"load {load:g}"] = (load, factors)
    return found


def gaps(given: Requests, profile: str, rules: str) -> np.ndarray:
    """Return the time between every two successive tokens of a request, s; for runs without preemptions."""
    left = given.requests["prompt"].astype(int)
    last = np.full(len(left), np.nan)
    found: list[float] = []
    tokens: list[int] = []  # rows that get a token at the end of the iteration before
    for call in watch(given, "fcfs", profile, rules):
        if call.preempted:
            raise AssertionError("a preempted request computes tokens again, which this count does not know")
        found += (call.clock - last[tokens])[~np.isnan(last[tokens])].tolist()
        last[tokens] = call.clock
        for row, count in call.scheduled:
            left[row] -= count
        tokens = [row for row, _ in call.scheduled if left[row] <= 0]
    return np.array(found)


# A tenth of the A100's memory for caches, so that preemptions are frequent.
TIGHT = f"a100-llama2-7b:kv_tokens={tokens_on(LLAMA2_7B, 80) // 10}"


def preempting(old: Side, new: Side, metric: Metric, lengths: str = "azure-conv") -> Callable[[int, int], Factors]:
    """Return how to compare two ways of preempting where memory is tight."""
    workload = RequestWorkload(lengths, 1.0, max_tokens=8192)
    return lambda n, seeds: compare(workload, TIGHT, old, new, metric, n, seeds, LOADS[1:5])


def s3(n: int, seeds: int) -> Factors:
    """Compare the throughput of S3 with that of reserving for the longest, all requests there at once."""
    found: Factors = {}
    told = "buckets:longest=2048,accuracy=0.986"
    for name, lengths in (("Alpaca-like", ALPACA), ("lmsys-arena", "lmsys-arena")):
        for gigabytes in (24, 40, 80):
            profile = f"a100-llama2-7b:kv_tokens={tokens_on(LLAMA2_7B, gigabytes)}"
            workload = RequestWorkload(lengths, np.inf, max_tokens=OPT_CONTEXT)
            old = ServingScenario(workload, told, profile, "orca:max_seqs=1024", n)
            new = replace(old, rules="orca:max_seqs=1024,allocation=known")
            factors = [old.serve("fcfs", seed).clock / new.serve("s3-like", seed).clock for seed in range(seeds)]
            found[f"{name}, {gigabytes} GB"] = (np.nan, factors)
    return found


def swap_arithmetic(n: int, seeds: int) -> Factors:
    """Return how many times longer GPT-3's decode step is than the move of one request's cache, one way."""
    gpt = cost_profile("gpt3-175b")
    move = 512 * gpt.kv_bytes_per_token / 32e9
    return {"GPT-3 175B, 512 tokens, 32 GB/s one way": (np.nan, [float(gpt.numbers[0] / move)] * seeds)}


PLAIN, PREDICTED = "vllm-v1", "lognormal:sigma=0.5"
SPRPT, SWAPPED = Side("sprpt", PLAIN, PREDICTED), Side("sprpt", f"{PLAIN}:preemption=swap", PREDICTED)
TAIL = Side("sprpt", f"{PLAIN}:keep_head=true", PREDICTED)
NEAR_MEMORY = "OPT-13B as vLLM's authors' rivals timed it (vllm-opt-13b-tp1), 40 and 80 GB; mean s/token at most "
NEAR_MEMORY += (
    ", ".join(f"{level:g}" for level in LEVELS) + "; sharegpt (multi-turn) and lmsys-arena, up to 2048 tokens"
)
KERNELS = "all systems run on the same iteration times; older kernels, and memory lost to fragments, are not modelled"
CLAIMS = [
    Claim("vllm-orca", "vLLM: 2-4x the throughput of Orca at the same latency (3.3)", (2, 4), NEAR_MEMORY, KERNELS,
          throughput("orca:max_seqs=256")),
    Claim("vllm-ft", "vLLM: 2-4x the throughput of FasterTransformer (3.3)", (2, 4), NEAR_MEMORY, KERNELS,
          throughput("static:max_seqs=256")),
    Claim("trail-e2e", "Trail: 1.66-2.01x lower mean latency than vLLM on Alpaca (4.1)", (1.66, 2.01),
          "a100-llama3-8b, Alpaca-like lengths, at most 48 running, c=0.8, predictor trail",
          "time of the probe and of vLLM's host work in 2024; their GPU was slower at the same rates",
          trail(mean_of("e2e"))),
    Claim("trail-ttft", "Trail: 1.76-24.07x lower mean TTFT than vLLM on Alpaca (4.1)", (1.76, 24.07), "as trail-e2e",
          "as trail-e2e", trail(mean_of("ttft"))),
    Claim("trail-c0-e2e", "Trail without preemption (c=0, as released later): mean latency", None, "as trail-e2e, c=0",
          "as trail-e2e", trail(mean_of("e2e"), 0.0), is_claim=False),
    Claim("trail-c0-ttft", "Trail without preemption: mean TTFT", None, "as trail-e2e, c=0", "as trail-e2e",
          trail(mean_of("ttft"), 0.0), is_claim=False),
    Claim("fastserve-mean", "FastServe: up to 5.1x lower mean latency than Orca (4.1)", (5.1, 5.1),
          "distserve-opt-13b-tp1; four laws of lengths to 2048 tokens; batches of at most 16, Orca reserves 2048",
          "its paper's own lengths, whose tail decides; limits of host memory; transfers run beside the iteration",
          fastserve(mean_of("e2e"))),
    Claim("fastserve-tail", "FastServe: up to 6.4x lower tail latency than Orca (4.1)", (6.4, 6.4),
          "as fastserve-mean; the tail is the 95th percentile here, which one is meant was not checked",
          "as fastserve-mean", fastserve(tail_of("e2e", 95))),
    Claim("ltr-sharegpt", "LTR: burst of 2000, ShareGPT, 1.15 to 0.56 s/token, 2.05x (LTR's paper)", (2.05, 2.05),
          "a100-llama3-8b, sharegpt (all, and to 2048 tokens), ranking tau=0.54, at most 256 running",
          "time of the ranking model (0.8-1.7 %)",
          ltr_burst("sharegpt", "sharegpt to 2048")),
    Claim("ltr-lmsys", "LTR: burst of 2000, LMSYS, 1.73 to 0.38 s/token, 4.55x (LTR's paper)", (4.55, 4.55),
          "a100-llama3-8b, lmsys-arena, ranking tau=0.62, at most 256 running", "as ltr-sharegpt",
          ltr_burst("lmsys-arena")),
    Claim("ltr-rates", "LTR: up to 6.9x lower mean s/token than FCFS over rates (LTR's paper)", (6.9, 6.9),
          "as the bursts, over loads; their rates reach far beyond capacity", "as ltr-sharegpt", ltr_rates),
    Claim("sarathi-gap", "chunked prefill: shorter stalls of decodes, longest gap of a request (3.4)", None,
          "a100-llama3-8b, azure-conv up to 4096 tokens, sarathi (512) against vllm-v0; mean of the longest gaps",
          "no number is claimed", chunks(mean_of("longest_gap"))),
    Claim("sarathi-tbt", "chunked prefill: lower p99 of the time between tokens (3.4)", None,
          "as sarathi-gap, all tokens counted, a tenth of the requests", "no number is claimed", tokens_apart),
    Claim("sarathi-ttft", "the price of chunked prefill: mean TTFT, prefills first over chunked", None,
          "as sarathi-gap", "", chunks(mean_of("ttft")), is_claim=False),
    Claim("swap-36ms", "250 ms a decode step, 36 ms to move a cache of 2.3 GB: 6.9x (3.4)", (6.9, 6.9),
          "arithmetic of the engine", "the printed 36 ms adds both directions of PCIe; one way it is 72 ms",
          swap_arithmetic),
    Claim("swap", "swapping to the host eases the overhead of preemption (3.4)", None,
          f"{TIGHT}, azure-conv, sprpt, swap at 32 GB/s against recomputing; mean latency",
          "transfers beside computation; the survey gives no number", preempting(SPRPT, SWAPPED, mean_of("e2e"))),
    Claim("tail-discard", "discarding only the tail of a cache saves work (3.3)", None,
          f"{TIGHT}, azure-conv, sprpt, keep_head; tokens computed again",
          "the survey only says that it may be done", preempting(SPRPT, TAIL, recomputed)),
    Claim("tail-discard-e2e", "the same, mean latency", None, "as tail-discard", "as tail-discard",
          preempting(SPRPT, TAIL, mean_of("e2e"))),
    Claim("limited", "sparing the old from preemption (c=0.8) beats SPRPT where memory is tight (4.1)", None,
          f"{TIGHT}, azure-conv, lognormal predictions; mean latency", "no number is claimed",
          preempting(SPRPT, replace(SPRPT, policy="trail:c=0.8"), mean_of("e2e"))),
    Claim("prompt-size", "ranking by output alone lets long prompts block others (LTR; 4.1)", None,
          f"{TIGHT}, azure-code, exact lengths; sjf against remaining-seconds, mean TTFT", "no number is claimed",
          preempting(Side("sjf", PLAIN, "exact"), Side("remaining-seconds", PLAIN, "exact"), mean_of("ttft"),
                     "azure-code")),
    Claim("s3", "S3: up to 6.49x the throughput of reserving for the longest (survey's [48])", (6.49, 6.49),
          "a100-llama2-7b, all requests at once, 24, 40, 80 GB, ten buckets of 2048, accuracy 98.6 %",
          "S3 packs whole batches and used GPT-J; here requests join one by one", s3),
]  # fmt: skip


def interval(factors: list[float]) -> tuple[float, float, float]:
    """Return a factor and its 95 % interval over seeds, by logarithms; NaN where a seed has none."""
    if not np.isfinite(factors).all():
        return np.nan, np.nan, np.nan
    mean, low, high, *_ = across_seeds(np.log(factors))
    return float(np.exp(mean)), float(np.exp(low)), float(np.exp(high))


def verdict(claimed: tuple[float, float] | None, rows: list[dict[str, Any]]) -> str:
    """Return the word that the rule gives for the intervals of a sweep."""
    rows = [row for row in rows if np.isfinite(row["low"])]
    above = [row for row in rows if row["low"] >= 1 + LEAST]
    if not rows:
        return "no setting"
    if not above or claimed is None:
        return "reproduced" if above and all(row["high"] > 1 / (1 + LEAST) for row in rows) else "not reproduced"
    for group in {row["group"] for row in above}:
        least = min(row["low"] if row in above else row["factor"] for row in rows if row["group"] == group)
        if least <= claimed[1] and max(row["high"] for row in above if row["group"] == group) >= claimed[0]:
            return "reproduced"
    if max(row["high"] for row in above) < claimed[0]:
        return "same direction, smaller"
    larger = all(row["low"] > claimed[1] for row in rows)
    return "same direction, larger" if larger else "same direction, on either side"


def settle(claim: Claim, n: int, seeds: int) -> dict[str, Any]:
    """Return the factors of a claim's sweep and the verdicts."""
    rows = []
    for setting, (load, factors) in claim.run(n, seeds).items():
        factor, low, high = interval(factors)
        group = setting if np.isnan(load) else setting.rpartition(", ")[0]  # a set-up, over its loads
        rows.append({"setting": setting, "group": group, "load": load, "factor": factor, "low": low, "high": high})
    stable = [row for row in rows if not row["load"] > STABLE]
    told = {key: getattr(claim, key) for key in ("key", "words", "claimed", "setup", "missing")}
    if not claim.is_claim:
        return {**told, "verdict": "not a claim", "with_overload": "not a claim", "rows": rows}
    return {
        **told,
        "verdict": verdict(claim.claimed, stable),
        "with_overload": verdict(claim.claimed, rows),
        "rows": rows,
    }


def settle_row(job: tuple[int, int, int]) -> dict[str, Any]:
    """Settle the claim of a row; this much can be sent to another process."""
    row, n, seeds = job
    return settle(CLAIMS[row], n, seeds)


def span(rows: list[dict[str, Any]]) -> str:
    """Return the least and the largest factor of a sweep in words, the largest with its interval."""
    rows = [row for row in rows if np.isfinite(row["factor"])]
    if not rows:
        return "-"
    low, top = min(row["factor"] for row in rows), max(rows, key=lambda row: row["factor"])
    most = f"{top['factor']:.3g} ({top['low']:.3g}-{top['high']:.3g})"
    return most if len(rows) == 1 else f"{low:.3g} to {most}"


def report(found: dict[str, Any], console: Console) -> None:
    """Print a line for each claim."""
    title = f"factors, old system over new; {found['requests']} requests, {found['seeds']} seeds"
    table = Table(
        "claim", f"load up to {STABLE:g}", "verdict", "all loads", "verdict", title=title, title_justify="left"
    )
    for row in found["claims"]:
        stable = [r for r in row["rows"] if not r["load"] > STABLE]
        more = len(stable) < len(row["rows"])
        rest = (span(row["rows"]), row["with_overload"]) if more else ("", "")
        table.add_row(row["words"], span(stable), row["verdict"], *rest)
    console.print(table)


def main(arguments: list[str] | None = None) -> None:
    """Run every claim, store and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of a run")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT, help="where the result is stored")
    options = parser.parse_args(arguments)
    jobs = [(row, options.requests, options.seeds) for row in range(len(CLAIMS))]
    with ProcessPoolExecutor(options.processes) as pool:
        console = Console(stderr=True)
        rows = list(track(pool.map(settle_row, jobs), "claims", len(jobs), console=console))
    values = {"requests": options.requests, "seeds": options.seeds, "rule": __doc__, "claims": rows}
    found = result(values, seeds=range(options.seeds))
    options.out.parent.mkdir(exist_ok=True)
    write_json(options.out, found)
    print(json.dumps(plain(found))) if options.json else report(found, Console())


if __name__ == "__main__":
    main()
