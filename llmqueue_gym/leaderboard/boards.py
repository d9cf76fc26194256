"""The boards: which scenarios, frozen under a version, with the seeds that results are reported on.

A changed scenario is a new version of its board, whose results start from nothing. Seeds of training and tuning are a
million or more, so those here are unseen by whoever keeps to that.
"""

from dataclasses import dataclass
from typing import Any

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.evaluation.cluster import ClusterScenario
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.evaluation.server_needs import NeedsScenario
from llmqueue_gym.leaderboard.arenas import (
    CentralArena,
    DispatchArena,
    ImpatientArena,
    PackingArena,
    QueueArena,
    ServingArena,
)
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.dispatch import DispatchPolicy
from llmqueue_gym.policies.packing import PackingPolicy
from llmqueue_gym.policies.serving import ServingPolicy

TRACKS = {"mg1": "M/G/1", "servers": "Several servers", "llm": "LLM batching"}
EXPONENTIAL, WEIBULL, NOISY = "exponential", "weibull:shape=0.5", "lognormal:sigma=0.5"


@dataclass(frozen=True)
class Board:
    """A ranking of policies that take one kind of decision.

    Attributes:
        name: of the board.
        track: a key of `TRACKS`.
        version: grows when a scenario changes.
        title: in words.
        plays: type of policy that plays on it.
        env: id of the environment in which an agent takes the same decisions.
        base: who has score 0.
        cost: what is scored, in words; less is better.
        arenas: the scenarios.
        seeds: the reporting seeds.
        preemptive: whether a policy may take the server from a job; where jobs give up before they first run, one that
            lets everybody run at once and for no time would lose nobody.
    """

    name: str
    track: str
    version: int
    title: str
    plays: type
    env: str
    base: str
    cost: str
    arenas: tuple[Any, ...]
    seeds: tuple[int, ...]
    preemptive: bool = True


def _queue(
    name: str, size: str, predictor: str, load: float, arrivals: str = "poisson", jobs: int = 40_000
) -> QueueArena:
    return QueueArena(name, Scenario(size, predictor, load, arrivals, jobs))


def _central(name: str, servers: int, load: float, size: str, predictor: str) -> CentralArena:
    return CentralArena(name, ClusterScenario(size, predictor, load, n_jobs=40_000, servers=servers))


def _dispatch(name: str, order: str, load: float, size: str, predictor: str) -> DispatchArena:
    return DispatchArena(name, ClusterScenario(size, predictor, load, n_jobs=100_000, servers=100), order)


def _impatient(name: str, load: float, size: str, predictor: str, patience: str, told: bool) -> ImpatientArena:
    return ImpatientArena(
        name, ClusterScenario(size, predictor, load, n_jobs=40_000, servers=20, patience=patience, told=told)
    )


_RARE = ((1, 0.9, "exponential:mean=0.2"), (2, 0.09, "exponential:mean=0.5"), (4, 0.01, "exponential:mean=2"))

BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            "mg1",
            "mg1",
            1,
            "One server: who is served",
            Policy,
            "llmqueue/MG1Preemptive-v0",
            "fcfs",
            "mean response time, s",
            (
                _queue("exponential, exponential predictions, load .8", EXPONENTIAL, EXPONENTIAL, 0.8),
                _queue("exponential, exponential predictions, load .95", EXPONENTIAL, EXPONENTIAL, 0.95, jobs=80_000),
                _queue("exponential, lognormal predictions, load .8", EXPONENTIAL, NOISY, 0.8),
                _queue("Weibull 1/2, exponential predictions, load .9", WEIBULL, EXPONENTIAL, 0.9, jobs=80_000),
                _queue("Weibull 1/2, lognormal predictions, load .7", WEIBULL, NOISY, 0.7),
                _queue("bounded Pareto 3/2, lognormal predictions, load .8", "bounded-pareto:alpha=1.5", NOISY, 0.8),
                _queue("hyperexponential, uniform predictions, load .8", "hyperexponential", "uniform", 0.8),
                _queue("bursty exponential, lognormal predictions, load .7", EXPONENTIAL, NOISY, 0.7, "mmpp"),
            ),
            tuple(range(10)),
        ),
        Board(
            "central",
            "servers",
            1,
            "Servers that share a queue: who is served",
            Policy,
            "llmqueue/MGkPreemptive-v0",
            "fcfs",
            "mean response time, s",
            (
                _central("2 servers, exponential, exponential predictions, load .9", 2, 0.9, EXPONENTIAL, EXPONENTIAL),
                _central("10 servers, exponential, lognormal predictions, load .9", 10, 0.9, EXPONENTIAL, NOISY),
                _central("10 servers, Weibull 1/2, lognormal predictions, load .8", 10, 0.8, WEIBULL, NOISY),
                _central("30 servers, Weibull 1/2, exponential predictions, load .95", 30, 0.95, WEIBULL, EXPONENTIAL),
            ),
            tuple(range(8)),
        ),
        Board(
            "dispatch",
            "servers",
            1,
            "100 servers with a queue each: which of two to join",
            DispatchPolicy,
            "llmqueue/Dispatch-v0",
            "random",
            "mean response time, s",
            (
                _dispatch("FCFS queues, exponential, lognormal predictions, load .9", "fcfs", 0.9, EXPONENTIAL, NOISY),
                _dispatch("FCFS queues, Weibull 1/2, lognormal predictions, load .8", "fcfs", 0.8, WEIBULL, NOISY),
                _dispatch(
                    "SPRPT queues, exponential, exponential predictions, load .9",
                    "sprpt",
                    0.9,
                    EXPONENTIAL,
                    EXPONENTIAL,
                ),
                _dispatch("SPRPT queues, Weibull 1/2, lognormal predictions, load .9", "sprpt", 0.9, WEIBULL, NOISY),
            ),
            tuple(range(8)),
        ),
        Board(
            "impatient",
            "servers",
            1,
            "20 servers in overload, jobs that give up: who is served",
            Policy,
            "llmqueue/Abandonment-v0",
            "fcfs",
            "share of jobs that give up",
            (
                _impatient("exponential patience, told, load 1.2", 1.2, EXPONENTIAL, NOISY, "exponential:mean=2", True),
                _impatient("uniform patience, told, load 1.4", 1.4, EXPONENTIAL, EXPONENTIAL, "uniform:mean=2", True),
                _impatient(
                    "Weibull 1/2 sizes, exponential patience, load 1.2", 1.2, WEIBULL, NOISY, "exponential", False
                ),
                _impatient(
                    "exponential patience, load 1.5", 1.5, EXPONENTIAL, EXPONENTIAL, "exponential:mean=3", False
                ),
            ),
            tuple(range(8)),
            preemptive=False,
        ),
        Board(
            "packing",
            "servers",
            1,
            "8 servers, jobs that need several: who is served",
            PackingPolicy,
            "llmqueue/MultiserverJob-v0",
            "fcfs",
            "mean response time, s",
            (
                PackingArena("needs 1 2 4 8, exact predictions, load .5", NeedsScenario(load=0.5, n_jobs=40_000)),
                PackingArena(
                    "needs 1 2 4 8, lognormal predictions, load .6",
                    NeedsScenario(load=0.6, predictor=NOISY, n_jobs=40_000),
                ),
                PackingArena(
                    "4 servers, rare large jobs, lognormal predictions, load .7",
                    NeedsScenario(4, _RARE, 0.7, NOISY, 40_000),
                ),
            ),
            tuple(range(8)),
        ),
        Board(
            "llm",
            "llm",
            1,
            "One GPU, requests in batches: who joins",
            ServingPolicy,
            "llmqueue/LLMBatching-v0",
            "fcfs",
            "mean end-to-end latency, s",
            (
                ServingArena(
                    "Azure conversation, Llama 3 8B, load 1", "azure-conv", NOISY, "a100-llama3-8b", 7.859, 3000
                ),
                ServingArena(
                    "Azure conversation, Llama 3 8B, load .9", "azure-conv", NOISY, "a100-llama3-8b", 7.073, 3000
                ),
                ServingArena("Azure code, Llama 3 8B, load 1", "azure-code", NOISY, "a100-llama3-8b", 6.168, 3000),
                ServingArena("Mooncake, Llama 3 8B, load 1", "mooncake-conv", NOISY, "a100-llama3-8b", 0.4616, 1500),
                ServingArena("DeepSeek-R1, Llama 3 8B, load 1", "deepseek-r1", NOISY, "a100-llama3-8b", 0.652, 2500),
                ServingArena(
                    "Azure conversation, Llama 2 70B, load 1", "azure-conv", NOISY, "a100-llama2-70b-tp2", 1.335, 3000
                ),
            ),
            tuple(range(6)),
        ),
    )
}


def board(name: str) -> Board:
    """Return a board; BadInput with the nearest name where there is none."""
    if name not in BOARDS:
        raise BadInput(f"unknown board {name!r}; {nearest(name, BOARDS)}")
    return BOARDS[name]
