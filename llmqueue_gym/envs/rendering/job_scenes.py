"""Frames of one server and of several servers with one queue."""

from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym.envs.rendering.scene import Bar, Panel, Scene, short
from llmqueue_gym.jobs import RUNNING

if TYPE_CHECKING:
    from llmqueue_gym.envs.batch import MG1Batch
    from llmqueue_gym.envs.job_episodes import JobEpisodes
    from llmqueue_gym.envs.multi_server import ServerEpisodes

LATEST = 12  # jobs that have left in a frame
MOST = 40  # bars of a panel, of which a frame shows those it has room for
LEGEND = (("done", "received"), ("predicted", "predicted"), ("beyond", "overrun"), ("truth", "true size"))


def mg1_scene(batch: "MG1Batch", title: str) -> Scene:
    """Return the frame of one server: the jobs in system, and those that left last."""
    inside, running = int(batch.states["in_system"][0]), int(batch.states["running"][0])
    rows = list(batch.live[0, :inside][:MOST].tolist())
    if running >= 0:  # also where it came after many
        rows = [running, *(row for row in rows if row != running)]
    bars = tuple(job_bar(batch, row, row == running) for row in rows)
    panel = Panel("in system (s)", bars, inside)
    return Scene(title, facts(batch), (panel,), (departures(batch),), ended(batch), legend=LEGEND)


def server_scene(batch: "ServerEpisodes", title: str) -> Scene:
    """Return the frame of several servers: a lane for each, below them those who wait."""
    state, config = batch.states[0], batch.config
    waiting = batch.live[0, : int(state["waiting"])][:MOST].tolist()
    lanes = []
    for s, (holds, speed) in enumerate(zip(batch.taken[0].tolist(), config.server_speeds.tolist(), strict=True)):
        lanes.append(_lane(batch, f"s{s}", holds - 1, speed))
    bars = tuple(job_bar(batch, row, batch.jobs["status"][0, row] == RUNNING) for row in waiting)
    panels = (
        Panel(f"{config.servers} servers (s)", tuple(lanes)),
        Panel("waiting (s)", bars, int(state["waiting"])),
    )
    legend = (*LEGEND, ("due", "deadline")) if config.knows_deadlines else LEGEND
    more = [("lost", str(int(state["lost"])))] if config.patience is not None or config.may_drop else []
    again = any(bar.active for bar in bars)  # a preemptive epoch, in which all jobs are up for choice
    said = ended(batch) or ("pick again; marked below: ran last" if again else "")
    return Scene(title, facts(batch, *more), panels, (departures(batch),), said, legend=legend)


def _lane(batch: "ServerEpisodes", name: str, row: int, speed: float) -> Bar:
    """Return the bar of a server; the lanes of a job that occupies several have its colour."""
    if speed != 1:
        name += f"x{speed:g}"
    if row < 0:
        return Bar(name, note="idle")
    bar = job_bar(batch, row, True, speed)
    return Bar(name, bar.predicted, bar.done, due=bar.due, active=True, hue=row, note=f"#{row} {bar.note}")


def job_bar(batch: "JobEpisodes", row: int, active: bool, speed: float = 1.0) -> Bar:
    """Return the bar of a job in system, whose deadline is marked for a server of this speed."""
    job = batch.jobs[0, row]
    predicted, age, need, deadline = (job[name].item() for name in ("predicted", "age", "need", "deadline"))
    clock = float(batch.steps["clock"][0])
    due = age + max(deadline - clock, 0.0) * speed if np.isfinite(deadline) else None
    note = f"{short(age)}/{short(predicted)}" + (f" x{need}" if need > 1 else "")
    return Bar(f"#{row}", predicted, age, due=due, active=bool(active), note=note)


def departures(batch: "JobEpisodes") -> Panel:
    """Return the panel of the jobs served last, the latest first, predicted and true size side by side."""
    bars = []
    for row in latest(batch.outcome["completion"][0, : batch.count(0)]):
        predicted, size = float(batch.jobs["predicted"][0, row]), float(batch.truth[0, row, 0])
        bars.append(Bar(f"#{row}", predicted, truth=size, note=f"{short(predicted)} -> {short(size)}"))
    return Panel("served last, predicted -> true size (s)", tuple(bars))


def latest(completion: np.ndarray) -> list[int]:
    """Return the rows of the last completions (s; NaN of those who have not left), the latest first."""
    rows = np.flatnonzero(np.isfinite(completion))
    return rows[np.argsort(completion[rows], kind="stable")][: -LATEST - 1 : -1].tolist()


def facts(batch: Any, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the figures that all frames have, and others behind them.

    Args:
        batch: `JobEpisodes` or `ServingBatch`.
        *more: name and value of each other figure.
    """
    step, metrics = batch.steps[0], batch.metrics(0)
    done = int(metrics["jobs"] if "jobs" in metrics else metrics["done"])
    return (
        ("time", f"{short(float(step['clock']))} s"),
        ("in system", str(int(step["in_system"]))),
        ("served", f"{done}/{batch.count(0)}"),
        ("mean response", f"{short(metrics['mean_response_time'])} s" if done else "-"),
        *more,
    )


def ended(batch: Any) -> str:
    """Return how the episode ended, in words; nothing while it goes on."""
    if batch.steps["terminated"][0]:
        return "over: all have left"
    return f"over: {batch.metrics(0).get('ended', 'horizon')}" if batch.steps["truncated"][0] else ""
