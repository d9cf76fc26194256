"""Sends on who has least rank of the calls at the router, keeps contexts and stops programs, as policies say."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.engines.fleet.retention import DROPS, KEEPS_IT, MOVES
from llmqueue_gym.engines.fleet.tables import KEEP, PICK, STOP
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import AWAY, DISCARD, PRESERVE, REQUEST, SWAP, SYSTEM, TOLD
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.agents.serving import values_of
from llmqueue_gym.systems.view import columns_of

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

# Columns of observations by those of the records that policies read.
OF_CALL: tuple[str, ...] = ("prompt", "predicted", "generated", "to_come", "path_to_come", "attained", "longest_path")
OF_CALL += ("depth", "siblings")
OF_CONTEXT = {"context": "context", "blocks": "context_blocks", "predicted": "next_output", "held": "tokens_held"}
OF_CONTEXT |= {"free": "free_there", "waiting": "waiting_there"}
OF_CONTEXT |= {name: name for name in ("predicted_gap", "next_prompt", "calls_left", "scheduled")}
OF_ANSWERS = {name: name for name in ("answers", "planned", "leading", "second", "clusters", "entropy", "agree")}
OF_ANSWERS |= {"tokens": "spent", "predicted": "predicted_depth", "depth": "answer_depth"}
OF_ANSWERS |= {name: name for name in ("confidence", "mean_score", "best_score")}
OF_WHOLE = ("running", "waiting", "free", "blocks")
# What follows from those, and columns that nobody knows of whom an agent sees.
CALL_SEEN = {*OF_CALL, "first_predicted", "upper", "lower", "arrival", "began", "weight", "computed", "blocks"}
WHOLE_SEEN = {*OF_WHOLE, "clock"}
CONTEXT_SEEN = {*OF_CONTEXT, "elapsed", "since", "clock", "block_size"}
WAYS = {DISCARD: DROPS, PRESERVE: KEEPS_IT, SWAP: MOVES}


@kernel
def kept_for(away, system, keep, params, values):
    """Write for how long contexts `(E,)` are kept, by a compiled policy and its numbers."""
    for e in range(away.shape[0]):
        values[e] = keep(away[e], system[e], params)


@kernel
def stopped(told, stops, params, values):
    """Write what a compiled rule says of programs `(E,)`."""
    for e in range(told.shape[0]):
        values[e] = stops(told[e], params)


class ProgramAgent(Agent):
    """Plays a policy, and what else there is to decide as the fleet does it: its order, retention and stopping."""

    def __init__(self, policy: Any, scenario: "Scenario", view: Any):
        super().__init__(policy, scenario, view)
        system: Any = scenario.system.under(policy)  # type: ignore[attr-defined]
        self._order, self._keeper, self._rule = system.discipline, system.keeper, system.rule
        facts = scenario.facts()
        self._numbers = [each.params_for(**facts) for each in (self._order, self._keeper, self._rule)]
        self._block_size = int(system.bound_rules.block_size)
        if "order" in view.decides:
            self._refuse_unseen(self._order, (CALL_SEEN, WHOLE_SEEN))
            if self._order.displaces or self._order.skips or self._order.merged:
                raise BadInput(f"policy {self._order.name!r} does more than rank calls; play it in closed loop")
        if "retain" in view.decides:
            self._refuse_unseen(self._keeper, (CONTEXT_SEEN, WHOLE_SEEN))
            if self._keeper.again or self._keeper.fix is not None:
                raise BadInput(
                    f"{self._keeper.kind} {self._keeper.name!r} is asked at other times, too; play it in closed loop"
                )
            self._refuse_times()
        if "stop" in view.decides and (self._rule.rank is not None or self._rule.every):
            raise BadInput(f"{self._rule.kind} {self._rule.name!r} does more than stop; play it in closed loop")

    def _refuse_times(self) -> None:
        """Refuse a policy that keeps contexts for a time, by its answers about some of them."""
        gaps = np.array([0.0, 0.01, 0.1, 1.0, 10.0, 100.0, 1e4])
        away, whole = np.zeros(len(gaps), AWAY), np.zeros(len(gaps), SYSTEM)
        away["context"], away["blocks"], away["block_size"] = 1000, 1000 // self._block_size, self._block_size
        away["predicted_gap"], away["calls_left"], away["worst"] = gaps, 1, -np.inf
        whole["blocks"], whole["free"] = 10_000, 5000
        self._ways({"away": away, "whole": whole, "question": np.full(len(gaps), KEEP)})

    @staticmethod
    def _refuse_unseen(policy: Any, seen: tuple[set[str], ...]) -> None:
        for position, columns in enumerate(seen):
            if unseen := sorted(policy.reads(position) - columns):
                raise BadInput(
                    f"{policy.kind} {policy.name!r} reads {', '.join(unseen)}, which agents do not see; "
                    "play it in closed loop"
                )

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return calls, contexts and programs in question from observations."""
        columns = {name: np.atleast_2d(c) for name, c in columns_of(observation, "jobs", self.view.jobs).items()}
        told = {name: np.atleast_1d(c) for name, c in columns_of(observation, "system", self.view.system).items()}
        rows, whole = np.zeros(columns["present"].shape, REQUEST), np.zeros(len(columns["present"]), SYSTEM)
        away, answers = np.zeros(len(rows), AWAY), np.zeros(len(rows), TOLD)
        for name in OF_CALL:
            rows[name] = columns[name]
        for name in ("first_predicted", "lower", "upper"):
            rows[name] = columns["predicted"]
        rows["arrival"], rows["began"] = -columns["waited"], -columns["time_in_system"]
        rows["weight"] = columns["weight"]
        for name in OF_WHOLE:
            whole[name] = told[name if name != "waiting" else "held"]
        for table, names in ((away, OF_CONTEXT), (answers, OF_ANSWERS)):
            for name, column in names.items():
                if column in told:
                    table[name] = told[column]
        away["block_size"], away["worst"] = self._block_size, -np.inf
        return {
            "rows": rows,
            "present": columns["present"] > 0,
            "whole": whole,
            "away": away,
            "told": answers,
            "question": told["question"].astype(np.int64),
            "mask": np.atleast_2d(observation["action_mask"]) > 0,
        }

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return calls, the context and the program in question of a scalar environment."""
        slots, found = int(self.view.slots), seen["waiting"]
        rows, present = np.zeros((1, slots), REQUEST), np.zeros((1, slots), bool)
        rows[0, : len(found)], present[0, : len(found)] = found, True
        more = {name: np.atleast_1d(seen[name]) for name in ("whole", "away", "told", "question")}
        return {"rows": rows, "present": present, **more, "mask": np.atleast_2d(seen["mask"])}

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the actions."""
        question, first = seen["question"], int(self.view.slots) if "order" in self.view.decides else 0
        actions = np.zeros(len(question), np.int64)
        if (question == PICK).any():
            open_ = seen["mask"][:, : seen["present"].shape[1]] & seen["present"]
            actions = np.where(question == PICK, np.where(open_, self._ranks(seen), np.inf).argmin(axis=1), actions)
        if (question == KEEP).any():
            actions = np.where(question == KEEP, first + self._ways(seen), actions)
        if (question == STOP).any():
            values = np.zeros(len(question))
            stopped(records(seen["told"]), self._rule.compiled()[0], self._numbers[2], values)
            self._rule.refuse_failure(self._numbers[2])
            actions = np.where(question == STOP, first + (values > 0), actions)
        return actions

    def _ranks(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the ranks of the calls `(E, slots)`."""
        rows = np.ascontiguousarray(seen["rows"])
        if self._order.rank is None:
            return np.asarray(rows["arrival"])
        values = np.zeros(rows.shape)
        whole = np.ascontiguousarray(seen["whole"])
        values_of(records(rows), records(whole), self._order.compiled()[0], self._numbers[0], values)
        self._order.refuse_failure(self._numbers[0])
        return values

    def _ways(self, seen: dict[str, Any]) -> np.ndarray:
        """Return what happens to the contexts `(E,)`: DROPS, KEEPS_IT or MOVES."""
        values, asked = np.zeros(len(seen["away"])), seen["question"] == KEEP
        away, whole = np.ascontiguousarray(seen["away"]), np.ascontiguousarray(seen["whole"])
        kept_for(records(away), records(whole), self._keeper.compiled()[0], self._numbers[1], values)
        self._keeper.refuse_failure(self._numbers[1])
        unknown = asked & ~np.isin(values, list(WAYS))
        if unknown.any():
            raise BadInput(
                f"{self._keeper.kind} {self._keeper.name!r} keeps a context for {values[unknown][0]:g} s, which no "
                "action does; play it in closed loop"
            )
        return np.select([values == told for told in WAYS], list(WAYS.values()), KEEPS_IT)

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return the ranks of the calls."""
        return [self._ranks(seen)]
