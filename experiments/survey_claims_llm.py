"""The claims of the survey on LLM serving, each with the nearest set-up that profiles, lengths and rules here allow.

For `survey_headlines_llm.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from survey_factors_llm import (
    LOADS,
    Factors,
    Metric,
    Side,
    at_once,
    compare,
    gaps,
    mean_of,
    named,
    recomputed,
    sustained,
    tail_of,
)

from llmqueue_gym.evaluation.serving import per_request
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.profiles.base import kv_capacity
from llmqueue_gym.profiles.gpus import GIB
from llmqueue_gym.profiles.models import LLAMA2_7B, OPT_13B, Model

OPT_CONTEXT = 2048  # tokens, the longest that OPT reads
# Mean and spread of Vicuna-7B's answers to 10,000 Alpaca instructions, at most 512 tokens (zhengzangw/
# Sequence-Scheduling); log-normal is this file's, and so is the prompt, a round number.
ALPACA = "lognormal:prompt=20,prompt_sigma=0.5,output=126,output_sigma=0.73"
ALPACA_LONGEST = 532
HEAVY = "lognormal:prompt=100,output=150,output_sigma=1.5"  # round numbers, a heavier tail than any recorded one here
LENGTHS = {"sharegpt": "sharegpt", "lmsys-arena": "lmsys-arena", "Alpaca-like": ALPACA, "heavy-tailed": HEAVY}
LEVELS = (0.25, 0.5, 1.0)  # s a token end to end, of which "the same latency" is one


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


@cache
def sustained_rates(rules: str, gigabytes: int, lengths: str, level: float, n: int, seeds: int) -> list[float]:
    """Return the rate that first come first served sustains under a rule set, for each seed, requests/s."""
    profile, side = f"vllm-opt-13b-tp1:kv_tokens={tokens_on(OPT_13B, gigabytes)}", Side("fcfs", rules)
    scenario = side.scenario(n, profile=profile, lengths=lengths, rate=1.0, max_tokens=OPT_CONTEXT)
    rates, guess = [], 1.0
    for seed in range(seeds):
        rates.append(sustained(scenario.draw(seed), profile, side, level, guess))
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
    where = {"lengths": ALPACA, "max_tokens": ALPACA_LONGEST, "profile": "a100-llama3-8b"}
    old, new = Side("fcfs", "vllm-v1:max_seqs=48"), Side(f"trail:c={c:g}", "vllm-v1:max_seqs=48", "trail")
    loads = ("10/s", "20/s", "30/s", 0.9, 0.95, 1.1, 1.5)
    return lambda n, seeds: compare(where, old, new, metric, n, seeds, loads)


def fastserve(metric: Metric) -> Callable[[int, int], Factors]:
    """Return how to compare FastServe with Orca."""
    old, new = Side("fcfs", "orca:max_seqs=16"), Side("fastserve", "vllm-v1:overlapped=true")

    def run(n: int, seeds: int) -> Factors:
        found: Factors = {}
        for name, lengths in LENGTHS.items():
            where = {"lengths": lengths, "max_tokens": OPT_CONTEXT, "profile": "distserve-opt-13b-tp1"}
            found |= named(name, compare(where, old, new, metric, n, seeds))
        return found

    return run


LTR = {"sharegpt": Side("ltr", "vllm-v1:max_seqs=256", "ranking:tau=0.54")}
LTR["sharegpt to 2048"] = LTR["sharegpt"]
LTR["lmsys-arena"] = replace(LTR["sharegpt"], predictor="ranking:tau=0.62")


def ltr_where(name: str) -> dict[str, Any]:
    """Return where an LTR set-up is played, by its name."""
    lengths, _, longest = name.partition(" to ")
    return {"lengths": lengths, "max_tokens": int(longest) if longest else None, "profile": "a100-llama3-8b"}


def ltr_burst(*names: str) -> Callable[[int, int], Factors]:
    """Return how to compare LTR with first come first served where 2000 requests come at once."""

    def run(n: int, seeds: int) -> Factors:
        found: Factors = {}
        for name in names:
            scenario = LTR[name].scenario(n, **at_once(**ltr_where(name)))
            means = [
                [float(per_request(scenario.simulate(p, seed))["normalised_latency"].mean()) for p in ("fcfs", "ltr")]
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
        found |= named(lengths, compare(ltr_where(lengths), old, new, metric, n, seeds, (*LOADS, 3.0)))
    return found


# vLLM before its rewrite takes no longer prompt.
CONVERSATIONS = {"lengths": "azure-conv", "max_tokens": 4096, "profile": "a100-llama3-8b"}


def chunks(metric: Metric) -> Callable[[int, int], Factors]:
    """Return how to compare prefills first with chunked prefill."""
    old, new = Side("fcfs", "vllm-v0"), Side("fcfs", "sarathi")
    return lambda n, seeds: compare(CONVERSATIONS, old, new, metric, n, seeds, LOADS[:5])


def tokens_apart(n: int, seeds: int) -> Factors:
    """Compare the 99th percentile of the time between two tokens, all tokens of all requests counted."""
    found: Factors = {}
    for load in (0.5, 0.8):
        scenario, factors = Side("fcfs", "vllm-v0").scenario(max(50, n // 10), load=load, **CONVERSATIONS), []
        for seed in range(seeds):
            given = scenario.draw(seed)
            p99 = [np.percentile(gaps(given, "a100-llama3-8b", rules), 99) for rules in ("vllm-v0", "sarathi")]
            factors.append(p99[0] / p99[1])
        found[f"load {load:g}"] = (load, factors)
    return found


# A tenth of the A100's memory for caches, so that preemptions are frequent.
TIGHT = f"a100-llama2-7b:kv_tokens={tokens_on(LLAMA2_7B, 80) // 10}"


def preempting(old: Side, new: Side, metric: Metric, lengths: str = "azure-conv") -> Callable[[int, int], Factors]:
    """Return how to compare two ways of preempting where memory is tight."""
    where = {"lengths": lengths, "max_tokens": 8192, "profile": TIGHT}
    return lambda n, seeds: compare(where, old, new, metric, n, seeds, LOADS[1:5])


ORCA = "orca:max_seqs=1024"


def s3(n: int, seeds: int) -> Factors:
    """Compare the throughput of S3 with that of reserving for the longest, all requests there at once."""
    found: Factors = {}
    told = "buckets:longest=2048,accuracy=0.986"
    for name, lengths in (("Alpaca-like", ALPACA), ("lmsys-arena", "lmsys-arena")):
        for gigabytes in (24, 40, 80):
            profile = f"a100-llama2-7b:kv_tokens={tokens_on(LLAMA2_7B, gigabytes)}"
            sides = (Side("fcfs", ORCA, told), Side("s3-like", f"{ORCA},allocation=known", told))
            ends = []
            for side in sides:
                scenario = side.scenario(n, **at_once(lengths, profile, OPT_CONTEXT))
                ends.append([scenario.simulate(side.policy, seed).totals["clock"] for seed in range(seeds)])
            found[f"{name}, {gigabytes} GB"] = (np.nan, np.divide(*ends).tolist())
    return found


def swap_arithmetic(n: int, seeds: int) -> Factors:
    """Return how many times longer GPT-3's decode step is than the move of one request's cache, one way."""
    gpt = cost_profile("gpt3-175b")
    move = 512 * gpt.kv_bytes_per_token / 32e9
    return {"GPT-3 175B, 512 tokens, 32 GB/s one way": (np.nan, [float(gpt.numbers[0] / move)] * seeds)}


PLAIN, PREDICTED = "vllm-v1:max_seqs=128", "lognormal:sigma=0.5"
SPRPT, SWAPPED = Side("sprpt", PLAIN, PREDICTED), Side("sprpt", f"{PLAIN},preemption=swap", PREDICTED)
TAIL = Side("sprpt", f"{PLAIN},keep_head=true", PREDICTED)
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
