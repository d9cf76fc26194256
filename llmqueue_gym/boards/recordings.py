"""Short runs recorded for the page's player: the same jobs under every policy, from the first arrival to the last exit.

A recording is lists of whole numbers: jobs are named by their rows, times are in ms. It says who was served from when
to when, and where: a segment is (job, lane, begin, end), and a lane is a server or a place in the memory of the GPU,
where a request may pause. What follows, such as queue lengths and ages, the page works out itself.

Jobs on servers of speed 1 are played by the policy as an agent, decision by decision; requests in batches are watched
in every iteration. The seeds are chosen so that queues form. An episode is a picture and no result.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from llmqueue_gym.boards.board import Board, Fields
from llmqueue_gym.boards.entry import Entry
from llmqueue_gym.envs.opened import baseline_agent
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.watch import Iteration, watch
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.job_episodes import JobEpisodes

Row = dict[str, Any]
Stint = tuple[int, int, int]  # job, begin and end in ms
MS = 1000


def record(on: Board, players: Iterable[Entry]) -> Row | None:
    """Return the episode of a board under several policies, or None where it has none.

    Returns:
        the jobs, by policy its run, which has predictions of its own where it is told others, and who was left out
        with the reason.
    """
    if on.episode is None:
        return None
    scenario, seed = Scenario(on.system, **on.episode["scenario"]), int(on.episode["seed"])
    view, play = {**on.view, **on.episode.get("view", {})}, RECORDERS.get(on.system, _jobs)
    jobs, runs, left_out = _work(scenario, seed), {}, {}
    for player in players:
        try:
            run, told = play(scenario, seed, player.player, view), _work(scenario, seed, player.player)["predicted"]
        except BadInput as error:
            left_out[player.name] = str(error)
            continue
        runs[player.name] = run if told == jobs["predicted"] else {**run, "predicted": told}
    if not runs:
        return None
    return {"note": on.episode["note"], **_memory(scenario), "jobs": jobs, "runs": runs, "left_out": left_out}


def _work(scenario: Scenario, seed: int, policy: Any = None) -> Row:
    """Return arrivals in ms, and sizes and predictions as a policy is told them, in ms of service or in tokens."""
    work, truth = scenario.draw(seed, policy)
    arrival = _ms(work["arrival"])
    if "prompt" not in (work.dtype.names or ()):
        return {"arrival": arrival, "size": _ms(truth["sizes"]), "predicted": _ms(work["predicted"])}
    tokens = {key: work[key].round().astype(int).tolist() for key in ("prompt", "predicted")}
    return {"arrival": arrival, "size": truth["sizes"].tolist(), **tokens}


def _jobs(scenario: Scenario, seed: int, policy: Any, view: Fields) -> Row:
    """Return a run that the policy plays as an agent.

    Raises:
        BadInput: the policy, or the system, cannot be played so.
    """
    if policy.predictor is not None:
        scenario = replace(scenario, predictor=policy.predictor)
    env = scenario.env(**view)
    agent, episodes = baseline_agent(policy, env), env.unwrapped.episodes
    if not isinstance(episodes, JobEpisodes):
        raise BadInput(f"system {scenario.system.name!r} has no jobs on servers")
    _, info = env.reset(seed=seed)
    n = int(episodes.n_jobs[0])
    sizes, completion = episodes.truth[0, :n, 0], episodes.outcome["completion"][0, :n]
    age, over, stints = np.zeros(n), False, []
    while not over:
        _, _, terminated, truncated, info = env.step(agent.act_env(env))
        over = terminated or truncated
        now = np.where(np.isnan(completion), episodes.jobs["age"][0, :n], sizes)
        # Nobody loses the server between decisions, so who was served was so until it left, or until now.
        for i in np.flatnonzero(now > age + 1e-12).tolist():
            end = float(info["clock"] if np.isnan(completion[i]) else completion[i])
            stints.append((i, end - float(now[i] - age[i]), end))
        age = now
    if np.isnan(completion).any():
        raise BadInput(f"policy {policy.name!r} leaves jobs unserved")
    return {"segments": _in_lanes(_merged(stints)), "done": _ms(completion)}


def _memory(scenario: Scenario) -> Row:
    """Return KV blocks and tokens in each, where there are any."""
    rules = getattr(scenario.system, "bound_rules", None)
    return {} if rules is None else {"blocks": int(rules.blocks or 0), "block": rules.block_size}


def _batches(scenario: Scenario, seed: int, policy: Any, view: Fields) -> Row:
    """Return a run of requests in batches; each segment has beside it its tokens by iteration.

    Raises:
        BadInput: the policy cannot be played here, or leaves somebody waiting for ever.
    """
    system: Any = scenario.system
    run, drawn = scenario.simulate(policy, seed), scenario.draw(seed, policy)
    if not run.done.all():
        raise BadInput(f"policy {policy.name!r} leaves requests waiting")
    seen, blocks = list(watch(drawn, policy, system.profile, system.rules)), _memory(scenario)["blocks"]
    stints, tokens = _in_memory(seen, run.outcome["completion"])
    order = sorted(range(len(stints)), key=lambda k: stints[k][1:])
    clock = np.array(_ms(np.array([iteration.clock for iteration in seen])))
    return {
        "segments": _in_lanes([stints[k] for k in order]),
        "tokens": [tokens[k] for k in order],
        "done": _ms(run.outcome["completion"]),
        "steps": np.diff(clock, prepend=0).tolist(),
        "used": [blocks - iteration.free for iteration in seen],
    }


# How a run of a system is recorded, where it is not jobs on servers.
RECORDERS: dict[str, Callable[[Scenario, int, Any, Fields], Row]] = {"replica": _batches}


def _merged(stints: Iterable[tuple[int, float, float]]) -> list[Stint]:
    """Return stints in ms by their begin, those of a job that follow one another without a break as one."""
    joined: list[list[Any]] = []
    last: dict[int, list[Any]] = {}
    for job, begin, end in sorted(stints, key=lambda stint: (stint[1], stint[0])):
        before = last.get(job)
        if before is not None and begin - before[2] < 1e-9:
            before[2] = end
        else:
            last[job] = [job, begin, end]
            joined.append(last[job])
    return [(job, round(begin * MS), round(end * MS)) for job, begin, end in joined]


def _in_lanes(stints: list[Stint]) -> list[list[int]]:
    """Return segments (job, lane, begin, end): a job goes on in its last lane if that is free, or in the first free."""
    until: list[int] = []
    home: dict[int, int] = {}
    found = []
    for job, begin, end in stints:
        free = [lane for lane, busy in enumerate(until) if busy <= begin + 1]  # rounding
        if not free:
            until.append(0)
            free = [len(until) - 1]
        lane = home[job] = home[job] if home.get(job) in free else free[0]
        until[lane] = end
        found.append([job, lane, begin, end])
    return found


@dataclass
class _Batched:
    """A request while it is in memory: the iteration that it joined in, its cache then, and its tokens in each."""

    job: int
    first: int
    begin: float
    computed: int
    runs: list[int] = field(default_factory=list)  # count, tokens, count, tokens, ...

    def add(self, tokens: int) -> None:
        if self.runs and self.runs[-1] == tokens:
            self.runs[-2] += 1
        else:
            self.runs += [1, tokens]

    def closed(self, end: float) -> tuple[Stint, list[int]]:
        stint = (self.job, round(self.begin * MS), round(end * MS))
        return stint, [self.first, self.computed, *self.runs]


def _in_memory(seen: list[Iteration], completion: np.ndarray) -> tuple[list[Stint], list[list[int]]]:
    """Return who was in memory from when to when, and beside it its tokens."""
    batch: dict[int, _Batched] = {}
    closed = []
    for k, iteration in enumerate(seen):
        for job in [job for job in batch if job not in iteration.running]:
            closed.append(batch.pop(job).closed(iteration.clock))
        computed = {job: before for job, before, _ in iteration.admitted}
        scheduled = dict(iteration.scheduled)
        for job in iteration.running:
            if job not in batch:
                batch[job] = _Batched(job, k, iteration.clock, computed.get(job, 0))
            batch[job].add(scheduled.get(job, 0))
        for job in iteration.finished:
            closed.append(batch.pop(job).closed(completion[job]))
    return [stint for stint, _ in closed], [tokens for _, tokens in closed]


def _ms(times: np.ndarray) -> list[int]:
    return np.round(np.asarray(times, float) * MS).astype(int).tolist()
