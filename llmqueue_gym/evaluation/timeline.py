"""A run as a timeline that Perfetto (ui.perfetto.dev) and chrome://tracing open: what each request did, where and when.

A replica is a process; a lane of it holds requests one after another, each as its wait, its prompt and its output.
Where a prompt is read at one replica and goes on at another, wait and prompt are drawn at the first and the output at
the second, the time of the move included; where a request may move more than once, as under `migrate_every` and `spot`,
all of it is drawn at the replica where it ended. Two counters tell how many wait there and how many are served. The
format is Chrome's trace events, times in microseconds.
"""

import heapq
import json
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.storage import check_place, write_text
from llmqueue_gym.systems.run import Run

ARRIVAL, SCHEDULED, FIRST_TOKEN, COMPLETION = 0, 1, 2, 3  # moments of a request
PARTS = ("wait", "prompt", "output")  # what is between them
Stay = tuple[np.ndarray, int, int]
MOST = 200_000  # requests: a file of more would not open


def check_timeline(path: str, requests: int) -> None:
    """Refuse a timeline of so many requests that could not be written or opened, before the run and not after it."""
    if requests > MOST:
        raise BadInput(f"a timeline of {requests:,} requests would not open; {MOST:,} at most")
    check_place(path, f"timeline {path}")
    if Path(path).suffix != ".json":
        raise BadInput(f"timeline {path}: end the name in .json")


def write_timeline(path: str, run: Run) -> None:
    """Write the timeline of a serving run.

    Raises:
        BadInput: there are too many requests for a picture, or the file cannot be written.
    """
    check_timeline(path, len(run))
    try:
        write_text(path, json.dumps({"traceEvents": events(run), "displayTimeUnit": "ms"}))
    except OSError as error:
        raise BadInput(f"timeline {path!r} cannot be written: {error.strerror or error}") from None


def events(run: Run) -> list[dict[str, Any]]:
    """Return the trace events of a run."""
    moments = np.stack([run.jobs["arrival"], *(run.outcome[k] for k in ("scheduled", "first_token", "completion"))])
    ends = np.maximum(run.jobs["site"], 0)
    reads, found = ends if run.read_at is None else np.maximum(run.read_at, 0), []
    for site in np.unique([reads, ends]).tolist():
        stays = [
            (np.flatnonzero((reads == site) & (ends == site)), ARRIVAL, COMPLETION),
            (np.flatnonzero((reads == site) & (ends != site)), ARRIVAL, FIRST_TOKEN),
            (np.flatnonzero((reads != site) & (ends == site)), FIRST_TOKEN, COMPLETION),
        ]
        found.append({"ph": "M", "name": "process_name", "pid": site, "args": {"name": f"replica {site}"}})
        found += _slices(run, site, moments, stays)
        found += _counters(site, moments, stays)
    return found


def _slices(run: Run, site: int, moments: np.ndarray, stays: list[Stay]) -> list[dict[str, Any]]:
    """Return what the requests of a replica did there; one that was not served to its end has no end.

    Args:
        run: for what the requests are.
        site: the replica.
        moments: of arrival, first iteration, first token and completion `(4, n)`, s.
        stays: requests that were there, rows, and from which of these moments to which.
    """
    listed = [(float(moments[first, i]), i, first, last) for rows, first, last in stays for i in rows[run.done[rows]]]
    found, free, busy, lanes = [], [], [], 0  # type: ignore[var-annotated]
    for begin, row, first, last in sorted(listed):
        while busy and busy[0][0] <= begin:
            heapq.heappush(free, heapq.heappop(busy)[1])
        lane = heapq.heappop(free) if free else lanes
        lanes = max(lanes, lane + 1)
        heapq.heappush(busy, (float(moments[last, row]), lane))
        told = {name: run.jobs[name][row].item() for name in ("prompt", "generated", "predicted", "preemptions")}
        for k in range(first, last):
            start, stop = moments[k : k + 2, row].tolist()
            slice_ = {"ph": "X", "name": f"{PARTS[k]} {row}", "cat": PARTS[k], "pid": site, "tid": lane}
            found.append({**slice_, "ts": 1e6 * start, "dur": 1e6 * (stop - start), "args": told})
    return found


def _counters(site: int, moments: np.ndarray, stays: list[Stay]) -> list[dict[str, Any]]:
    """Return how many wait and how many are served at a replica, where either changes."""
    changes = []  # when, by how much more wait, and by how much more are served
    for rows, first, last in stays:
        if first == ARRIVAL:
            changes += [(moments[ARRIVAL, rows], 1, 0), (moments[SCHEDULED, rows], -1, 1)]
        else:
            changes.append((moments[first, rows], 0, 1))
        changes.append((moments[last, rows], 0, -1))
    times = np.concatenate([when for when, *_ in changes])
    waits, runs = (np.repeat([one[k] for one in changes], [len(one[0]) for one in changes]) for k in (1, 2))
    known = np.isfinite(times)
    order = np.argsort(times[known], kind="stable")
    times, waiting, running = times[known][order], np.cumsum(waits[known][order]), np.cumsum(runs[known][order])
    shown = np.append(times[1:] != times[:-1], True) if len(times) else np.zeros(0, bool)
    return [
        {"ph": "C", "name": "requests", "pid": site, "ts": 1e6 * t, "args": {"waiting": w, "running": s}}
        for t, w, s in zip(times[shown].tolist(), waiting[shown].tolist(), running[shown].tolist(), strict=True)
    ]
