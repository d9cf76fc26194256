"""Picks one job at a time for free servers, as the closed loop does, for one queue and for jobs of several servers.

Rank policies pick the open job of least rank. Packing policies do what their rule says of the jobs in sight; each pick
is worked out anew from the jobs that wait and those in service, so an agent keeps no memory. Deadline policies send
late jobs away before they pick.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym._jit import inner_kernel, kernel, records
from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.jobs import JOB, RUNNING
from llmqueue_gym.policies.deadline import DeadlinePolicy
from llmqueue_gym.policies.packing import PackingPolicy
from llmqueue_gym.systems.agents.base import Agent, ranks_of
from llmqueue_gym.systems.view import columns_of

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

# Where a job is: nowhere, in the queue, in the queue but in service when the epoch opened, in service.
NONE, WAITS, RECALLED, SERVED = range(4)


@kernel
def least_rank(rows, place, opens, free, rank, params, lcfs_up_to, keeps, blocks, passes, actions):
    """Pick the open job of least rank in each of E decisions.

    Args:
        rows: `JOB` rows `(E, m)`; those that wait stand in order of arrival.
        place: `(E, m)`, where each job is.
        opens: `(E, m)`, whether it can start now.
        free: `(E,)`, free servers.
        rank: compiled rank function.
        params: its parameters `(k,)`.
        lcfs_up_to: equal ranks up to this number go to the later arrival, others to the earlier.
        keeps: whether jobs stay that were in service when the epoch opened.
        blocks: whether the job of least rank holds back all others until it can start.
        passes: the action that leaves the other servers idle.
        actions: `(E,)`, holds the first open action; written.
    """
    for e in range(rows.shape[0]):
        best, least = -1, np.inf
        for k in range(rows.shape[1]):
            if keeps and place[e, k] == RECALLED and opens[e, k]:
                best = k
                break
            if opens[e, k] or (blocks and (place[e, k] == WAITS or place[e, k] == RECALLED)):
                value = rank(rows[e, k], params)
                if best < 0 or value < least or (value == least and value <= lcfs_up_to):
                    best, least = k, value
        if best >= 0:
            actions[e] = best if opens[e, best] else passes


@inner_kernel
def first(rows, e, left, ranks):
    """Return the first in order of those left, -1 where there is none; equal ranks go to the earlier arrival."""
    best = -1
    for k in range(rows.shape[1]):
        if left[k]:
            earlier = best >= 0 and ranks[k] == ranks[best] and rows[e, k].arrival < rows[e, best].arrival
            if best < 0 or ranks[k] < ranks[best] or earlier:
                best = k
    return best


@kernel
def fill(rows, place, opens, free, rank, params, lcfs_up_to, keeps, blocks, passes, actions):
    """Pick the next job of ServerFilling: see `engines.packing_rules.filling`; the arguments are as in `least_rank`."""
    m = rows.shape[1]
    left, chosen, ranks = np.zeros(m, np.bool_), np.zeros(m, np.bool_), np.zeros(m)
    for e in range(rows.shape[0]):
        servers = free[e]
        for k in range(m):
            left[k], chosen[k] = place[e, k] != NONE, False
            if left[k]:
                ranks[k] = rank(rows[e, k], params)
            if place[e, k] == SERVED:
                servers += rows[e, k].need
        wanted = 0
        while wanted < servers:
            k = first(rows, e, left, ranks)
            if k < 0:
                break
            left[k], chosen[k] = False, True
            wanted += rows[e, k].need
        if passes >= 0:
            actions[e] = passes
        largest = servers
        while largest > 0:
            for k in range(m):
                left[k] = chosen[k] and rows[e, k].need == largest
            k = first(rows, e, left, ranks)
            if k < 0:
                largest -= 1
                continue
            chosen[k] = False
            if largest <= servers:  # those that are not placed yet
                servers -= largest
                if place[e, k] != SERVED and opens[e, k]:
                    actions[e] = k
                    break


@kernel
def backfill(rows, place, opens, free, rank, params, lcfs_up_to, keeps, blocks, passes, actions):
    """Pick the next job of EASY: see `engines.packing.backfill`; the arguments are as in `least_rank`."""
    m = rows.shape[1]
    left, running, ranks = np.zeros(m, np.bool_), np.zeros(m, np.bool_), np.zeros(m)
    for e in range(rows.shape[0]):
        kept = -1
        for k in range(m):
            left[k] = place[e, k] == WAITS or place[e, k] == RECALLED
            running[k] = place[e, k] == SERVED
            if left[k]:
                ranks[k] = rank(rows[e, k], params)
            if place[e, k] == RECALLED and opens[e, k] and kept < 0:
                kept = k
        blocked, shadow, extra = False, 0.0, 0
        pick = kept
        while pick < 0:
            k = first(rows, e, left, ranks)
            if k < 0:
                break
            left[k] = False
            need = rows[e, k].need
            if opens[e, k]:
                if not blocked or rows[e, k].predicted - rows[e, k].age <= shadow or need <= extra:
                    pick = k
            elif not blocked:  # its servers are reserved for when, by prediction, they will be free
                blocked, extra = True, free[e] - need
                while extra < 0:
                    soonest = -1
                    for j in range(m):
                        if running[j]:
                            ranks[j] = max(rows[e, j].predicted - rows[e, j].age, 0.0)
                            if soonest < 0 or ranks[j] < ranks[soonest]:
                                soonest = j
                    if soonest < 0:
                        break
                    shadow = ranks[soonest]
                    for j in range(m):
                        if running[j] and ranks[j] == shadow:
                            running[j] = False
                            extra += rows[e, j].need
        if pick >= 0:
            actions[e] = pick
        elif passes >= 0:
            actions[e] = passes


_RULES = {"prefix": least_rank, "skip": least_rank, "filling": fill, "backfill": backfill}


class PickAgent(Agent):
    """Picks jobs for free servers by a policy, among those in the slots.

    In an environment without preemption a policy does without it. In a preemptive one, a policy without preemption
    keeps the jobs in service that it sees.
    """

    def __init__(self, policy: Any, scenario: "Scenario", view: Any):
        super().__init__(policy, scenario, view)
        self.rule = policy.packing if isinstance(policy, PackingPolicy) else "skip"
        self._check()
        self._traits = (getattr(policy, "lcfs_up_to", -np.inf), not policy.preemptive, self.rule == "prefix")
        self._passes = view.n_actions(scenario) - 1 if view.may_pass else -1

    def _check(self) -> None:
        policy, view, system = self.policy, self.view, self.scenario.system
        name, needs = policy.name, set(getattr(system, "class_needs", (1,)))
        if self.rule not in _RULES:
            raise BadInput(f"policy {name!r} packs by {self.rule!r}, which no agent does; play it in closed loop")
        informed = self.rule == "backfill" or isinstance(policy, DeadlinePolicy)
        if informed and not system.predictor(self.scenario).informative:  # type: ignore[attr-defined]
            raise NotApplicable(f"policy {name!r} needs predictions, but the predictor predicts nothing")
        if getattr(policy, "quantum", 0):
            raise BadInput(f"policy {name!r}: an agent takes predictions as they are; leave out the quantum")
        if self.rule == "filling" and not view.preemptive:
            raise BadInput(f"policy {name!r} packs all servers anew: it needs an environment with preemptive=True")
        if self.rule != "skip" and len(needs) > 1 and not view.may_pass:
            raise BadInput(f"policy {name!r} keeps servers free: it needs an environment with may_pass=True")
        speeds = system.server_speeds  # type: ignore[attr-defined]
        if view.preemptive and not policy.preemptive and len(set(speeds)) > 1:
            raise BadInput(
                f"policy {name!r} moves no job, but servers of different speeds are given out anew at every event: "
                "it needs an environment with preemptive=False"
            )
        if isinstance(policy, DeadlinePolicy) and not (view.may_drop and view.firm):
            raise BadInput(f"policy {name!r} needs an environment with firm=True and may_drop=True")

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return jobs and where they are from observations."""
        columns = columns_of(observation, "jobs", self.view.jobs)
        rows = np.zeros(columns["present"].shape, JOB)
        for column in ("predicted", "age", "weight", "need"):
            rows[column] = columns[column]
        rows["arrival"] = -columns["time_in_system"]
        rows["deadline"] = columns["time_left"] if self._knows_deadlines() else np.inf
        slots = int(self.view.slots)
        place = np.where(columns["in_service"] > 0, RECALLED, WAITS)
        place[..., slots:] = SERVED
        place[columns["present"] == 0] = NONE
        opens = np.zeros(rows.shape, bool)
        opens[..., :slots] = observation["action_mask"][..., :slots]
        opens &= place != NONE  # when an episode is over, all actions are
        free = columns_of(observation, "system", self.view.system)["free"]
        return self._seen(rows, place, opens, np.atleast_1d(free).astype(np.int64), 0.0)

    def _knows_deadlines(self) -> bool:
        return bool(self.view.firm or getattr(self.scenario.system, "told", False))

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the jobs and where they are."""
        waiting, served = seen["waiting"], seen["served"]
        rows = np.concatenate([waiting, served])
        place = np.where(rows["status"] == RUNNING, RECALLED, WAITS)
        place[len(waiting) :] = SERVED
        opens = np.zeros(len(rows), bool)
        opens[: len(waiting)] = seen["mask"]
        servers = int(self.scenario.system.servers)  # type: ignore[attr-defined]
        free = np.array([servers - served["need"].sum()], np.int64)
        return self._seen(rows, place, opens, free, seen["clock"])

    def _seen(
        self, rows: np.ndarray, place: np.ndarray, opens: np.ndarray, free: np.ndarray, clock: float
    ) -> dict[str, Any]:
        tables = {"rows": rows, "place": place, "opens": opens}
        return {**{name: np.atleast_2d(table) for name, table in tables.items()}, "free": free, "clock": clock}

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the actions."""
        rows, place, opens, policy = seen["rows"], seen["place"], seen["opens"], self.policy
        deadline = isinstance(policy, DeadlinePolicy)
        if deadline:
            opens = opens & (policy.preferred(rows, opens) | (place == RECALLED))
        actions = opens.argmax(axis=1)
        pick = _RULES[self.rule]
        pick(
            records(rows),
            place,
            opens,
            seen["free"],
            self.pointers[0],
            self.params,
            *self._traits,
            self._passes,
            actions,
        )
        policy.refuse_failure(self.params)
        if deadline:
            fastest = float(self.scenario.system.server_speeds[0])  # type: ignore[attr-defined]
            late = policy.late(rows, seen["clock"], fastest) & (place == WAITS)
            actions = np.where(late.any(axis=1), int(self.view.slots) + late.argmax(axis=1), actions)
        return actions

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return ranks, slacks where somebody may be sent away, and what is predicted to be left of those served."""
        rows, slots = seen["rows"], int(self.view.slots)
        ranks, left = np.zeros(rows.shape), np.maximum(rows["predicted"] - rows["age"], 0.0)
        ranks_of(records(np.ascontiguousarray(rows)), self.pointers[0], self.params, ranks)
        slacks = [(rows["deadline"] - left)[:, :slots]] if self.view.may_drop else []
        return [ranks[:, :slots], *slacks, left[:, slots:]]
