"""The frame of many servers with a queue each."""

from typing import TYPE_CHECKING

from llmqueue_gym.envs.rendering.job_scenes import LEGEND, departures, ended, facts
from llmqueue_gym.envs.rendering.scene import Bar, Panel, Scene, short

if TYPE_CHECKING:
    from llmqueue_gym.envs.dispatch import DispatchEpisodes


def dispatch_scene(batch: "DispatchEpisodes", title: str) -> Scene:
    """Return the frame: the job that has arrived, the queues that it sees, and the jobs that left last."""
    arrivals = []
    if not batch.steps["terminated"][0]:
        row = int(batch.states["arrived"][0]) - 1
        predicted = float(batch.jobs["predicted"][0, row])
        arrivals = [Bar(f"#{row}", predicted, note=f"{short(predicted)} s")]
    bars = []
    for queue in batch.queues[0]:
        jobs, index = int(queue["jobs"]), int(queue["index"])
        work, left = max(float(queue["work"]), 0.0), max(float(queue["left"]), 0.0)
        name = f"q{index}" + (f"x{queue['speed']:g}" if queue["speed"] != 1 else "")
        note = f"{jobs} job{'s' if jobs != 1 else ''}, {short(left)} left" if jobs else "empty"
        bars.append(Bar(name, work, max(work - left, 0.0), note=note))
    panels = (
        Panel("arrived, to be sent (predicted s)", tuple(arrivals)),
        Panel(f"queues seen of {batch.config.servers}, predicted work (s)", tuple(bars)),
    )
    legend = tuple(entry for entry in LEGEND if entry[0] != "beyond")
    return Scene(title, facts(batch), panels, (departures(batch),), ended(batch), legend=legend)
