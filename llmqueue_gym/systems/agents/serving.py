"""Admits the visible request of least rank if it fits, else runs the iteration, as the engine does with the queue."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.engines.batching.tables import EVICT, RANK
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import REQUEST, SYSTEM
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.view import columns_of

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


@kernel
def values_of(rows, system, function, params, values):
    """Write what a function of a request, the replica and numbers gives of `REQUEST` rows `(E, m)`."""
    for e in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            values[e, k] = function(rows[e, k], system[e], params)


class ServingAgent(Agent):
    """Plays a serving policy that ranks the queue and does no more.

    It never preempts on its own; where somebody must go it sends the visible running request of largest `victim` value,
    or, where nobody is ranked, the last.
    Where ranks are asked for, it gives the level of a request's rank among those of the requests in sight: as many
    levels below the last as requests there come before it.
    """

    def __init__(self, policy: Any, scenario: "Scenario", view: Any):
        super().__init__(policy, scenario, view)
        plain = policy.admission == "fits" and policy.progress is None
        if policy.merged or policy.displaces or policy.skips or not plain:
            raise BadInput(f"policy {policy.name!r} does more than rank the queue; play it in closed loop")
        shown = view.shows == "classes" and (policy.owners, policy.lifts, policy.shares) == ("class", True, ())
        if policy.keeps_accounts and not shown:
            raise BadInput(
                f"policy {policy.name!r} reads request.received, which agents see of classes with equal shares alone, "
                "where shows='classes'; play it in closed loop"
            )
        system: Any = scenario.system
        if system.under(policy).bound_rules != system.bound_rules:
            wanted = ", ".join(f"{name}={value}" for name, value in policy.rules.items())
            raise BadInput(f"policy {policy.name!r} needs an environment whose rules have {wanted}")
        self._swaps = (policy.preemption or system.bound_rules.preemption) == "swap"

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return requests and the replica from observations."""
        columns = columns_of(observation, "jobs", self.view.jobs)
        known = {"deadline"} if "overdue" in columns else set()
        hidden = sorted(
            self.policy.reads() & {"cached", "deadline", "klass", "priority", "tenant"} - known - {*columns}
        )
        if hidden:
            raise BadInput(f"policy {self.policy.name!r} reads request.{hidden[0]}, which observations do not hold")
        rows = np.zeros(columns["present"].shape, REQUEST)
        for name in ("prompt", "generated", "predicted", "upper", "computed", "blocks", "weight", "preemptions"):
            rows[name] = columns[name]
        rows["first_predicted"], rows["lower"] = columns["predicted"], columns["predicted"]
        rows["arrival"], rows["last_token"] = -columns["time_in_system"], -columns["since_token"]
        for name in {"cached", "klass", "tenant", "received"} & columns.keys():
            rows[name] = columns[name]
        rows["deadline"] = np.inf
        if "overdue" in columns:
            left = columns["time_left"] - columns["overdue"]
            rows["deadline"] = np.where(left == 0, np.inf, left)
        rows, present = np.atleast_2d(rows), np.atleast_2d(columns["present"]) > 0
        told = columns_of(observation, "system", self.view.system)
        system = np.zeros(len(rows), SYSTEM)
        for name in {"step_time", "mean_step_time", "free", "blocks", "running", "waiting"} & told.keys():
            system[name] = told[name]
        mask = np.atleast_2d(observation["action_mask"]) > 0
        return {
            "rows": rows,
            "present": present,
            "system": system,
            "mask": mask,
            "question": np.atleast_1d(told["question"]),
        }

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return requests and the replica of a scalar environment, in the slots of its observation."""
        first, window = int(self.view.decides == "rank"), int(self.view.window)
        rows = np.zeros((1, first + window + int(self.view.seats)), REQUEST)
        present = np.zeros(rows.shape, bool)
        begins = {"waiting": first, "running": first + window}
        for name, begin in begins.items():
            part = seen[name]
            rows[0, begin : begin + len(part)], present[0, begin : begin + len(part)] = part, True
        if first:
            rows[0, 0], present[0, 0] = seen["subject"], True
        mask = np.atleast_2d(seen["mask"])
        system = np.atleast_1d(np.array(seen["system"], SYSTEM))
        question = np.array([RANK if first else EVICT if self._must_go(mask)[0] else 0])
        return {"rows": rows, "present": present, "system": system, "mask": mask, "question": question}

    def _must_go(self, mask: np.ndarray) -> np.ndarray:
        """Return where nobody can be admitted nor the iteration be run `(E,)`."""
        return ~mask[:, : int(self.view.window)].any(axis=1) & ~mask[:, -1]

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the actions."""
        ranks = self._values(seen, 0) if self.policy.rank is not None else None
        if self.view.decides == "rank":
            return self._levels(seen, ranks)
        window, waiting = int(self.view.window), seen["present"][:, : int(self.view.window)]
        order = np.where(waiting, 0.0 if ranks is None else ranks[:, :window], np.inf)
        head = order.argmin(axis=1)
        run = seen["mask"].shape[1] - 1
        fits = waiting.any(axis=1) & seen["mask"][np.arange(len(head)), head]
        actions = np.where(fits, head, run)
        gone = self._must_go(seen["mask"]) & (seen["question"] != RANK)
        if gone.any():
            first = window + (int(self.view.seats) if self._swaps else 0)
            actions = np.where(gone, first + self._victims(seen, ranks), actions)
        return actions

    def _victims(self, seen: dict[str, Any], ranks: np.ndarray | None) -> np.ndarray:
        """Return the places in the running list of who is preempted `(E,)`."""
        window = int(self.view.window)
        running = seen["present"][:, window:]
        if ranks is None:
            return running.sum(axis=1) - 1
        values = (self._values(seen, 1) if self.policy.victim is not None else ranks)[:, window:]
        return np.where(running, values, -np.inf).argmax(axis=1)

    def _levels(self, seen: dict[str, Any], ranks: np.ndarray | None) -> np.ndarray:
        """Return the levels of the requests in question `(E,)`."""
        levels = int(self.view.levels)
        if ranks is None:
            return np.zeros(len(seen["rows"]), np.int64)
        others = seen["present"][:, 1:]
        before = (others & (ranks[:, 1:] < ranks[:, :1])).sum(axis=1)
        return np.round((levels - 1) * before / np.maximum(others.sum(axis=1), 1)).astype(np.int64)

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return the ranks of who waits, and of who runs who would be preempted first."""
        first, window = int(self.view.decides == "rank"), int(self.view.window)
        ranks = self._values(seen, 0) if self.policy.rank is not None else np.zeros(seen["rows"].shape)
        waiting, runs = ranks[:, first : first + window], slice(first + window, None)
        latest = np.broadcast_to(-np.arange(float(self.view.seats)), ranks[:, runs].shape)
        victims = -ranks[:, runs] if self.policy.rank is not None else latest
        subject = [np.zeros((len(ranks), 1))] if first else []
        return [*subject, waiting, *[victims] * (3 if self.view.decides == "evict" else 1)]

    def _values(self, seen: dict[str, Any], function: int) -> np.ndarray:
        rows, values = np.ascontiguousarray(seen["rows"]), np.zeros(seen["rows"].shape)
        values_of(records(rows), records(seen["system"]), self.pointers[function], self.params, values)
        self.policy.refuse_failure(self.params)
        return values
