"""What a run of a fleet leaves behind."""

from typing import Any

import numpy as np

from llmqueue_gym.engines.batching.tables import REASONS, ReplicaTables
from llmqueue_gym.engines.fleet.tables import FleetTables
from llmqueue_gym.systems.control import on_times
from llmqueue_gym.systems.run import Run

TIMES = ("prefill_time", "decode_time", "transfer_time", "token_time", "batch_time")
SUMS = (*TIMES, "prefill_tokens", "decode_tokens", "preemptions", "hit_tokens", "most_blocks")
OF_FLEET = ("transfers", "transfer_bytes", "spared_tokens", "migrations", "lost")


def run_of(
    f: FleetTables, r: ReplicaTables, e: int, outputs: np.ndarray, player: str, system: Any, elapsed: float
) -> Run:
    """Return what came of run e: sums over its replicas, and what each did.

    Args:
        f: tables of the fleets.
        r: tables of their replicas.
        e: the run.
        outputs: true output tokens `(n,)`.
        player: name of the router or agent.
        system: the fleet.
        elapsed: s of wall time.
    """
    size, fleet = len(f.forms), f.fleet[e]
    mine = slice(e * size, (e + 1) * size)
    rows = slice(int(fleet["first"]), int(fleet["first"] + fleet["n"]))
    service, requests, which = np.array(r.service[rows]), np.array(r.requests[rows]), system.rows[1]
    requests["site"] = np.where(requests["site"] < 0, -1, which[requests["site"]])  # a pipeline has several rows
    last = service["completion"][np.isfinite(service["completion"])]
    reason, clock = REASONS[int(fleet["reason"])], max(float(fleet["clock"]), float(last.max()) if len(last) else 0.0)
    parts = _parts(f, r, mine, which, clock)
    totals = {name: sum(part[name] for part in parts) for name in (*SUMS, "iterations", "on_time")}
    stays = np.where(np.isnan(service["completion"]), clock, service["completion"]) - requests["arrival"]
    totals |= {"clock": clock, "integral": float((requests["weight"] * np.maximum(stays, 0.0)).sum())}
    totals |= {name: fleet[name].item() for name in OF_FLEET}
    return Run(player, requests, np.array(outputs), service, elapsed, system, reason, totals, parts)


def readers(f: FleetTables, run: Run) -> np.ndarray | None:
    """Return where the prompts of the only run of fresh tables were read `(n,)`; None where a request moves more often.

    The tables know where a request came from last.
    """
    system, site = run.system, run.jobs["site"]
    if system.migrate_every or system.spot:
        return None
    return np.where(f.flows["order"] == -1, system.rows[1][f.flows["source"]], site)


def _parts(
    f: FleetTables, r: ReplicaTables, mine: slice, which: np.ndarray, clock: float
) -> tuple[dict[str, float], ...]:
    """Return what each replica did; a pipeline has a row for each of its stages, and was there as long as the first."""
    parts: list[dict[str, float]] = [dict.fromkeys((*SUMS, "iterations", "on_time"), 0) for _ in range(which[-1] + 1)]
    state, system, on_time = r.state[mine], r.system[mine], on_times(f, mine, clock)
    for row, q in enumerate(which.tolist()):
        part = parts[q]
        for name in SUMS:
            part[name] += state[name][row].item()
        part["iterations"] += int(system["iterations"][row])
        part["on_time"] = max(part["on_time"], float(on_time[row]))
    return tuple(parts)
