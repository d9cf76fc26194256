"""The frame of a fleet: the request in question, the replicas as they last reported themselves, and who left last."""

from typing import Any

from llmqueue_gym.engines.fleet.tables import HAND, ROUTE
from llmqueue_gym.requests import DECODE, PREFILL
from llmqueue_gym.systems.scene import NO_HUE, Bar, Panel, Scene
from llmqueue_gym.systems.scenes import MOST, REQUEST_LEGEND, ended, facts, request_bar, requests_left

ROLES = {PREFILL: " reads", DECODE: " decodes"}
QUESTIONS = {ROUTE: "where does it go?", HAND: "who goes on with it?"}


def fleet_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of a fleet."""
    seen, asked = episodes.seen(), int(episodes.asks[0])
    bars = []
    for site, is_open in zip(seen["sites"][:MOST], seen["mask"][:MOST], strict=True):
        running, waiting, free, blocks = (int(site[name]) for name in ("running", "waiting", "free", "blocks"))
        note = f"{running}+{waiting}, {free}/{blocks}" + ("" if is_open else " no")
        name = f"r{int(site['index'])}{ROLES.get(int(site['role']), '')[:2]}"
        bars.append(Bar(name, float(site["work"]), known=float(site["pending"]), active=bool(is_open), note=note))
    subject: tuple[Bar, ...] = ()
    if asked in QUESTIONS:
        subject = (request_bar(episodes, int(episodes.fleet.fleet["subject"][0]), NO_HUE),)
    panels = (
        Panel("in question (tokens)", subject),
        Panel("replicas: to read, to make (tokens)", tuple(bars), len(seen["sites"])),
    )
    said = QUESTIONS.get(asked, ended(episodes))
    return Scene(title, facts(episodes), panels, (requests_left(episodes),), said, legend=REQUEST_LEGEND)
