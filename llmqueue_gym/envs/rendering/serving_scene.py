"""The frame of a replica that batches requests."""

from typing import TYPE_CHECKING

from llmqueue_gym.engines.batching.tables import ADMIT, EVICT, RANK, queue
from llmqueue_gym.envs.rendering.job_scenes import MOST, ended, facts, latest
from llmqueue_gym.envs.rendering.scene import NO_HUE, Bar, Meter, Panel, Scene

if TYPE_CHECKING:
    from llmqueue_gym.envs.serving_batch import ServingBatch

_LEGEND = (
    ("known", "prompt"),
    ("done", "generated"),
    ("predicted", "predicted"),
    ("beyond", "overrun"),
    ("truth", "true output"),
)
_QUESTIONS = {ADMIT: "admit or run?", EVICT: "preempt whom?", RANK: "which rank?"}


def serving_scene(batch: "ServingBatch", title: str) -> Scene:
    """Return the frame: memory, the batch, the queue, and the requests that left last."""
    replica, system = batch.replica, batch.replica.system[0]
    running = replica.running[0, : int(system["running"])].tolist()
    waiting = queue(replica, 0)[:MOST].tolist()
    blocks, free = int(system["blocks"]), int(system["free"])
    meter = None
    if blocks > 0:
        held = replica.requests["blocks"][0]
        parts = tuple((int(held[row]), row) for row in running)
        meter = Meter("KV memory", blocks, parts, f"{free} of {blocks} blocks free")
    question = int(batch.observation["system"][0, -1])
    first: tuple[Panel, ...] = ()
    if question == RANK:
        subject = int(replica.state["subject"][0])
        first = (Panel("to be ranked", (_request(batch, subject, NO_HUE),)),)
    left = (
        *first,
        Panel(
            "batch (tokens)",
            tuple(_request(batch, row, row) for row in running[:MOST]),
            len(running),
        ),
    )
    right = (
        Panel("queue (tokens)", tuple(_request(batch, row, NO_HUE) for row in waiting), int(system["waiting"])),
        _departures(batch),
    )
    step = ("step", f"{1e3 * float(system['step_time']):.1f} ms")
    return Scene(title, facts(batch, step), left, right, _QUESTIONS.get(question, ended(batch)), meter, _LEGEND)


def _request(batch: "ServingBatch", row: int, hue: int) -> Bar:
    """Return the bar of a request in system; one with a hue is in the batch."""
    request = batch.replica.requests[0, row]
    prompt, made, predicted = (request[name].item() for name in ("prompt", "generated", "predicted"))
    note = f"{prompt}+{made}/{predicted:.0f}"
    return Bar(f"#{row}", predicted, made, prompt, active=hue != NO_HUE, hue=hue, note=note)


def _departures(batch: "ServingBatch") -> Panel:
    """Return the panel of the requests that left last, the latest first."""
    replica, bars = batch.replica, []
    for row in latest(replica.service["completion"][0, : batch.count(0)]):
        predicted = float(replica.requests["first_predicted"][0, row])
        output = int(replica.truth["output"][0, row])
        bars.append(Bar(f"#{row}", predicted, truth=output, note=f"{predicted:.0f} -> {output}"))
    return Panel("served last, predicted -> true (tokens)", tuple(bars))
