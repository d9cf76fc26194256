"""Short runs recorded for the page's player: the same jobs under every policy, from the first arrival to the last exit.

A recording is lists of whole numbers: jobs are named by their rows, times are in ms. It says who was served from when
to when, and where: a segment is (job, lane, begin, end), and a lane is a server or a place in the memory of the GPU,
where a request may pause. What follows, such as queue lengths and ages, the page works out itself.

The seeds are chosen so that queues form. An episode is a picture and no result.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llmqueue_gym.envs.agents import baseline_agent
from llmqueue_gym.envs.mg1 import MG1Env
from llmqueue_gym.envs.multi_server import MultiServerEnv
from llmqueue_gym.envs.scalar import CompiledEnv
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.serving.closed_loop import serve
from llmqueue_gym.evaluation.serving.scenario import ServingScenario
from llmqueue_gym.evaluation.serving.watch import Iteration, watch
from llmqueue_gym.leaderboard.entries import Entry
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.requests import Requests
from llmqueue_gym.workloads.requests import RequestWorkload

Row = dict[str, Any]
Stint = tuple[int, int, int]  # job, begin and end in ms
MS = 1000


@dataclass(frozen=True)
class QueueEpisode:
    """Jobs on servers, played by the policy as an agent, decision by decision.

    Attributes:
        kind: environment.
        arguments: of it.
        note: what is seen, in words.
        seed: of the jobs.
    """

    kind: type[CompiledEnv]
    arguments: dict[str, Any]
    note: str
    seed: int

    def jobs(self, policy: Policy | None = None) -> Row:
        """Return arrivals, and sizes and predictions in ms of service, as a policy is told them."""
        jobs, sizes = self._env(policy).config.draw(self.seed)[:2]
        return {"arrival": _ms(jobs["arrival"]), "size": _ms(sizes), "predicted": _ms(jobs["predicted"])}

    def play(self, policy: Policy) -> Row:
        """Return a recorded run.

        Raises:
            BadInput: the policy cannot be played here.
        """
        env = self._env(policy)
        jobs, sizes = env.config.draw(self.seed)[:2]
        agent = baseline_agent(policy, env)
        _, info = env.reset(seed=self.seed)
        age, over, stints = np.zeros(len(jobs)), False, []
        while not over:
            _, _, terminated, truncated, info = env.step(agent.act_env(env))
            over = terminated or truncated
            completion = env.outcome["completion"]  # type: ignore[attr-defined]
            now = _ages(env, jobs["arrival"], np.where(np.isnan(completion), 0.0, sizes))
            # Nobody loses the server between decisions, so who was served was so until it left, or until now.
            for i in np.flatnonzero(now > age + 1e-12):
                end = info["clock"] if np.isnan(completion[i]) else completion[i]
                stints.append((int(i), float(end - (now[i] - age[i])), float(end)))
            age = now
        return {"segments": _in_lanes(_merged(stints)), "done": _ms(completion)}

    def _env(self, policy: Policy | None) -> CompiledEnv:
        told = None if policy is None else policy.predictor
        return self.kind(**self.arguments, **({} if told is None else {"predictor": told}))


@dataclass(frozen=True)
class ServingEpisode:
    """Requests on one small GPU, iteration by iteration.

    Attributes:
        scenario: what is played.
        note: what is seen, in words.
        seed: of the requests.
    """

    scenario: ServingScenario
    note: str
    seed: int

    @property
    def memory(self) -> tuple[int, int]:
        """KV blocks, and tokens in each."""
        rules = self.scenario.replica[1]
        return int(rules.blocks or 0), rules.block_size

    def jobs(self, policy: ServingPolicy | None = None) -> Row:
        """Return arrivals in ms, and prompts, outputs and predictions in tokens, as a policy is told them."""
        given = self._draw(policy)
        told = {key: given.requests[key].round().astype(int).tolist() for key in ("prompt", "predicted")}
        return {"arrival": _ms(given.requests["arrival"]), "size": given.outputs.tolist(), **told}

    def play(self, policy: ServingPolicy) -> Row:
        """Return a recorded run; each segment has beside it its tokens by iteration.

        Raises:
            BadInput: the policy cannot be played here, or leaves somebody waiting for ever.
        """
        given, place = self._draw(policy), self.scenario.replica
        served = serve(given, policy, *place)
        if not served.done.all():
            raise BadInput(f"policy {policy.name!r} leaves requests waiting")
        seen, blocks = list(watch(given, policy, *place)), self.memory[0]
        stints, tokens = _batches(seen, served.service["completion"])
        order = sorted(range(len(stints)), key=lambda k: stints[k][1:])
        clock = np.array(_ms(np.array([iteration.clock for iteration in seen])))
        return {
            "segments": _in_lanes([stints[k] for k in order]),
            "tokens": [tokens[k] for k in order],
            "done": _ms(served.service["completion"]),
            "steps": np.diff(clock, prepend=0).tolist(),
            "used": [blocks - iteration.free for iteration in seen],
        }

    def _draw(self, policy: ServingPolicy | None) -> Requests:
        given = self.scenario.draw(policy, self.seed)
        most = np.maximum(self.scenario.source.max_tokens - given.requests["prompt"], 1)
        for column in ("predicted", "first_predicted", "lower", "upper"):  # who reserves more would wait for ever
            given.requests[column] = np.minimum(given.requests[column], most)
        return given


def record(episode: QueueEpisode | ServingEpisode, players: Iterable[Entry]) -> Row:
    """Return an episode under several policies.

    Returns:
        the jobs, by policy its run, which has predictions of its own where it is told others, and who was left out
        with the reason.
    """
    jobs, runs, left_out = episode.jobs(), {}, {}
    for player in players:
        try:
            run = episode.play(player.policy)
        except BadInput as error:
            left_out[player.name] = str(error)
            continue
        told = episode.jobs(player.policy)["predicted"]
        runs[player.name] = run if told == jobs["predicted"] else {**run, "predicted": told}
    memory = dict(zip(("blocks", "block"), getattr(episode, "memory", ()), strict=False))
    return {"note": episode.note, **memory, "jobs": jobs, "runs": runs, "left_out": left_out}


def _ages(env: Any, arrivals: np.ndarray, ages: np.ndarray) -> np.ndarray:
    """Return the service that each job has had so far `(n,)`; `ages` holds that of those who left."""
    for rows in (env.visible_jobs(), *((env.jobs_in_service(),) if hasattr(env, "jobs_in_service") else ())):
        ages[np.searchsorted(arrivals, rows["arrival"])] = rows["age"]
    return ages


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


def _batches(seen: list[Iteration], completion: np.ndarray) -> tuple[list[Stint], list[list[int]]]:
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


EPISODES: dict[str, QueueEpisode | ServingEpisode] = {
    "mg1": QueueEpisode(
        MG1Env,
        {"load": 0.9, "n_jobs": 60, "slots": 60, "preemptive": True, "quantum": 0.1},
        "60 jobs, exponential sizes of mean 1 s, exponential predictions, load .9. A policy decides at every arrival "
        "and exit and after 0.1 s of service, so those that share the server take turns.",
        seed=1,
    ),
    "central": QueueEpisode(
        MultiServerEnv,
        {"servers": 4, "load": 0.95, "n_jobs": 100, "slots": 100, "preemptive": True},
        "100 jobs on 4 servers, exponential sizes of mean 1 s, exponential predictions, load .95. A policy decides at "
        "every arrival and exit.",
        seed=5,
    ),
    "llm": ServingEpisode(
        ServingScenario(
            RequestWorkload("lognormal:prompt=128,output=64", 1.0, max_tokens=768),
            "lognormal:sigma=0.5",
            "a100-llama3-8b:kv_tokens=1536",
            "vllm-v1:max_seqs=8",
            n=60,
            rate_scale=20.0,
        ),
        "60 requests to Llama 3 8B with room for 1536 tokens of keys and values and for 8 requests in the batch, so "
        "that both run out: who is preempted loses its cache and computes it again.",
        seed=7,
    ),
}
