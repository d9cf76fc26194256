"""A replica opened for an agent: what it sees, decides and is paid, and the state of E of them.

The agent admits waiting requests to the batch, also preempts running ones, or ranks requests; all other decisions
follow the rule set. The kernels behind this are in `engines.batching.stepping`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.caches import let_cache, with_contexts
from llmqueue_gym.engines.batching.cost import FORMS
from llmqueue_gym.engines.batching.stepping import step_batch
from llmqueue_gym.engines.batching.tables import (
    ADMISSION,
    AS_RULES,
    CLASSES,
    CONDUCT,
    EVICTION,
    NO_ACCOUNTS,
    RANKING,
    REASONS,
    ReplicaTables,
    fresh_replica,
    queue,
)
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.requests import Requests
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.episodes import Episodes, summary
from llmqueue_gym.systems.replica_tables import leaner
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scene import Scene
from llmqueue_gym.systems.scenes import replica_scene
from llmqueue_gym.systems.view import RESPONSE_TIME, Column, Columns, Cost, Group, View, check_counts

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

# What an agent decides; see `ReplicaView.actions`.
BITS = {"admit": ADMISSION, "evict": ADMISSION | EVICTION, "rank": RANKING}

# What is seen of a request in any case, and what besides where a view shows it; the same of the replica.
OF_REQUEST: Columns = {
    "present": Column("1 where the slot holds a request"),
    "running": Column("1 where it is in the running list"),
    "prompt": Column("prompt length, tokens", "prompt"),
    "generated": Column("output so far, tokens", "output"),
    "predicted": Column("predicted output in all, by the present prediction, tokens", "output"),
    "upper": Column("most output, for predictors of intervals, tokens; else as predicted", "output"),
    "computed": Column("keys and values in the cache, or on the host, tokens", "request"),
    "blocks": Column("KV blocks held", "request_blocks"),
    "time_in_system": Column("since its arrival, s", "s"),
    "since_token": Column("since its last output token, or its arrival, s", "s"),
    "weight": Column("cost per second in system"),
    "preemptions": Column("times it was preempted"),
}
OF_REPLICA: Columns = {
    "waiting": Column("requests in the queue", "window"),
    "unseen": Column("how many of them are beyond the window", "window"),
    "running": Column("requests in the running list", "seats"),
    "free": Column("free KV blocks", "blocks"),
    "blocks": Column("KV blocks in all", "blocks"),
    "budget": Column("what is left of the token budget of this iteration", "budget"),
    "step_time": Column("duration of the last iteration, s", "iteration"),
    "since_decision": Column('since the last decision, as in info["dt"], s', "iteration"),
    "question": Column("1: admit or run, 2: somebody must be preempted, 3: rank"),
}
SHOWN: dict[str, tuple[Columns, Columns]] = {  # in the order of `stepping.PLAIN` and so on
    "plain": ({}, {}),
    "prefixes": (
        {"cached": Column("of its prompt, that the cache holds now, or held when it was admitted, tokens", "prompt")},
        {},
    ),
    "classes": (
        {
            "klass": Column("its class"),
            "time_left": Column("until its deadline, s; 0 where it is over or there is none", "s"),
            "overdue": Column("since its deadline, s; 0 where it is to come or there is none", "s"),
            "tenant": Column("who sent it"),
            "received": Column("what its class has been given so far, as `class-shares` counts it, tokens", "request"),
        },
        {"mean_step_time": Column("duration of an iteration on average so far, s", "iteration")},
    ),
}


@dataclass(frozen=True, kw_only=True)
class ReplicaView(View):
    """What an agent sees and decides, and what it is paid.

    Attributes:
        decides: "admit"; "evict", which is to admit and to preempt; or "rank".
        window: waiting requests that the agent sees and can admit.
        seats: running requests that it sees and can preempt.
        levels: ranks that a ranking agent can give.
        shows: "plain"; "prefixes", what the cache holds of each prompt, too; or "classes", the class and deadline of
            each request, too.
    """

    waits: ClassVar[bool] = False
    actions: ClassVar[str] = (
        "admit: the place in the queue of who joins the batch, or `window`, run the iteration. evict: the same, and "
        "before the last, `seats` that preempt a running request to be recomputed and `seats` to swap it to the host; "
        "where a running request lacks memory (question 2) one must go. rank: the level of the request in slot 0, 0 "
        "first. One that is not open stands for the first that is (admit the first that can be, else run; preempt the "
        "last)"
    )
    rewards: ClassVar[Mapping[str, Cost]] = {
        **RESPONSE_TIME,
        "missed_deadlines": RESPONSE_TIME["weighted"],
        "normalised_latency": lambda jobs, sizes: 1 / sizes,
    }
    paid: ClassVar[Mapping[str, str]] = {"normalised_latency": "iteration", "missed_deadlines": ""}
    missed: ClassVar[tuple[str, ...]] = ("missed_deadlines",)

    decides: str = "admit"
    window: int = 8
    seats: int = 8
    levels: int = 16
    shows: str = "plain"

    @property
    def jobs(self) -> Columns:  # type: ignore[override]
        """The first of the queue, head first, then the running list; who is to be ranked before both."""
        return {**OF_REQUEST, **SHOWN[self.shows][0]}

    @property
    def system(self) -> Columns:  # type: ignore[override]
        """Columns of the replica; what it is asked comes last among those that are always there."""
        return {**OF_REPLICA, **SHOWN[self.shows][1]}

    def check(self, scenario: "Scenario") -> None:
        """Refuse values out of range."""
        super().check(scenario)
        if self.decides not in BITS:
            raise BadInput(f"decides={self.decides!r}; {nearest(str(self.decides), BITS)}")
        check_counts(self, "window", "seats", "levels")
        if self.shows not in SHOWN:
            raise BadInput(f"shows={self.shows!r}; {nearest(str(self.shows), SHOWN)}")
        rules = scenario.system.bound_rules  # type: ignore[attr-defined]
        if self.shows == "prefixes" and (rules.caching == "none" or self.decides != "admit"):
            raise BadInput("shows='prefixes' needs decides='admit', and rules that cache: add caching=vllm to them")
        if self.shows == "classes" and rules.asynchronous:
            raise BadInput("shows='classes' tells what an iteration gives; add asynchronous=false to the rules")
        if self.counts_missed:
            first = [one.name for one in scenario.system.request_classes if one.token == "ttft"]  # type: ignore[attr-defined]
            if first:
                raise BadInput(
                    f"reward={self.reward!r} is for last tokens; class {first[0]!r} has a deadline for its first"
                )
        if rules.request_level and self.decides == "evict":
            raise BadInput(f"rules {rules.name!r} never let go of a batch: decides='evict' needs others")
        if rules.caching != "none" and self.decides == "evict":
            raise BadInput(f"caching={rules.caching} cannot move blocks to the host, as decides='evict' does")
        if self.decides == "evict" or rules.preemption == "swap":
            scenario.system.cost_profile.check_transfers("the agent")  # type: ignore[attr-defined]

    @property
    def graded(self) -> bool:  # type: ignore[override]
        """Whether actions are levels."""
        return self.decides == "rank"

    def scales(self, scenario: "Scenario") -> dict[str, float]:
        """Return what one of each unit of a column is in raw numbers."""
        return {**super().scales(scenario), "window": float(self.window), "seats": float(self.seats)}

    def n_slots(self, scenario: "Scenario") -> int:
        """Return the rows of the observation's `jobs`."""
        return int(self.window) + int(self.seats) + (self.decides == "rank")

    def n_actions(self, scenario: "Scenario") -> int:
        """Return the number of actions."""
        window, seats = int(self.window), int(self.seats)
        return {"admit": window + 1, "evict": window + 2 * seats + 1, "rank": int(self.levels)}[self.decides]

    def groups(self, scenario: "Scenario") -> tuple[Group, ...]:
        """Return who waits, who runs, once for each way to preempt, and before both who is to be ranked."""
        window, seats = int(self.window), int(self.seats)
        if self.decides == "rank":
            return Group(0, 1), Group(1, window), Group(1 + window, seats)
        runs = Group(window, seats)
        if self.decides == "evict":
            ways = (Group(window, seats, action, 2, displaces=True) for action in (window, window + seats))
            return Group(0, window, 0), *ways, runs
        return Group(0, window, 0), runs


class ReplicaEpisodes(Episodes):
    """The state of E replicas.

    Attributes:
        replica: as in `step_batch`.
    """

    unknown: ClassVar[Mapping[str, Any]] = {
        **{"requests": 0, "done": 0, "ended": REASONS[0], "preemptions": 0},
        **dict.fromkeys(("mean_response_time", "p99_response_time", "mean_ttft"), 0.0),
    }

    def __init__(self, scenario: "Scenario", view: ReplicaView, size: int):
        super().__init__(scenario, view, size)
        system: Any = scenario.system
        profile, rules = system.cost_profile, system.bound_rules
        rules = replace(rules, horizon=min(float(view.horizon), rules.horizon))
        if rules.batching != "passes":
            raise BadInput(
                f"rule set {rules.name!r} decides itself who joins a batch, so that an agent has no say; choose vllm-v1"
            )
        self._rules = rules
        self.replica = fresh_replica(size, int(scenario.n_jobs), 0, rules.max_seqs, rules.blocks or 0)
        self.replica = leaner(let_cache(self.replica, [rules] * size), [rules], view.shows == "classes")
        self._asks = np.zeros(size, np.int64)
        conduct = np.zeros(1, CONDUCT)
        conduct["ranked"], conduct["preemption"] = view.decides == "rank", AS_RULES
        conduct["accounts"], conduct["lifts"] = CLASSES if view.shows == "classes" else NO_ACCOUNTS, True
        self._rest = (
            rules.to_record(profile.kv_bytes_per_token),
            records(conduct)[0],
            FORMS.index(profile.form),
            np.ascontiguousarray(profile.numbers, np.float64),
            *(BITS[view.decides], int(view.window), int(view.seats), [*SHOWN].index(view.shows)),
        )

    def give(self, e: Any, drawn: Drawn) -> None:
        """Let run `e` begin with these requests, on an empty replica."""
        self._rules.check(drawn.work, drawn.sizes)
        replica, refreshed = self.replica, drawn.truth["refreshed"]
        if (m := len(refreshed.total)) > (room := len(replica.total) // len(self.actions)):
            self.replica = replica = roomier(replica, len(self.actions), room, 2 * m)
        given = Requests(drawn.work, drawn.sizes, refreshed, drawn.truth.get("contexts"))
        replica.give(e, given, self.view.costs(drawn))
        self.replica = with_contexts(replica, e, len(self.actions), given, self._rules.block_size)
        for buffer in self.observation.values():
            buffer[e] = 0

    def advance(self) -> None:
        """Carry out `actions` in every run, up to its next decision."""
        step_batch(self.replica, self.steps, self._asks, self.actions, *self.observation.values(), *self._rest)

    def run(self, e: int = 0, player: str = "agent", elapsed: float = 0.0) -> Run:
        """Return what has come of run `e` so far."""
        rows = self._rows(e)
        outputs = self.replica.truth["output"][rows].astype(np.int64)
        return run_of(self.replica, e, rows, outputs, player, self.scenario.system, elapsed)

    def completions(self) -> np.ndarray:
        """Return when each request left `(E, n)`, s; NaN for one that has not."""
        return self._table(self.replica.service["completion"])

    def response_times(self) -> np.ndarray:
        """Return completion minus arrival `(E, n)`, s; NaN for a request that has not left or does not exist."""
        return self._table(self.replica.service["completion"] - self.replica.requests["arrival"])

    def seen(self, e: int = 0) -> Mapping[str, Any]:  # type: ignore[override]
        """Return the `REQUEST` rows behind the slots of queue and running list and of who is to be ranked, and more."""
        replica, system, view = self.replica, self.replica.system[e], self.view
        requests = replica.requests.view(np.recarray)
        return {
            "waiting": requests[queue(replica, e)[: view.window]],
            "running": requests[replica.running[e, : system["running"]][: view.seats]],
            "subject": requests[replica.state["subject"][e]],
            "system": replica.system.view(np.recarray)[e],
            "mask": self.observation["action_mask"][e] > 0,
        }

    def metrics(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Return how the episodes ended, and times of their requests that have left, s, `(rows,)` each."""
        state, service = self.replica.state[rows], self._table(self.replica.service)[rows]
        arrival = self._table(self.replica.requests["arrival"])[rows]
        return request_metrics(state["n"], state["reason"], state["preemptions"], arrival, service)

    def _table(self, column: np.ndarray) -> np.ndarray:
        """Return a column of the requests of all runs, a run a row."""
        return column.reshape(len(self.actions), -1)

    def _rows(self, e: int) -> slice:
        """Return the rows of the requests of run e."""
        first = e * (len(self.replica.requests) // len(self.actions))
        return slice(first, first + int(self.replica.state["n"][e]))

    def scene(self, title: str) -> Scene:
        """Return what a frame shows."""
        return replica_scene(self, title)


def request_metrics(
    n: np.ndarray, reason: np.ndarray, preemptions: np.ndarray, arrival: np.ndarray, service: np.ndarray
) -> dict[str, np.ndarray]:
    """Return how runs of requests ended, and times of the requests that have left, s, `(rows,)` each.

    Args:
        n: requests of each run `(rows,)`.
        reason: why each stopped, index into `REASONS`.
        preemptions: in each.
        arrival: `(rows, n)`, s.
        service: `SERVICE` rows `(rows, n)`.
    """
    times, first = service["completion"] - arrival, service["first_token"] - arrival
    first[np.isnan(times)] = np.nan
    of_all = summary(times)
    return {
        "requests": n,
        "done": of_all["jobs"],
        "ended": np.array(REASONS, object)[reason],
        "preemptions": preemptions,
        "mean_response_time": of_all["mean_response_time"],
        "p99_response_time": p99(times, of_all["jobs"]),
        "mean_ttft": summary(first)["mean_response_time"],
    }


def p99(times: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Return `np.nanpercentile(times, 99, axis=1)`, which is slow beside an episode; `count` are those not NaN."""
    ordered, rows = np.sort(times, axis=1), np.arange(len(times))
    place = 0.99 * np.maximum(count - 1, 0)
    below = place.astype(np.int64)
    low, high = ordered[rows, below], ordered[rows, np.minimum(below + 1, np.maximum(count - 1, 0))]
    return low + (place - below) * (high - low)


def roomier(replica: ReplicaTables, runs: int, before: int, room: int) -> ReplicaTables:
    """Return the tables with room for so many refreshed predictions of each run."""
    total = np.zeros((runs, room))
    total[:, :before] = replica.total.reshape(runs, before)
    for name in ("refreshed", "refreshed_end"):
        replica.truth[name] += np.repeat(np.arange(runs) * (room - before), len(replica.truth) // runs).astype(np.int32)
    return replica._replace(total=total.ravel())


def run_of(
    replica: ReplicaTables, e: int, rows: slice, outputs: np.ndarray, player: str, system: Any, elapsed: float
) -> Run:
    """Return what came of run e, whose requests are these rows, with the rules that it followed."""
    state, record = replica.state[e], replica.system[e]
    times = ("prefill_time", "decode_time", "transfer_time", "token_time", "batch_time", "integral")
    counts = ("prefill_tokens", "decode_tokens", "preemptions", "most_blocks", "hit_tokens")
    totals = {name: state[name].item() for name in (*times, *counts)}
    totals |= {"iterations": int(record["iterations"]), "clock": float(record["clock"])}
    tables_ = (np.array(replica.requests[rows]), np.array(outputs), np.array(replica.service[rows]))
    return Run(player, *tables_, elapsed, system, REASONS[int(state["reason"])], totals, (totals,))
