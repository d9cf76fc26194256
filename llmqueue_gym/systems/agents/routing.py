"""Sends requests to the open replica of least score, as the engine does, and lets them go on as the fleet does."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from llmqueue_gym._jit import kernel, records
from llmqueue_gym.engines.fleet.tables import HAND
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import REQUEST, SITE
from llmqueue_gym.systems.agents.base import Agent
from llmqueue_gym.systems.view import columns_of

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

OF_REQUEST = ("prompt", "generated", "computed", "predicted", "upper", "weight")
OF_SITE = ("role", "running", "waiting", "free", "blocks", "pending", "work", "context", "step_time", "wanted")
COUNTED = ("outstanding", "tokens", "cached", "known", "since")  # not reported, but known as of now
ROUNDS = ("asked", "lowest", "highest")
# What follows from those.
SEEN = (
    {*OF_REQUEST, "first_predicted", "lower", "arrival", "deadline"},
    {*OF_SITE, *COUNTED, *ROUNDS, "index", "clock", "reported", "sites", "total", "most", "least"},
)


class RoutingAgent(Agent):
    """Sends requests to the open replica of least score; equals are chosen among as in the closed loop.

    Where the agent also hands requests over, the fleet's own `handover` does that, or the policy if it is all there is
    to decide. Of the request an observation has the columns of `OF_REQUEST` and the times alone.
    """

    def __init__(self, policy: Any, scenario: "Scenario", view: Any):
        super().__init__(policy, scenario, view)
        system: Any = scenario.system
        takes_over = policy if view.decides == "handover" else system.taker
        if view.decides != "handover":
            sees = policy.d if policy.looks == "sample" else None
            if sees != view.sees:
                raise BadInput(f"router {policy.name!r} needs an environment with sees={sees}, not {view.sees}")
        for each in (policy, takes_over):
            unseen = (each.reads(0) - SEEN[0]) | (each.reads(1) - SEEN[1])
            if unseen or each.paired:
                more = (
                    f"reads {', '.join(sorted(unseen))}, which agents do not see" if unseen else "decides all at once"
                )
                raise BadInput(f"router {each.name!r} {more}; play it in closed loop")
        facts = scenario.facts()
        self._plays = [(each, each.compiled()[0], each.params_for(**facts)) for each in (policy, takes_over)]

    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return requests in question and replicas from observations."""
        columns = columns_of(observation, "jobs", self.view.jobs)
        present = np.atleast_2d(columns["present"]) > 0
        sites = np.zeros(present.shape, SITE)
        for name in (*OF_SITE, *COUNTED):
            sites[name] = columns[name]
        there = np.where(present, sites["outstanding"], 0)
        sites["index"], sites["reported"] = np.arange(present.shape[1]), -np.atleast_2d(columns["since_report"])
        sites["sites"], sites["total"] = present.sum(axis=1)[:, None], there.sum(axis=1)[:, None]
        sites["most"] = there.max(axis=1)[:, None]
        sites["least"] = np.where(present, there, np.iinfo(np.int64).max).min(axis=1)[:, None]
        told = {
            name: np.atleast_1d(column) for name, column in columns_of(observation, "system", self.view.system).items()
        }
        requests = np.zeros(len(present), REQUEST)
        for name in OF_REQUEST:
            requests[name] = told[name]
        requests["first_predicted"], requests["lower"] = told["predicted"], told["predicted"]
        requests["arrival"] = -told["time_in_system"]
        requests["deadline"] = np.where(told["time_left"] > 0, told["time_left"], np.inf)
        return {
            "requests": requests,
            "sites": sites,
            "present": present,
            "question": told["question"],
            "mask": np.atleast_2d(observation["action_mask"]) > 0,
            "drawn": np.atleast_2d(columns["drawn"]),
            "turn": told["turn"].astype(np.int64),
            "tie": told["tie"].astype(np.float64),
        }

    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return the request in question and the replicas of a scalar environment."""
        return {
            "requests": np.array(seen["request"]),
            "sites": np.atleast_2d(np.array(seen["sites"])),
            **{name: np.atleast_1d(seen[name]) for name in ("question", "turn", "tie")},
            **{name: np.atleast_2d(seen[name]) for name in ("present", "mask", "drawn")},
        }

    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the replicas."""
        routes, hands = (self._chosen(seen, *each) for each in self._plays)
        return np.where(seen["question"] == HAND, hands, routes)

    def _chosen(self, seen: dict[str, Any], policy: Any, pointer: Any, params: np.ndarray) -> np.ndarray:
        """Return the replicas that a policy chooses `(E,)`."""
        open_ = seen["mask"]
        if policy.looks == "turn":
            return (open_.cumsum(axis=1) > seen["turn"][:, None]).argmax(axis=1)
        scores = self._scores(seen, policy, pointer, params)
        drawn = np.where(open_, seen["drawn"] if policy.looks == "sample" else 0, 0)
        sampled = drawn > 0
        samples = np.count_nonzero(sampled, axis=1) > 0
        rows = np.where(samples[:, None], sampled, open_)
        least = np.where(rows, scores, np.inf).min(axis=1)[:, None]
        equal = rows & (scores == least)
        first = np.where(equal & sampled, drawn, np.inf).argmin(axis=1)
        tie = seen["tie"] * (policy.ties == "random")
        kth = (tie * equal.sum(axis=1)).astype(np.int64)
        at_random = (equal.cumsum(axis=1) > kth[:, None]).argmax(axis=1)
        return np.where(samples, first, at_random)

    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return the scores of the replicas."""
        routes, hands = (self._scores(seen, *each) for each in self._plays)
        return [np.where((seen["question"] == HAND)[:, None], hands, routes)]

    def _scores(self, seen: dict[str, Any], policy: Any, pointer: Any, params: np.ndarray) -> np.ndarray:
        """Return the scores `(E, R)`; who reads what came of a first round is asked twice."""
        scores, requests = np.zeros(seen["mask"].shape), records(np.ascontiguousarray(seen["requests"], REQUEST))
        sites, twice = np.ascontiguousarray(seen["sites"], SITE), bool(policy.reads(1) & {*ROUNDS})
        for turn in range(1 + twice):
            if twice:
                sites["asked"] = turn
                sites["lowest"] = np.where(seen["present"], scores, np.inf).min(axis=1)[:, None] if turn else 0.0
                sites["highest"] = np.where(seen["present"], scores, -np.inf).max(axis=1)[:, None] if turn else 0.0
            scores_of(requests, records(sites), pointer, params, scores)
        policy.refuse_failure(params)
        return scores


@kernel
def scores_of(requests, sites, score, params, scores):
    """Write the scores `(E, R)` of the replicas `(E, R)` for each of E requests."""
    for e in range(sites.shape[0]):
        for q in range(sites.shape[1]):
            scores[e, q] = score(requests[e], sites[e, q], params)
