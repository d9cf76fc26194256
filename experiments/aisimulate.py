"""NVIDIA's AISimulate on the requests of a scenario of ours, in an interpreter that has it, for `serving_speed`.

It is the offline replay of Dynamo's mocker (PyPI `ai-dynamo`, Apache-2.0), compiled Rust. `LLMQUEUE_AISIMULATE` names
the interpreter of a virtual environment with `pip install --no-deps ai-dynamo ai-dynamo-runtime`; nothing of it is
imported here.

The same are: requests with their arrivals, lengths and shared blocks of 512 tokens, workers, blocks of each and tokens
of a block, seats, token budget, chunked prefill, prefix caching, the router's rule (blocks to be read and in use, least
cost). Not the same are how long an iteration takes (its default polynomial, here a roofline), how ties of the router
fall, and the schedule where its mocker departs from vLLM's. So the same requests wait for other times, and what came
of them is told beside what it took.
"""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from llmqueue_gym.systems import Scenario

VARIABLE = "LLMQUEUE_AISIMULATE"
SKIPPED = f"AISimulate (pip install ai-dynamo into an environment of its own and name its python in {VARIABLE})"
BLOCK = 512  # tokens of a block whose hash Mooncake's trace has
REPLAY = """
import json, sys, time
from dynamo._core import _normalize_mocker_config, run_mocker_trace_replay
trace, workers, engine = json.loads(sys.argv[1])
config = _normalize_mocker_config({"engine": engine})
start, cpu = time.perf_counter(), time.process_time()
found = run_mocker_trace_replay(
    [trace], extra_engine_args=config, num_workers=workers, router_mode="kv_router", trace_block_size=512
)
took = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - start}
print(json.dumps(took | dict(found.summary)))
"""


class Replay(NamedTuple):
    """What a replay took, s, and what came of it."""

    cpu: float
    wall: float
    mean_response: float
    hit_share: float


def interpreter() -> str | None:
    """Return the interpreter that has AISimulate; None where none is named, or the named one has none."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    try:
        tried = subprocess.run([named, "-c", "import dynamo._core"], capture_output=True)
    except OSError:
        return None
    return None if tried.returncode else named


def rows(scenario: Scenario) -> list[dict[str, Any]]:
    """Return the requests of a scenario as Mooncake's trace has them."""
    work, truth = scenario.draw(0)
    texts, first = truth["contexts"].segments["text"].tolist(), truth["contexts"].first.tolist()
    columns = (work["arrival"].tolist(), work["prompt"].tolist(), truth["sizes"].tolist())
    return [
        {
            "timestamp": 1000 * arrival,
            "input_length": prompt,
            "output_length": output,
            "hash_ids": texts[first[i] : first[i + 1]],
        }
        for i, (arrival, prompt, output) in enumerate(zip(*columns, strict=True))
    ]


def replay(interpreter: str, scenario: Scenario) -> Replay:
    """Let AISimulate serve the requests of a fleet of equal replicas."""
    rules = scenario.system.members[0].rules
    engine = {
        "num_gpu_blocks": rules.blocks,
        "block_size": rules.block_size,
        "max_num_seqs": rules.max_seqs,
        "max_num_batched_tokens": rules.token_budget,
        "enable_prefix_caching": True,
        "enable_chunked_prefill": True,
    }
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "requests.jsonl"
        trace.write_text("".join(json.dumps(row) + "\n" for row in rows(scenario)))
        given = json.dumps([str(trace), len(scenario.system.members), engine])
        quiet = {**os.environ, "DYN_LOG": "error"}  # it would write a line for each request
        done = subprocess.run([interpreter, "-c", REPLAY, given], capture_output=True, text=True, env=quiet)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told = json.loads(done.stdout.splitlines()[-1])
    if told["completed_requests"] != scenario.n_jobs:
        raise AssertionError(f"AISimulate has ended {told['completed_requests']} of {scenario.n_jobs} requests")
    return Replay(told["cpu"], told["wall"], told["mean_e2e_latency_ms"] / 1000, told["prefix_cache_reused_ratio"])
