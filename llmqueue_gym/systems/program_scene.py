"""The frame of programs: who waits at the router, what the replicas do, what is asked, and who was over last."""

from typing import Any

import numpy as np

from llmqueue_gym.engines.fleet.tables import KEEP, PICK, STOP
from llmqueue_gym.systems.scene import NO_HUE, Bar, Panel, Scene, short
from llmqueue_gym.systems.scenes import MOST, ended, facts, latest

QUESTIONS = {PICK: "who goes on next?", KEEP: "drop, keep or move?", STOP: "go on, or answer now?"}
LEGEND = (("known", "prompt"), ("done", "generated"), ("predicted", "predicted"))


def program_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of programs."""
    f, r, asked = episodes.fleet, episodes.replica, int(episodes.asks[0])
    waiting, i = [], int(f.fleet["front"][0])
    while i >= 0 and len(waiting) < MOST:
        waiting.append(i)
        i = int(f.flows["next"][i])
    rows = [int(i) for q in range(len(f.forms)) for i in r.running[q, : int(r.system["running"][q])]]
    panels = [
        Panel("at the router (tokens)", tuple(_bar(episodes, i) for i in waiting), int(f.fleet["held"][0])),
        Panel("running (tokens)", tuple(_bar(episodes, i, True) for i in rows[:MOST]), len(rows)),
    ]
    if asked in (KEEP, STOP):
        subject = int(f.fleet["subject"][0])
        panels.insert(0, Panel("in question (tokens)", (_bar(episodes, subject),)))
    said = QUESTIONS.get(asked, ended(episodes))
    kept = int(r.state["kept"][: len(f.forms)].sum())
    more = ("contexts kept", str(kept)), ("wrong", str(int(f.fleet["wrong"][0])))
    return Scene(title, facts(episodes, *more), tuple(panels), (_over(episodes),), said, legend=LEGEND)


def _bar(episodes: Any, row: int, active: bool = False) -> Bar:
    """Return the bar of a call, with its program and how deep it lies there."""
    request = episodes.replica.requests[row]
    prompt, made, predicted = (request[name].item() for name in ("prompt", "generated", "predicted"))
    note = f"p{request['program']} d{request['depth']} {made}/{predicted:.0f}"
    return Bar(f"#{row}", predicted, made, prompt, active=active, hue=row if active else NO_HUE, note=note)


def _over(episodes: Any) -> Panel:
    """Return the panel of the programs that were over last, the latest first."""
    times = np.asarray(episodes.response_times()[0])
    over = latest(episodes.completions()[0])
    bars = (Bar(f"p{p}", float(times[p]), note=f"{short(float(times[p]))} s") for p in over)
    return Panel("programs over last (s)", tuple(bars))
