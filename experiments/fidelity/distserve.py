"""Does the fleet engine serve as DistServe's simulator does, pipelines and shared phases included?

Replays runs of simdistserve, LLMServe/DistServe 82831f1 (Zhong et al., DistServe, OSDI 2024), as fleets under the rule
set `distserve`, with the coefficients that a log tells, and compares mean and 99th percentile of the time to first
token and of the end-to-end time. Prints a line for each run and the worst errors, and exits 1 where one is above 1 %
(light and medium runs) or 5 % (others). Runs with equal arrival times are printed but do not count.

    python experiments/fidelity/distserve.py DIR

DIR holds `runs.json` and the logs that it names. A request makes one token more there than its output says.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from split_logs import Log, main, serve, times_of

from llmqueue_gym.errors import BadInput
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.profiles.files import write_profile
from llmqueue_gym.systems.fleet import Fleet

FEW = 95  # decodes below which a batch counts as small
HOST = (2.0, 1e-4)  # ms for a batch at the first stage, and for each token of context in it
MS = 1e-3


def replay(log: Log) -> tuple[np.ndarray, np.ndarray]:
    """Return times to first token and end-to-end times of a run, ms."""
    header, requests, _ = log
    if header["config"]["backend"] not in ("distserve", "vllm"):
        raise BadInput(f"backend {header['config']['backend']!r} is not simulated; choose distserve or vllm")
    rows = np.array([request[2:5] for request in requests], dtype=float)
    with tempfile.TemporaryDirectory() as folder:
        described = Path(folder, "fleet.toml")
        described.write_text(plan(header, folder), encoding="utf-8")
        fleet = Fleet(fleet=str(described), handover="shortest-line", bandwidth=np.inf, latency=0.0)
    run = serve(fleet, "fewest-prompts", MS * rows[:, 0], rows[:, 1].astype(int), rows[:, 2].astype(int) + 1)
    first, last = times_of(run)
    return first / MS, last / MS


def plan(header: dict[str, Any], folder: str) -> str:
    """Return the cluster of a run as a file that describes a fleet; profiles are written to a folder."""
    config, lines = header["config"], []
    both = config["backend"] == "vllm"
    kinds = [("both" if both else "prefill", config["n_prefill"], config["pp_prefill"])]
    kinds += [] if both else [("decode", config["n_decode"], config["pp_decode"])]
    for role, count, stages in kinds:
        path = Path(folder, f"{role}.json")
        write_profile(path, profile(header["coefficients"], stages))
        chunked = str(config["chunked"]).lower()
        rules = f"token_budget={config['prefill_max_tokens']},max_seqs={config['decode_max_tokens']},chunked={chunked}"
        lines += ["[[replica]]", f'role = "{role}"', f"count = {count}", f'profile = "file:{path}"']
        lines += [f'rules = "distserve:{rules},stages={stages}"', ""]
    return "\n".join(lines)


def profile(coefficients: dict[str, Any], stages: int) -> Profile:
    """Return the cost profile of an instance of so many stages."""
    decode = coefficients["decode"]
    lines = np.array([coefficients["prefill"], decode["decoding_smallbs"], decode["decoding_largebs"]]) / stages
    lines[0, 0] += stages
    later = np.array([*lines.ravel() * MS, FEW, 0.0, 0.0])
    first = np.array([*lines.ravel() * MS, FEW, *(MS * np.array(HOST))])
    return Profile(
        name="log",
        model="",
        gpu="",
        form="distserve",
        numbers=np.concatenate([first, later]),
        kv_tokens=10**6,
        kv_bytes_per_token=1.0,
        source="the coefficients of the log",
    )


if __name__ == "__main__":
    sys.exit(main(__doc__, "DistServe", replay, (2, 4)))
