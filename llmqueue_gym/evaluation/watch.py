"""Looks at a replica in every iteration: what was scheduled, admitted and preempted, who left, which blocks are free.

For side-by-side runs with real schedulers and for pictures. It does not coast, so it is slower than `serve`, and takes
the same decisions.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from llmqueue_gym.engines.batching.closed_loop import proceed
from llmqueue_gym.engines.batching.tables import BOARD, COMPUTE, ENDLESS, LOOK, WATCHING, queue
from llmqueue_gym.requests import Requests
from llmqueue_gym.systems import Drawn
from llmqueue_gym.systems.replica_tables import kernel_arguments, loaded
from llmqueue_gym.systems.serve import as_drawn, placed


@dataclass(frozen=True)
class Iteration:
    """One iteration; requests are named by their rows.

    Attributes:
        clock: s, when it was scheduled.
        added: requests that arrived since the last one.
        scheduled: (row, tokens) in the order of the running list.
        admitted: (row, tokens computed before, whether it was preempted before) in order.
        preempted: in the order in which they were chosen.
        running: the running list after scheduling.
        waiting: the queue after scheduling, the head first.
        free: free blocks after scheduling.
        finished: requests that left at its end.
        free_after: free blocks at its end.
    """

    clock: float
    added: list[int]
    scheduled: list[tuple[int, int]]
    admitted: list[tuple[int, int, bool]]
    preempted: list[int]
    running: list[int]
    waiting: list[int]
    free: int
    finished: list[int]
    free_after: int


def watch(given: Requests | Drawn, policy: Any, profile: Any, rules: Any, **changes: Any) -> Iterator[Iteration]:
    """Serve a table of requests as `serve` does, and yield every iteration.

    Args:
        given: as in `serve`.
        policy: as in `serve`.
        profile: as in `serve`.
        rules: as in `serve`.
        changes: as in `serve`.

    Raises:
        BadInput: as in `serve`.
    """
    place, chosen = placed(policy, profile, rules, changes)
    drawn, bound = as_drawn(given), place.under(chosen).bound_rules
    bound.check(drawn.work, drawn.sizes)
    replica = loaded(drawn, bound, chosen.merged, chosen.shares)
    record, conduct, form, numbers, functions = kernel_arguments(chosen, place.cost_profile, bound)
    system, state, requests = replica.system[0], replica.state[0], replica.requests
    arrived, begun, gone = 0, deque[Iteration](), set[int]()
    go_on = partial(proceed, 0, replica, record, conduct, form, numbers, WATCHING, 0, *functions, ENDLESS)
    while go_on() == LOOK:
        if state["phase"] not in (BOARD, COMPUTE):  # one is over; under the asynchronous scheduler two are begun
            iteration = begun.popleft()
            left = np.isfinite(replica.service["completion"][iteration.running])
            finished = [i for i, done in zip(iteration.running, left, strict=True) if done and i not in gone]
            gone.update(finished)
            yield replace(iteration, finished=finished, free_after=int(system["free"]))
            continue
        running = replica.running[0, : system["running"]].tolist()
        admitted = replica.notes["admitted"][0, : state["admitted"]].tolist()
        iteration = Iteration(
            clock=float(system["clock"]),
            added=list(range(arrived, int(state["arrived"]))),
            scheduled=[(i, n) for i in running if (n := int(requests["scheduled"][i])) > 0],
            admitted=[(i, int(requests["computed"][i]), bool(requests["preemptions"][i])) for i in admitted],
            preempted=replica.notes["victim"][0, : state["victims"]].tolist(),
            running=running,
            waiting=queue(replica, 0).tolist(),
            free=int(system["free"]),
            finished=[],
            free_after=int(system["free"]),
        )
        begun.append(iteration)
        arrived = int(state["arrived"])
