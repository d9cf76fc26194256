"""The frame of programs: who waits at the router, what the replicas do, what is asked, and which calls ended last."""

from dataclasses import replace
from typing import Any

from llmqueue_gym.engines.fleet.tables import KEEP, PICK, STOP
from llmqueue_gym.systems.scene import NO_HUE, Bar, Panel, Scene
from llmqueue_gym.systems.scenes import MOST, REQUEST_LEGEND, ended, facts, latest

QUESTIONS = {PICK: "who goes on next?", KEEP: "drop, keep or move?", STOP: "go on, or answer now?"}


def program_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of programs."""
    f, r, asked = episodes.fleet, episodes.replica, int(episodes.asks[0])
    waiting: list[int] = []
    i = int(f.fleet["front"][0])
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
        bar = _bar(episodes, subject)
        if asked == STOP:  # its call has ended
            bar = replace(bar, name=f"p{int(r.requests['program'][subject])}")
        panels.insert(0, Panel("in question (tokens)", (bar,)))
    said = QUESTIONS.get(asked, ended(episodes))
    kept = int(r.state["kept"][: len(f.forms)].sum())
    more = ("contexts kept", str(kept)), ("wrong", str(int(f.fleet["wrong"][0])))
    return Scene(title, facts(episodes, *more), tuple(panels), (_left(episodes),), said, legend=REQUEST_LEGEND)


def _bar(episodes: Any, row: int, active: bool = False) -> Bar:
    """Return the bar of a call, with its program and how deep it lies there."""
    request = episodes.replica.requests[row]
    prompt, made, predicted = (request[name].item() for name in ("prompt", "generated", "predicted"))
    note = f"p{request['program']} d{request['depth']} {made}/{predicted:.0f}"
    return Bar(f"#{row}", predicted, made, prompt, active=active, hue=row if active else NO_HUE, note=note)


def _left(episodes: Any) -> Panel:
    """Return the panel of the calls that ended last, the latest first."""
    calls, bars = episodes.run().calls, []
    for row in latest(calls.outcome["completion"]):
        predicted, output = float(calls.jobs["first_predicted"][row]), int(calls.sizes[row])
        bars.append(Bar(f"#{row}", predicted, truth=output, note=f"{predicted:.0f} -> {output}"))
    return Panel("ended last, predicted -> true (tokens)", tuple(bars))
