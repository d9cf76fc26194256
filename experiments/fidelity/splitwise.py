"""Does the fleet engine serve as splitwise-sim does, machine by machine and pool by pool?

Replays runs of Mutinifni/splitwise-sim 8f99e7d (Patel et al., Splitwise, ISCA 2024) as fleets under the rule set
`splitwise`, and compares mean and 99th percentile of the time to first token and of the end-to-end time. Prints a line
for each run and the worst errors, and exits 1 where one is above 1 % (light and medium runs) or 5 % (others). Runs with
equal arrival times are printed but do not count: there the simulator's heap decides by chance who is first.

    python experiments/fidelity/splitwise.py DIR

DIR holds `runs.json` and the logs that it names.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from split_logs import Log, main, serve, times_of

from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems.fleet import Fleet

ROUTERS = {"token_jsq": "token-jsq", "mixed_pool": "mixed-pool"}
ROLES = {None: "both", "prompt": "prefill", "token": "decode"}


def replay(log: Log) -> tuple[np.ndarray, np.ndarray]:
    """Return times to first token and end-to-end times of a run, s."""
    header, requests, _ = log
    if header["scheduler"] not in ROUTERS:
        raise BadInput(f"scheduler {header['scheduler']!r} is not simulated; choose from {', '.join(ROUTERS)}")
    rows = np.array([request[2:5] for request in requests], dtype=float)
    with tempfile.TemporaryDirectory() as folder:
        described = Path(folder, "fleet.toml")
        described.write_text(plan(header), encoding="utf-8")
        fleet = Fleet(
            fleet=str(described),
            handover="least-reserved",
            bandwidth=float(header["transfer_bytes_per_s"]),
            latency=0.0,
            retry=float(header["retry_delay"]),
        )
    run = serve(fleet, ROUTERS[header["scheduler"]], rows[:, 0], rows[:, 1].astype(int), rows[:, 2].astype(int))
    return times_of(run)


def plan(header: dict) -> str:
    """Return the cluster of a run as a file that describes a fleet."""
    blocks = int((header["memory_bytes"] - header["weight_bytes"]) // header["kv_bytes_per_token"])
    rules = {
        "blocks": blocks,
        "max_seqs": header["max_batch_size"],
        "token_budget": header["max_batch_tokens"],
        "overdue": header["max_preemptions"],
    }
    told = ",".join(f"{key}={value}" for key, value in rules.items())
    lines = []
    for machine in header["instances"]:
        name = f"splitwise-sim-{machine['hardware'].replace('-80gb', '')}-{header['model']}"
        role = ROLES[machine["tag"]]
        lines += ["[[replica]]", f'role = "{role}"', f'profile = "{name}"', f'rules = "splitwise:{told}"', ""]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(__doc__, "splitwise-sim", replay, (2, 4)))
