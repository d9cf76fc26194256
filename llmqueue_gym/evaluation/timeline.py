"""A run as a timeline that Perfetto (ui.perfetto.dev) and chrome://tracing open: what each request did, where and when.

A replica is a process; a lane of it holds requests one after another, each as its wait, its prompt and its output, all
at the replica where it ended: where prompts are read elsewhere, those replicas have no process of their own. Two
counters tell how many wait there and how many are served. The format is Chrome's trace events, times in microseconds.
"""

import heapq
import json
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.storage import write_text
from llmqueue_gym.systems.run import Run

PARTS = ("wait", "prompt", "output")
MOST = 200_000  # requests: a file of more would not open


def write_timeline(path: str, run: Run) -> None:
    """Write the timeline of a serving run.

    Raises:
        BadInput: there are too many requests for a picture, or the file cannot be written.
    """
    if len(run) > MOST:
        raise BadInput(f"a timeline of {len(run):,} requests would not open; {MOST:,} at most")
    try:
        write_text(path, json.dumps({"traceEvents": events(run), "displayTimeUnit": "ms"}))
    except OSError as error:
        raise BadInput(f"timeline {path!r} cannot be written: {error.strerror or error}") from None


def events(run: Run) -> list[dict[str, Any]]:
    """Return the trace events of a run."""
    sites, found = np.maximum(run.jobs["site"], 0), []
    for site in np.unique(sites):
        rows = np.flatnonzero(sites == site)
        found.append({"ph": "M", "name": "process_name", "pid": int(site), "args": {"name": f"replica {site}"}})
        found += _slices(run, int(site), rows)
        found += _counters(run, int(site), rows)
    return found


def _slices(run: Run, site: int, rows: np.ndarray) -> list[dict[str, Any]]:
    """Return what the requests of a replica did; one that was not served to its end has no end."""
    found, free, busy, lanes = [], [], [], 0  # type: ignore[var-annotated]
    for row in rows[run.done[rows]].tolist():
        moments = [run.jobs["arrival"][row], *(run.outcome[k][row] for k in ("scheduled", "first_token", "completion"))]
        begin, end = float(moments[0]), float(moments[-1])
        while busy and busy[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else lanes
        lanes = max(lanes, lane + 1)
        heapq.heappush(busy, (end, lane))
        told = {name: run.jobs[name][row].item() for name in ("prompt", "generated", "predicted", "preemptions")}
        for part, start, stop in zip(PARTS, moments, moments[1:], strict=False):
            slice_ = {"ph": "X", "name": f"{part} {row}", "cat": part, "pid": site, "tid": lane}
            found.append({**slice_, "ts": 1e6 * float(start), "dur": 1e6 * float(stop - start), "args": told})
    return found


def _counters(run: Run, site: int, rows: np.ndarray) -> list[dict[str, Any]]:
    """Return how many wait and how many are served at a replica, where either changes."""
    arrival, scheduled, completion = (
        run.jobs["arrival"][rows],
        run.outcome["scheduled"][rows],
        run.outcome["completion"][rows],
    )
    moments = np.concatenate([arrival, scheduled, completion])
    waits = np.repeat((1, -1, 0), len(rows))
    runs = np.repeat((0, 1, -1), len(rows))
    known = np.isfinite(moments)
    order = np.argsort(moments[known], kind="stable")
    times, waiting, running = moments[known][order], np.cumsum(waits[known][order]), np.cumsum(runs[known][order])
    last = np.append(times[1:] != times[:-1], True) if len(times) else np.zeros(0, bool)
    return [
        {"ph": "C", "name": "requests", "pid": site, "ts": 1e6 * t, "args": {"waiting": w, "running": s}}
        for t, w, s in zip(times[last].tolist(), waiting[last].tolist(), running[last].tolist(), strict=True)
    ]
