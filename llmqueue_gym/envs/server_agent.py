"""A policy as an agent of the environments of several servers: picks one job at a time, as the closed loop does.

Rank policies pick the open job of least rank. Packing policies do what their rule says of the jobs in sight; each pick
is worked out anew from the jobs that wait and those in service, so an agent keeps no memory. Deadline policies send
late jobs away before they pick.
"""

from typing import Any

import numpy as np

from llmqueue_gym._jit import compile_rank, inner_kernel, kernel, records
from llmqueue_gym.envs.deadline_agents import DEADLINE_POLICIES, DeadlinePolicy
from llmqueue_gym.envs.server_config import ServerConfig
from llmqueue_gym.envs.server_observation import FEATURES, SYSTEM
from llmqueue_gym.errors import BadInput, NotApplicable, nearest
from llmqueue_gym.jobs import JOB, RUNNING
from llmqueue_gym.policies import IMPATIENT_POLICIES, POLICIES, Policy, policy
from llmqueue_gym.policies.packing import PACKING, PackingPolicy
from llmqueue_gym.predictors import predictor

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


class ServerAgent:
    """Picks jobs for free servers by a policy, among those in the slots.

    In an environment without preemption a policy does without it. In a preemptive one, a policy without preemption
    keeps the jobs in service that it sees.

    Attributes:
        policy: the policy.
        config: of the environment.
    """

    def __init__(self, given: Any, config: ServerConfig):
        """Prepare a policy for an environment.

        Args:
            given: a policy (`Policy`, `PackingPolicy`, `DeadlinePolicy`), its spec, or a function `rank(job, params)`.
                Where jobs need several servers, a name is first looked for among packing policies.
            config: `env.unwrapped.config` of a scalar or a vector environment.

        Raises:
            BadInput: the policy is unknown, brings a predictor along which is not that of the environment, or needs
                actions or a preemption that the environment does not have.
        """
        self.config = config
        self.policy = _policy(given, several=max(config.job_needs) > 1)
        self._deadline = self.policy if isinstance(self.policy, DeadlinePolicy) else None
        order, rule = _order_and_rule(self.policy)
        self._check(order, rule)
        self._params = order.params_for(config.law, config.bound_predictor)
        self._rank = compile_rank(order.rank, cache=order.rank.__module__.startswith("llmqueue_gym."))
        self._traits = (order.lcfs_up_to, not order.preemptive, rule == "prefix")
        self._pick = _RULES[rule]
        self._passes = int(config.spaces()[1].n) - 1 if config.may_pass else -1

    def _check(self, order: Policy, rule: str) -> None:
        config, name = self.config, self.policy.name
        if rule not in _RULES:
            raise BadInput(f"policy {name!r} packs by {rule!r}, which no agent does; play it with simulate_needs")
        told = order.predictor
        if told is not None and predictor(told).bind(config.law) != config.bound_predictor:
            raise BadInput(f"policy {name!r} needs an environment with predictor={told!r}")
        if (rule == "backfill" or self._deadline is not None) and not config.bound_predictor.informative:
            raise NotApplicable(f"policy {name!r} needs predictions, but the predictor predicts nothing")
        if getattr(self.policy, "quantum", 0):
            raise BadInput(f"policy {name!r}: an agent takes predictions as they are; leave out the quantum")
        if rule == "filling" and not config.preemptive:
            raise BadInput(f"policy {name!r} packs all servers anew: it needs an environment with preemptive=True")
        if rule != "skip" and len(set(config.job_needs)) > 1 and not config.may_pass:
            raise BadInput(f"policy {name!r} keeps servers free: it needs an environment with may_pass=True")
        if config.preemptive and not order.preemptive and len(set(config.server_speeds)) > 1:
            raise BadInput(
                f"policy {name!r} moves no job, but servers of different speeds are given out anew at every event: "
                "it needs an environment with preemptive=False"
            )
        if self._deadline is not None and not (config.may_drop and config.firm):
            raise BadInput(f"policy {name!r} needs an environment with firm=True and may_drop=True")

    def act(self, observation: dict[str, np.ndarray]) -> Any:
        """Return the action for an observation, or actions `(E,)` for a batch of them.

        Times of arrival and deadlines are taken from now, so they are right up to a constant. Features are float32, so
        ranks that differ by less than that count as tied.
        """
        features = dict(zip(FEATURES, np.moveaxis(observation["jobs"], -1, 0), strict=True))
        rows = np.zeros(features["present"].shape, JOB)
        for column in ("predicted", "age", "weight", "need"):
            rows[column] = features[column]
        rows["arrival"] = -features["time_in_system"]
        rows["deadline"] = features["time_left"] if self.config.knows_deadlines else np.inf
        slots = int(self.config.slots)
        place = np.where(features["in_service"] > 0, RECALLED, WAITS)
        place[..., slots:] = SERVED
        place[features["present"] == 0] = NONE
        opens = np.zeros(rows.shape, bool)
        opens[..., :slots] = observation["action_mask"][..., :slots]
        opens &= place != NONE  # when an episode is over, all actions are
        free = observation["system"][..., SYSTEM.index("free")].astype(np.int64)
        actions = self._choose(rows, place, opens, np.atleast_1d(free), 0.0)
        return actions if rows.ndim > 1 else int(actions[0])

    def act_env(self, env: Any) -> int:
        """Return the action for the present decision of a scalar environment, from its features in float64."""
        inner = env.unwrapped
        waiting, served = inner.visible_jobs(), inner.jobs_in_service()
        rows = np.concatenate([waiting, served])
        place = np.where(rows["status"] == RUNNING, RECALLED, WAITS)
        place[len(waiting) :] = SERVED
        opens = np.zeros(len(rows), bool)
        opens[: len(waiting)] = inner.action_masks()[: len(waiting)]
        free = np.array([self.config.servers - served["need"].sum()], np.int64)
        return int(self._choose(rows, place, opens, free, inner.clock)[0])

    def _choose(
        self, rows: np.ndarray, place: np.ndarray, opens: np.ndarray, free: np.ndarray, clock: float
    ) -> np.ndarray:
        """Return actions `(E,)`; the arguments are those of the kernels, or without E, and the clock, s."""
        rows, place, opens = np.atleast_2d(rows), np.atleast_2d(place), np.atleast_2d(opens)
        if self._deadline is not None:
            opens = opens & (self._deadline.preferred(rows, opens) | (place == RECALLED))
        actions = opens.argmax(axis=1)
        self._pick(records(rows), place, opens, free, self._rank, self._params, *self._traits, self._passes, actions)
        if self._deadline is not None:
            late = self._deadline.late(rows, clock, float(self.config.server_speeds[0]))
            late &= place == WAITS
            actions = np.where(late.any(axis=1), int(self.config.slots) + late.argmax(axis=1), actions)
        return actions


def _policy(given: Any, several: bool) -> Policy | PackingPolicy | DeadlinePolicy:
    """Return what a spec stands for; `several`: whether jobs need several servers."""
    if isinstance(given, (PackingPolicy, DeadlinePolicy)):
        return given
    if not isinstance(given, str):
        return policy(given)
    tables = (*((PACKING,) if several else ()), POLICIES, IMPATIENT_POLICIES, DEADLINE_POLICIES)
    name = given.partition(":")[0]
    for table in tables:
        if name in table:
            return table.make(given)
    raise BadInput(f"unknown policy {name!r}; {nearest(name, [known for table in tables for known in table])}")


def _order_and_rule(made: Policy | PackingPolicy | DeadlinePolicy) -> tuple[Policy, str]:
    """Return the order of the jobs, and how they are packed."""
    if isinstance(made, PackingPolicy):
        traits: dict[str, Any] = {"preemptive": made.preemptive, "predictor": made.predictor}
        return Policy(made.name, made.rank, made.params, **traits), made.packing
    return (made.order if isinstance(made, DeadlinePolicy) else made), "skip"
