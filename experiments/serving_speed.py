"""Speed of the serving engine, for `speed.py`: a replica beside a loop by hand, fleets beside AISimulate, programs."""

import time
from dataclasses import replace
from pathlib import Path

import aisimulate
import handwritten
import numpy as np
from measured import Measured

from llmqueue_gym.evaluation.serving import serve
from llmqueue_gym.profiles import profile
from llmqueue_gym.systems import Scenario
from llmqueue_gym.workloads.requests import RequestWorkload, TraceRequests, draw_requests

REPEATS = 15
SEATS = 64  # requests in a batch
MOONCAKE = Path(__file__).parents[2] / "shared" / "traces" / "data" / "mooncake_conversation.csv.gz"
CALLS = 50_000  # of programs
REPLICAS, REQUESTS, RATE = 8, 20_000, 8.0  # the last one 1/s
SERVED = {"profile": "h100-llama3.1-8b", "rules": "vllm-v1:caching=vllm,block_size=16"}
RIVAL = "dynamo"  # the router that AISimulate has, too
ROUTERS = ("least-outstanding", "cache-aware-like", RIVAL)


def serving(measured: Measured, n: int = 20_000) -> None:
    """Time the serving engine at a batch of 64 and a hand-written loop by turns, on the same backlog."""
    workload, rules = RequestWorkload("azure-conv", float("inf")), {"max_seqs": SEATS, "token_budget": 1 << 30}
    given = draw_requests(workload, "exact", n, seed=0)
    # Memory for all, so that the loop, which has no limit, takes the same decisions.
    gpu = profile(f"a100-llama3-8b:kv_tokens={1 << 26}")
    prompts, completion = given.requests["prompt"].astype(np.int64), np.zeros(n)
    ours, loop = [], []
    for k in range(REPEATS + 1):
        served = serve(given, "fcfs", gpu, "vllm-v1", **rules)
        start = time.perf_counter()
        iterations = handwritten.batches(prompts, given.outputs, SEATS, *gpu.numbers, completion)
        elapsed = time.perf_counter() - start
        if iterations != served.totals["iterations"] or not np.allclose(completion, served.outcome["completion"]):
            raise AssertionError("the hand-written loop and the serving engine disagree")
        if k:  # the first turn compiles
            ours.append(iterations / served.elapsed)
            loop.append(iterations / elapsed)
    measured.add(f"serving engine, vllm-v1, fcfs, batch {SEATS}", "iterations/s", ours)
    measured.add(f"hand-written loop, batch {SEATS}", "iterations/s", loop)
    measured.ratios["serving engine / hand-written loop"] = float(np.median(np.divide(ours, loop)))
    for name, spec in (("vllm-priority", "exact"), ("sprpt", "exact"), ("trail", "trail"), ("mc-sf", "exact")):
        told = draw_requests(RequestWorkload("azure-conv", 7.0), spec, n // 4, seed=0)
        rates = []
        for _ in range(4):
            served = serve(told, name, "a100-llama3-8b", "vllm-v1", max_seqs=SEATS)
            rates.append(served.totals["iterations"] / served.elapsed)
        measured.add(f"serving engine, {name}", "iterations/s", rates[1:])


def mooncake() -> Scenario:
    """Return the fleet, and requests drawn from Mooncake's conversations with what their prompts share.

    Raises:
        BadInput: the trace is not there.
    """
    workload = TraceRequests.from_trace(MOONCAKE, order="bootstrap", rate=RATE)
    return Scenario("fleet", replicas=REPLICAS, workload=workload, n_jobs=REQUESTS, **SERVED)


def fleets(measured: Measured) -> None:
    """Time replicas that cache prefixes behind routers, on Mooncake's conversations, and AISimulate beside them.

    A time is of CPU for the whole of `simulate`, requests drawn and tables laid out included; of AISimulate, of its
    replay alone, its process and its start not counted. By turns, as other work on the machine slows both.
    """
    if not MOONCAKE.exists():
        measured.skipped.append(f"fleets ({MOONCAKE.name} is not there)")
        return
    scenario, what = mooncake(), f"{REQUESTS:,} Mooncake requests on {REPLICAS} caching replicas"
    times: dict[str, list[float]] = {name: [] for name in ROUTERS}
    theirs: list[aisimulate.Replay] = []
    interpreter = aisimulate.interpreter()
    if interpreter is None:
        measured.skipped.append(aisimulate.SKIPPED)
    for k in range(6):
        for name in ROUTERS:
            start = time.process_time()
            run = scenario.simulate(name)
            if k:  # the first turn compiles
                times[name].append(time.process_time() - start)
        if k > 2 and interpreter is not None:
            theirs.append(aisimulate.replay(interpreter, scenario))
    for name in ROUTERS:
        measured.add(f"fleet, {name}, {what}", "CPU s", times[name])
    if theirs:
        measured.add(f"AISimulate, kv_router, {what}", "CPU s", [one.cpu for one in theirs])
        measured.add(f"AISimulate, kv_router, {what}", "s", [one.wall for one in theirs])
        ratios = np.divide([one.cpu for one in theirs], times[RIVAL][-len(theirs) :])
        measured.ratios["fleet / AISimulate, CPU time, median of pairs"] = float(np.median(ratios))
        best = min(one.cpu for one in theirs) / min(times[RIVAL])
        measured.ratios["fleet / AISimulate, CPU time, best of each"] = best
        mean, hits = run.response_times.mean(), run.totals["hit_tokens"] / run.jobs["prompt"].sum()
        measured.notes["fleet"] = {"mean_response_s": float(mean), "hit_share": float(hits)}
        measured.notes["AISimulate"] = {"mean_response_s": theirs[-1].mean_response, "hit_share": theirs[-1].hit_share}


def programs(measured: Measured) -> None:
    """Time agents whose calls depend on one another, on four replicas, whole runs but for drawing them."""
    for law, more in (("planner", {}), ("tool-calls", {"retention": "infercept"})):
        scenario = Scenario("programs", replicas=4, law=law, rate=2.0, profile=SERVED["profile"], **more)
        scenario = replace(scenario, n_jobs=round(CALLS / scenario.source.calls))
        drawn, policy, times = scenario.draw(0), scenario.policy("program-srpt"), []
        for _ in range(5):
            start = time.process_time()
            run = scenario.system.simulate(drawn, policy)
            times.append(time.process_time() - start)
        told = " ".join(("program-srpt", *more.values()))
        measured.add(f"programs, {told}, {len(run.calls):,} calls of {law} on 4 replicas", "CPU s", times[1:])
