"""The frame of a fleet: the request in question, the replicas as they last reported themselves, and who left last."""

from typing import Any

from llmqueue_gym.engines.fleet.tables import DRAINING, HAND, OFF, ON, ROUTE, STARTING, TICK
from llmqueue_gym.requests import DECODE, PREFILL
from llmqueue_gym.systems.scene import NO_HUE, Bar, Panel, Scene
from llmqueue_gym.systems.scenes import MOST, REQUEST_LEGEND, ended, facts, request_bar, requests_left

ROLES = {PREFILL: " reads", DECODE: " decodes"}
QUESTIONS = {ROUTE: "where does it go?", HAND: "who goes on with it?", TICK: "how many are on?"}
POWERS = {OFF: "off", STARTING: "starts", ON: "on", DRAINING: "drains"}


def fleet_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of a fleet."""
    if episodes.view.decides == "scale" or int(episodes.asks[0]) == TICK:
        return _tick_scene(episodes, title)
    seen, asked = episodes.seen(), int(episodes.asks[0])
    bars = []
    for site, is_open in zip(seen["sites"][:MOST], seen["mask"][:MOST], strict=True):
        running, waiting, free, blocks = (int(site[name]) for name in ("running", "waiting", "free", "blocks"))
        note = f"{running}+{waiting}, {free}/{blocks}" + ("" if is_open else " no")
        name = f"r{int(site['index'])}{ROLES.get(int(site['role']), '')[:2]}"
        bars.append(Bar(name, float(site["work"]), known=float(site["pending"]), active=bool(is_open), note=note))
    subject: tuple[Bar, ...] = ()
    if asked in (ROUTE, HAND):
        subject = (request_bar(episodes, int(episodes.fleet.fleet["subject"][0]), NO_HUE),)
    panels = (
        Panel("in question (tokens)", subject),
        Panel("replicas: to read, to make (tokens)", tuple(bars), len(seen["sites"])),
    )
    said = QUESTIONS.get(asked, ended(episodes))
    return Scene(title, facts(episodes), panels, (requests_left(episodes),), said, legend=REQUEST_LEGEND)


def _tick_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of a fleet at a tick: what its replicas have, whether they are on, and who runs there."""
    told = {name: episodes.observation["jobs"][0, :, k] for k, name in enumerate(episodes.view.jobs)}
    units = dict(zip(episodes.view.jobs, episodes.view.units(episodes.scenario)["jobs"].tolist(), strict=True))
    members, bars = episodes.fleet.members[: len(episodes.fleet.forms)], []
    for q, member in enumerate(members[:MOST]):
        counts = (round(float(told[name][q]) * units[name]) for name in ("running", "waiting"))
        known, work = (float(told[name][q]) * units[name] for name in ("pending", "work"))
        note = "{}+{}".format(*counts) + f" {POWERS[int(member['power'])]}"
        name = f"r{q}{ROLES.get(int(member['role']), '')[:2]}"
        bars.append(Bar(name, work, known=known, active=int(member["power"]) == ON, note=note))
    tables, lists = episodes.replica.system, episodes.replica.running
    rows = [int(i) for q in range(len(members)) for i in lists[q, : int(tables["running"][q])]]
    panels = (
        Panel("replicas: to read, to make (tokens)", tuple(bars), len(members)),
        Panel("running (tokens)", tuple(request_bar(episodes, i, NO_HUE) for i in rows[:MOST]), len(rows)),
    )
    said = QUESTIONS.get(int(episodes.asks[0]), ended(episodes))
    return Scene(title, facts(episodes), panels, (requests_left(episodes),), said, legend=REQUEST_LEGEND)
