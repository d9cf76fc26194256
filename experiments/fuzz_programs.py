"""Does any small fleet serve a call of a program twice or never, before its parents, or without its gap?

Draws programs of any shape, fleets, routers, orders, ways to keep contexts and rules of stopping, spot machines that
vanish among them, and serves them. Prints what broke which promise, with the number by which `--only` plays it again;
exits 1 if anything did. With `--store` what came out is kept in `results/fuzz_programs.json`.

    python experiments/fuzz_programs.py --runs 10000 --seed 1 --processes 2
"""

import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import main

from llmqueue_gym import _jit
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.programs import PROGRAM_POLICIES
from llmqueue_gym.policies.retention import RETENTION_POLICIES
from llmqueue_gym.policies.serving import SERVING_POLICIES
from llmqueue_gym.policies.stopping import STOPPING_POLICIES
from llmqueue_gym.programs import Answers, check_programs, depths
from llmqueue_gym.requests import Programs, never_refreshed, request_table
from llmqueue_gym.systems import Drawn, Run
from llmqueue_gym.systems.control import NEVER
from llmqueue_gym.systems.program_run import ProgramRun
from llmqueue_gym.systems.programs import ProgramFleet

OUT = Path(__file__).parent / "results" / "fuzz_programs.json"
ORDERS = ("fcfs", "sprpt", "sjf", "las", "ltr", "edf", "trail", "mc-sf", "program-fcfs", "plas-like", "critical-path")
ROUTERS = ("round-robin", "random", "power-of-d", "least-outstanding", "least-work", "least-kv", "cache-aware-like")
RULES = ("vllm-v1", "sarathi", "vllm-v1:caching=vllm", "vllm-v1:caching=radix", "vllm-v1:preemption=swap")


def draw_programs(rng: np.random.Generator, most: int) -> tuple[np.ndarray, Programs, Answers, np.ndarray, np.ndarray]:
    """Return arrivals, programs, answers, prompts and outputs of 1 to 12 programs of some `most` tokens a prompt."""
    count = int(rng.integers(1, 13))
    starts = np.sort(rng.exponential(rng.choice([0.0, 0.3, 3.0]), count).cumsum())
    roots = rng.integers(1, 4, count)
    later = rng.integers(0, 7, count) * (rng.random(count) < 0.8)
    come = np.repeat(starts, roots)
    if rng.random() < 0.3:  # some come after the first call of their program
        come += rng.exponential(1.0, len(come)) * (np.diff(np.repeat(np.arange(count), roots), prepend=-1) == 0)
    order = np.argsort(come, kind="stable")
    program = np.concatenate([np.repeat(np.arange(count), roots)[order], np.repeat(np.arange(count), later)])
    n, own = len(program), [list(np.flatnonzero(program[: roots.sum()] == p)) for p in range(count)]
    parents: list[int] = []
    first, gap, continues = np.zeros(n + 1, np.int64), np.zeros(n), np.full(n, -1)
    prompts, outputs = rng.integers(1, most // 2, n), rng.integers(1, 12, n)
    law = rng.choice([0.0, 0.05, 2.0])
    for i in range(n):
        if i >= roots.sum():
            known = own[program[i]]
            chosen = rng.choice(known, min(len(known), int(rng.integers(1, 4))), replace=False)
            parents += sorted(int(one) for one in chosen)
            gap[i] = rng.exponential(law) if rng.random() < 0.8 else 0.0
            known.append(i)
            if rng.random() < 0.7:
                continues[i] = rng.choice(chosen)
                prompts[i] = prompts[continues[i]] + outputs[continues[i]] + rng.integers(0, 5)
        first[i + 1] = len(parents)
    arrivals = np.concatenate([come[order], np.full(int(later.sum()), np.inf)])
    made = Programs(program, np.array(parents, np.int64), first, gap, continues)
    check_programs(made, n)
    sizes = np.bincount(program)[program]
    cluster = np.where(rng.random(n) < 0.6, rng.integers(0, np.minimum(sizes, 3)), -1)
    nothing = np.full(count, np.nan), np.full(count, -1), np.zeros(count, bool)
    return arrivals, made, Answers(cluster, cluster == 0, rng.random(n), *nothing), prompts, outputs


def draw_case(rng: np.random.Generator) -> tuple[ProgramFleet, Drawn, str]:
    """Return a fleet, what comes there, and in which order it is served."""
    arrivals, programs, answers, prompts, outputs = draw_programs(rng, 60)
    n, replicas = len(outputs), int(rng.integers(1, 4))
    longest = int((prompts + outputs).max()) + 1
    size = int(rng.choice([1, 4, 16]))
    blocks = -(-(longest + 2) // size) + int(rng.choice([0, 1, 5, 40])) + 2
    rules = f"{rng.choice(RULES)}"
    rules += f"{',' if ':' in rules else ':'}block_size={size},blocks={blocks},max_seqs={rng.choice([1, 2, 8])},"
    rules += f"token_budget={rng.choice([8, 64, 2048])},patience=3000"
    told: dict[str, Any] = {
        "replicas": replicas,
        "rules": rules,
        "router": str(rng.choice(ROUTERS)),
        "hold": bool(rng.random() < 0.4),
    }
    told["gang"] = bool(told["hold"] and rng.random() < 0.3)
    told |= {
        "retention": str(rng.choice(list(RETENTION_POLICIES))),
        "stopping": str(rng.choice(list(STOPPING_POLICIES))),
    }
    if "caching" in rules:
        told["retention"] = "discard"
    if told["retention"] == "ttl-optimal":
        told["retention"] = "ttl-optimal:gap=exponential:mean=1"
    if rng.random() < 0.3:
        told |= {"controller": "utilisation", "tick": 0.5, "start_up": 0.1}
    if rng.random() < 0.3:
        told |= {"spot": 1e-3, "start_up": float(rng.choice([0.125, 3.0]))}
    told["staleness"] = float(rng.choice([0.0, 0.3]))
    fleet = ProgramFleet("a100-llama3-8b", **told)
    work = request_table(arrivals, prompts)
    work["predicted"] = work["first_predicted"] = outputs * rng.choice([1.0, 0.5, 2.0], n)
    work["lower"], work["upper"] = work["predicted"], work["predicted"]
    work["depth"], work["program"] = depths(programs), programs.program
    truth = {"sizes": outputs, "refreshed": never_refreshed(n), "programs": programs, "answers": answers}
    truth |= {"choices": fleet.sender.choices(n, replicas, rng), "ties": rng.random(n)}
    if fleet.spot:
        truth["vanishing"] = np.zeros(4, NEVER.dtype)
        truth["vanishing"]["time"] = rng.exponential(3.0, 4).cumsum()
        truth["vanishing"]["subject"] = rng.integers(0, replicas, 4)
    return fleet, Drawn(work, truth), str(rng.choice(ORDERS))


def conserved(fleet: ProgramFleet, drawn: Drawn, run: ProgramRun, r: dict) -> None:
    """Check what came of a run."""
    programs, calls, tables = drawn.truth["programs"], run.calls, r["replicas"]
    assert calls is not None and run.ended is not None
    came, ended = calls.jobs["arrival"], calls.outcome["completion"]
    done, status = calls.done, calls.jobs["status"]
    child = np.repeat(np.arange(len(came)), np.diff(programs.first))
    begun = np.isfinite(came[child]) & ~np.isnan(calls.outcome["scheduled"][child])
    assert done[programs.parents[begun]].all(), "a call came before its parents had ended"
    last = np.full(len(came), -np.inf)
    np.maximum.at(last, child, np.where(done, ended, np.inf)[programs.parents])
    ready = np.isfinite(last) & np.isfinite(came)
    assert (came[ready] == (last + programs.gap)[ready]).all(), "a gap is not kept"
    assert run.reason == "drained", f"ends as {run.reason}"
    stopped = run.ended["cancelled"] > 0
    assert (run.ended["completion"] >= run.ended["began"]).all(), "a program is not over"
    assert done[~stopped[programs.program]].all(), "a call was never served"
    assert (calls.jobs["generated"] == drawn.sizes)[done & ~stopped[programs.program]].all(), "tokens missing"
    over = np.bincount(programs.program[done], minlength=len(stopped)) + run.ended["cancelled"]
    late = over - np.bincount(programs.program)  # those that ended in the iteration that they were in
    assert ((late >= 0) & ((late == 0) | stopped)).all(), "a call is neither served nor cancelled"
    assert (calls.jobs["blocks"] == 0).all(), "blocks kept by calls"
    assert (tables.state["kept"] == 0).all(), "contexts kept"
    if not fleet.caches:
        assert (tables.system["free"] == tables.system["blocks"]).all(), "blocks lost"
    assert (tables.system["running"] == 0).all() and (tables.system["waiting"] == 0).all(), "somebody is left"
    assert ((status != 1) & (status != 2) & (status != 3)).all(), "a call is still there"


def play(number: int, seed: int) -> str:
    """Play run `number`; return its kind and how it ended."""
    rng = np.random.default_rng([seed, number])
    _jit._FAILURES.clear()
    told = ""
    try:
        fleet, drawn, order = draw_case(rng)
        told = f"{fleet}, {order}"
        kept: dict = {}
        run = watched(fleet, drawn, order, kept)
        conserved(fleet, drawn, run, kept)
    except BadInput as error:
        return f"refused, {' '.join(str(error).split()[:3])} ..."
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} {error}, in {told}") from error
    return f"{fleet.retention.split(':')[0]}, {fleet.stopping}: {run.reason}"


def watched(fleet: ProgramFleet, drawn: Drawn, order: str, kept: dict) -> Run:
    """Serve a case and keep its tables."""
    loaded = ProgramFleet.loaded

    def keeping(self: ProgramFleet, *given: object) -> object:
        made = loaded(self, *given)
        kept["replicas"] = made[1]
        return made

    ProgramFleet.loaded = keeping  # type: ignore[method-assign]
    try:
        return fleet.simulate(drawn, (PROGRAM_POLICIES if order in PROGRAM_POLICIES else SERVING_POLICIES)(order))
    finally:
        ProgramFleet.loaded = loaded  # type: ignore[method-assign]


if __name__ == "__main__":
    _jit.pointer = cache(_jit.pointer)
    sys.exit(main(__doc__.splitlines()[0], play, OUT))
