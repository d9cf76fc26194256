"""Frames of the systems: each a function from the episodes, of which the first run is shown, to a `Scene`."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym.engines.batching.tables import ADMIT, EVICT, RANK, queue
from llmqueue_gym.jobs import RUNNING
from llmqueue_gym.systems.scene import NO_HUE, Bar, Meter, Panel, Scene, short

if TYPE_CHECKING:
    from llmqueue_gym.systems.episodes import Episodes
    from llmqueue_gym.systems.job_episodes import JobEpisodes

STAGES = ("", "to be predicted cheaply", "to be predicted", "profiled")  # by the codes of stages
LATEST = 12  # jobs that have left in a frame
MOST = 40  # bars of a panel, of which a frame shows those it has room for
LEGEND = (("done", "received"), ("predicted", "predicted"), ("beyond", "overrun"), ("truth", "true size"))
REQUEST_LEGEND = (
    ("known", "prompt"),
    ("done", "generated"),
    ("predicted", "predicted"),
    ("beyond", "overrun"),
    ("truth", "true output"),
)
QUESTIONS = {ADMIT: "admit or run?", EVICT: "preempt whom?", RANK: "which rank?"}


def scene_of_observation(episodes: "Episodes", title: str) -> Scene:
    """Return a frame of any system: the slots that hold something, and who left last."""
    columns = {name: episodes.observation["jobs"][0, :, k] for k, name in enumerate(episodes.view.jobs)}
    rows = np.flatnonzero(columns.get("present", np.ones(len(episodes.observation["jobs"][0]))) > 0)
    nothing = np.zeros(len(episodes.observation["jobs"][0]))
    length, age = columns.get("predicted", nothing), columns.get("age", nothing)
    bars = tuple(Bar(f"slot {k}", float(length[k]), float(age[k]), note=short(float(length[k]))) for k in rows[:MOST])
    panel = Panel("in sight", bars, len(rows))
    return Scene(title, facts(episodes), (panel,), (departures(episodes),), ended(episodes), legend=LEGEND)


def one_server_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of one server: the jobs in system, and those that left last."""
    inside, running = int(episodes.states["in_system"][0]), int(episodes.states["running"][0])
    rows = list(episodes.live[0, :inside][:MOST].tolist())
    if running >= 0:  # also where it came after many
        rows = [running, *(row for row in rows if row != running)]
    bars = tuple(job_bar(episodes, row, row == running) for row in rows)
    panel = Panel("in system (s)", bars, inside)
    return Scene(title, facts(episodes), (panel,), (departures(episodes),), ended(episodes), legend=LEGEND)


def predict_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of one server on which predictions cost: who can be served, and whom a prediction is for."""
    state, asked = episodes.states[0], int(episodes.states["asked"][0])
    bars = []
    for row in episodes.live[0, : int(state["here"])][:MOST].tolist():
        bar, stage = job_bar(episodes, row, row == int(state["running"])), episodes.stages[0, row]
        told = ("unknown", "cheap", "sized", "sized")[int(stage["known"])]
        bars.append(replace(bar, note=f"{bar.note} {told} {STAGES[int(stage['kind'])]}".rstrip()))
    panel = Panel("can be served (s)", tuple(bars), int(state["here"]))
    bought = f"{int(state['bought_cheap'])}+{int(state['bought_expensive'])}"
    said = ended(episodes) or (f"what is predicted of #{asked}?" if asked >= 0 else "whom to serve?")
    more = ("cheap+expensive", bought), ("at predictors", str(int(state["away"])))
    return Scene(title, facts(episodes, *more), (panel,), (departures(episodes),), said, legend=LEGEND)


def servers_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of several servers with one queue: a lane for each, below them those who wait."""
    state = episodes.states[0]
    waiting = episodes.live[0, : int(state["waiting"])][:MOST].tolist()
    lanes = []
    for s, (holds, speed) in enumerate(zip(episodes.taken[0].tolist(), episodes.speeds.tolist(), strict=True)):
        lanes.append(_lane(episodes, f"s{s}", holds - 1, speed))
    bars = tuple(job_bar(episodes, row, episodes.jobs["status"][0, row] == RUNNING) for row in waiting)
    panels = (
        Panel(f"{len(lanes)} servers (s)", tuple(lanes)),
        Panel("waiting (s)", bars, int(state["waiting"])),
    )
    due = bool(np.isfinite(episodes.jobs["deadline"][0, : int(episodes.n_jobs[0])]).any())
    leave = bool(np.isfinite(episodes.patience[0]).any()) or episodes.may_drop
    more = [("lost", str(int(state["lost"])))] if leave else []
    again = any(bar.active for bar in bars)  # a preemptive epoch, in which all jobs are up for choice
    said = ended(episodes) or ("pick again; marked below: ran last" if again else "")
    legend = (*LEGEND, ("due", "deadline")) if due else LEGEND
    return Scene(title, facts(episodes, *more), panels, (departures(episodes),), said, legend=legend)


def moldable_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of jobs on servers of choice: who holds which share of the servers, and who waits."""
    state, jobs, bars, parts = episodes.states[0], episodes.jobs[0], [], []
    for held in episodes.running[0, : int(state["running"])]:
        row, servers = int(held["row"]), int(held["servers"])
        predicted = float(episodes.predicted[0, row, servers - 1])
        age = float(state["clock"] - episodes.outcome["start"][0, row])
        note = f"{short(age)}/{short(predicted)} x{servers}"
        bars.append(Bar(f"#{row}", predicted, age, active=True, hue=row, note=note))
        parts.append((servers, row))
    waiting = []
    for row in episodes.line[0, : int(state["waiting"])][:MOST].tolist():
        predicted = float(jobs["predicted"][row])
        waiting.append(Bar(f"#{row}", predicted, note=f"{short(predicted)}, class {jobs['klass'][row]}"))
    total, free = int(state["servers"]), int(state["free"])
    meter = Meter("servers", total, tuple(parts), f"{free} of {total} free")
    panels = (
        Panel("running (s)", tuple(bars), len(bars)),
        Panel("waiting (s on one server)", tuple(waiting), int(state["waiting"])),
    )
    return Scene(title, facts(episodes), panels, (departures(episodes),), ended(episodes), meter, LEGEND)


def queues_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of a queue for each server: the job that has arrived, the queues that it sees, who left last."""
    arrivals = []
    if not episodes.steps["terminated"][0]:
        row = int(episodes.states["arrived"][0]) - 1
        predicted = float(episodes.jobs["predicted"][0, row])
        arrivals = [Bar(f"#{row}", predicted, note=f"{short(predicted)} s")]
    bars = []
    for each in episodes.queues[0]:
        jobs, index = int(each["jobs"]), int(each["index"])
        work, left = max(float(each["work"]), 0.0), max(float(each["left"]), 0.0)
        name = f"q{index}" + (f"x{each['speed']:g}" if each["speed"] != 1 else "")
        note = f"{jobs} job{'s' if jobs != 1 else ''}, {short(left)} left" if jobs else "empty"
        bars.append(Bar(name, work, max(work - left, 0.0), note=note))
    panels = (
        Panel("arrived, to be sent (predicted s)", tuple(arrivals)),
        Panel(f"queues seen of {episodes.sites.shape[1]}, predicted work (s)", tuple(bars)),
    )
    legend = tuple(entry for entry in LEGEND if entry[0] != "beyond")
    return Scene(title, facts(episodes), panels, (departures(episodes),), ended(episodes), legend=legend)


def replica_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of a replica: memory, the batch, the queue, and the requests that left last."""
    replica, system = episodes.replica, episodes.replica.system[0]
    running = replica.running[0, : int(system["running"])].tolist()
    waiting = queue(replica, 0)[:MOST].tolist()
    blocks, free = int(system["blocks"]), int(system["free"])
    meter = None
    if blocks > 0:
        held = replica.requests["blocks"][: replica.state["n"][0]]
        parts = tuple((int(held[row]), row) for row in running)
        meter = Meter("KV memory", blocks, parts, f"{free} of {blocks} blocks free")
    question = int(episodes.observation["system"][0, [*episodes.view.system].index("question")])
    first: tuple[Panel, ...] = ()
    if question == RANK:
        subject = int(replica.state["subject"][0])
        first = (Panel("to be ranked", (request_bar(episodes, subject, NO_HUE),)),)
    batch = tuple(request_bar(episodes, row, row) for row in running[:MOST])
    bars = tuple(request_bar(episodes, row, NO_HUE) for row in waiting)
    right = (Panel("queue (tokens)", bars, int(system["waiting"])), requests_left(episodes))
    step = ("step", f"{1e3 * float(system['step_time']):.1f} ms")
    said = QUESTIONS.get(question, ended(episodes))
    left = (*first, Panel("batch (tokens)", batch, len(running)))
    return Scene(title, facts(episodes, step), left, right, said, meter, REQUEST_LEGEND)


def request_bar(episodes: Any, row: int, hue: int) -> Bar:
    """Return the bar of a request in system; one with a hue is in the batch."""
    request = episodes.replica.requests[row]
    prompt, made, predicted = (request[name].item() for name in ("prompt", "generated", "predicted"))
    note = f"{prompt}+{made}/{predicted:.0f}"
    return Bar(f"#{row}", predicted, made, prompt, active=hue != NO_HUE, hue=hue, note=note)


def requests_left(episodes: Any) -> Panel:
    """Return the panel of the requests that left last, the latest first."""
    run, bars = episodes.run(), []
    for row in latest(run.outcome["completion"]):
        predicted, output = float(run.jobs["first_predicted"][row]), int(run.sizes[row])
        bars.append(Bar(f"#{row}", predicted, truth=output, note=f"{predicted:.0f} -> {output}"))
    return Panel("served last, predicted -> true (tokens)", tuple(bars))


def _lane(episodes: "JobEpisodes", name: str, row: int, speed: float) -> Bar:
    """Return the bar of a server; the lanes of a job that occupies several have its colour."""
    if speed != 1:
        name += f"x{speed:g}"
    if row < 0:
        return Bar(name, note="idle")
    bar = job_bar(episodes, row, True, speed)
    return Bar(name, bar.predicted, bar.done, due=bar.due, active=True, hue=row, note=f"#{row} {bar.note}")


def speculative_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of a batch that decodes with drafts: whose draft is due, the last draft of each, who waits."""
    state, bars = episodes.states[0], []
    for place, seat in enumerate(episodes.held[0, : int(state["taken"])]):
        bar = job_bar(episodes, int(seat["row"]), place == int(state["asked"]))
        bars.append(replace(bar, note=f"{bar.note}, draft {int(seat['draft'])}"))
    rows = range(int(state["begun"]), int(state["arrived"]))
    panels = (
        Panel("in the batch (tokens)", tuple(bars[:MOST]), len(bars)),
        Panel("waiting (tokens)", tuple(job_bar(episodes, row, False) for row in rows[:MOST]), len(rows)),
    )
    left = replace(departures(episodes), title="served last, predicted -> true output")
    return Scene(title, facts(episodes), panels, (left,), ended(episodes), legend=LEGEND)


def choice_scene(episodes: Any, title: str) -> Scene:
    """Return the frame of several models: whose call is asked about, and for each model who is there."""
    asked, models = int(episodes.states["asked"][0]), episodes.scenario.system.served
    panels = []
    for m, (model, here) in enumerate(zip(models, episodes.stations[0], strict=True)):
        first = int(episodes.serving["first"][m])
        rows = episodes.seats["row"][0, first : first + int(here["taken"])].tolist()
        bars = [job_bar(episodes, row, False) for row in sorted(rows)]
        words = (
            f"{m}: {model.name}, {int(here['taken'])} of {model.seats} seats, {int(here['waiting'])} waiting (tokens)"
        )
        panels.append(Panel(words, tuple(bars[:MOST]), len(bars)))
    said, answers = ended(episodes), episodes.run().outcome
    if asked >= 0:
        call = episodes.called[0, asked]
        kept = f"answer of model {int(call['best'])} to #{asked}: enough, or whom else?"
        said = kept if call["best"] >= 0 else f"which model for #{asked}?"
    right = answers["right"][np.isfinite(answers["completion"])]
    more = ("right", f"{right.mean():.1%}" if len(right) else "-"), ("spent", f"{episodes.states['spent'][0]:.3g} USD")
    left = replace(departures(episodes), title="left last, predicted -> true size (tokens)")
    return Scene(title, facts(episodes, *more), tuple(panels), (left,), said, legend=LEGEND)


def job_bar(episodes: "JobEpisodes", row: int, active: bool, speed: float = 1.0) -> Bar:
    """Return the bar of a job in system, whose deadline is marked for a server of this speed."""
    job = episodes.jobs[0, row]
    predicted, age, need, deadline = (job[name].item() for name in ("predicted", "age", "need", "deadline"))
    clock = float(episodes.steps["clock"][0])
    due = age + max(deadline - clock, 0.0) * speed if np.isfinite(deadline) else None
    note = f"{short(age)}/{short(predicted)}" + (f" x{need}" if need > 1 else "")
    return Bar(f"#{row}", predicted, age, due=due, active=bool(active), note=note)


def departures(episodes: "Episodes") -> Panel:
    """Return the panel of the jobs served last, the latest first, predicted and true size side by side."""
    run, bars = episodes.run(), []
    for row in latest(run.outcome["completion"]):
        predicted, size = float(run.jobs["predicted"][row]), float(run.sizes[row])
        bars.append(Bar(f"#{row}", predicted, truth=size, note=f"{short(predicted)} -> {short(size)}"))
    return Panel("served last, predicted -> true size (s)", tuple(bars))


def latest(completion: np.ndarray) -> list[int]:
    """Return the rows of the last completions (s; NaN of those who have not left), the latest first."""
    rows = np.flatnonzero(np.isfinite(completion))
    return rows[np.argsort(completion[rows], kind="stable")][: -LATEST - 1 : -1].tolist()


def facts(episodes: "Episodes", *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the figures that all frames have, and others behind them.

    Args:
        episodes: of which the first run is meant.
        *more: name and value of each other figure.
    """
    step, response = episodes.steps[0], episodes.run().response_times
    done = response[~np.isnan(response)]
    return (
        ("time", f"{short(float(step['clock']))} s"),
        ("in system", str(int(step["in_system"]))),
        ("served", f"{len(done)}/{len(response)}"),
        ("mean response", f"{short(float(done.mean()))} s" if len(done) else "-"),
        *more,
    )


def ended(episodes: "Episodes") -> str:
    """Return how the episode ended, in words; nothing while it goes on."""
    if episodes.steps["terminated"][0]:
        return "over: all have left"
    return f"over: {episodes.run().reason}" if episodes.steps["truncated"][0] else ""
