"""Evolves a small network as an order, dispatcher, packer, serving rank or router, with the compiled engine as fitness.

    python agents/evolve_rank.py --task dispatch --name learned-dispatch --seconds 180

CMA-ES moves all numbers of the network. Every generation has fresh training seeds, the same for all its candidates, so
they are compared on common random numbers and none can learn a seed by heart. The search begins at the best simple
heuristic that the network's direct path expresses; a candidate's fitness is the logarithm of its cost over that
heuristic's on the same seeds. The tasks `fleet-...` and `prefix-order` play windows of the first half of a recording,
which is looked for where boards look ($LLMQUEUE_DATA); reports are on second halves and on other recordings. At the end
the centre of the search plays against the beginning on seeds that were used for nothing else, and the better is kept.
Ctrl-C ends the search early; `--resume` goes on where it ended.

Source: Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv 1604.00772; pycma.
"""

import json
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cma
import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from torch.utils.tensorboard import SummaryWriter

from llmqueue_gym.boards.recorded import FOLDER_VARIABLE, data_folder
from llmqueue_gym.boards.workers import end_with_parent
from llmqueue_gym.errors import BadInput, in_one_line
from llmqueue_gym.evaluation.results import provenance
from llmqueue_gym.evaluation.statistics import across_seeds
from llmqueue_gym.policies.learned import read_card, save
from llmqueue_gym.policies.learned.artefact import CARD, KINDS, NUMBERS
from llmqueue_gym.policies.learned.network import HEAD, random_weights
from llmqueue_gym.systems import Scenario
from llmqueue_gym.workloads.requests import TraceRequests

TRAINING_SEEDS = 1_000_000  # and up; reports use seeds below 10,000
CHECKS = 500_000  # further up: seeds that decide between end and beginning
TAIL = 1.4  # times that the p99 latency of a serving policy may be that of the base, unpunished
PUNISHMENT = 5.0  # for each e-fold beyond
TRAINED_ON = 0.5  # share of a recording, from its beginning


@dataclass(frozen=True)
class Task:
    """What is learned; its cost is that of the system, without the first tenth of the jobs.

    Attributes:
        kind: of the policy, a key of `KINDS`.
        traits: of the policy.
        begin: weights of the direct path, without and with the arrival's where the kind has one.
        scenarios: fields of each place where it is played; they count alike.
        aged: whether the last weight is that of the arrival, beside the network.
        tails: whether the cost counts over that of a base, and a long tail is punished.
        base: a policy by hand; the system's own unless told otherwise.
        trade: power with which the p99 over that of the base counts, shorter ones too, in place of a punishment of long
            ones. A one-sided punishment near that of the base would be for chance: it never meets the base itself.
        scale: unit of the features; the mean size unless told otherwise.
        rules: numbers of the rule set that are moved too, by their logarithms, and where they begin.
    """

    kind: str
    traits: dict[str, Any]
    begin: tuple[float, ...]
    scenarios: tuple[dict[str, Any], ...]
    aged: bool = False
    tails: bool = False
    rules: dict[str, int] = field(default_factory=dict)
    base: str = ""
    trade: float | None = None
    scale: float | None = None

    def cost(self, scenario: Scenario, policy: Any, seed: int) -> float:
        """Return what should be small."""
        found = played(scenario, policy, seed)
        if not self.tails:
            return found["cost"]
        base = _base(scenario, self.base or scenario.system.base, seed)
        tail = found["p99"] / base["p99"]
        punished = max(1.0, tail / TAIL) ** PUNISHMENT if self.trade is None else tail**self.trade
        return found["cost"] / base["cost"] * punished


def played(scenario: Scenario, policy: Any, seed: int) -> dict[str, float]:
    """Return the system's numbers of a run."""
    run = scenario.simulate(policy, seed)
    return scenario.system.numbers(run.after_warmup())


@lru_cache(maxsize=256)  # candidates of a generation share it
def _base(scenario: Scenario, name: str, seed: int) -> dict[str, float]:
    return played(scenario, name, seed)


_SPRPT, _SJF_TOTAL = (0, 0, 1, -1), (0, 0, 1, 1, 0)
_GIVE_UP = {"system": "central", "servers": 20}
_USUAL = {"max_seqs": 128, "token_budget": 2048}
_AT_CAPACITY = tuple(
    {"system": "replica", "size": size, "load": 1.0, "rules": "vllm-v1:max_seqs=128"}
    for size in ("azure-conv", "azure-code", "mooncake-conv", "deepseek-r1")
)
_FLEET = {"system": "fleet", "replicas": 4, "load": 0.9}
_CACHING = {"rules": "vllm-v1:caching=vllm"}

TASKS = {
    "mg1": Task("order", {"preemptive": True}, _SPRPT, ({"system": "mg1", "load": 0.8},)),
    "mg1-weibull": Task(
        "order", {"preemptive": True}, _SPRPT, ({"system": "mg1", "size": "weibull:shape=0.5", "load": 0.9},)
    ),
    "abandonment": Task(
        "cluster-order",
        {"preemptive": False, "shape": "constant"},
        (0, 1, 0, 0),  # spjf
        (
            {**_GIVE_UP, "predictor": "lognormal:sigma=1.0", "load": 1.2, "patience": "exponential", "told": True},
            {**_GIVE_UP, "load": 1.5, "patience": "uniform:mean=3", "told": True},
            {
                **_GIVE_UP,
                **{"size": "weibull:shape=0.5", "predictor": "lognormal:sigma=0.5"},
                **{"load": 1.3, "patience": "exponential:mean=2"},
            },
            {**_GIVE_UP, "predictor": "lognormal:sigma=1.0", "load": 1.4, "patience": "exponential:mean=2"},
        ),
        aged=True,
    ),
    "dispatch": Task(
        "dispatch",
        {"looks": "sample", "d": 2},
        (1, 0, 0, 0, 0, 0, 0, 0),  # power-of-d
        ({"system": "dispatch", "servers": 100, "size": "weibull:shape=0.5", "load": 0.9},),
    ),
    "packing": Task(
        "packing",
        {"packing": "filling", "preemptive": True},
        (1, 0, float(np.log(2)), 0),  # server-filling-sprpt: the product of what is left and the need
        ({"system": "packing", "load": 0.9, "predictor": "lognormal:sigma=0.5"},),
        aged=True,
    ),
    "llm": Task(
        "serving",
        {},
        (0, 0, 1, 0, 0),  # sjf
        (  # as in llmqueue/LLMBatching-v0
            {
                **{"system": "replica", "size": "lognormal:prompt=128,output=32", "rate": 16.5, "max_tokens": 1537},
                **{"profile": "a100-llama3-8b:kv_tokens=1536", "rules": "vllm-v1:max_seqs=8"},
            },
        ),
        aged=True,
        tails=True,
    ),
    **{f"llm-{one['size']}": Task("serving", {}, _SJF_TOTAL, (one,), True, True, _USUAL) for one in _AT_CAPACITY},
    "llm-all": Task("serving", {}, _SJF_TOTAL, _AT_CAPACITY, True, True, _USUAL),
    "fleet-azure-conv": Task(
        "routing",
        {},
        (0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0),  # least-kv
        ({**_FLEET, "recording": "azure2023_conv.csv.gz"},),
        tails=True,
        base="least-kv",
        trade=0.5,
        scale=1e4,
    ),
    "fleet-mooncake-conv": Task(
        "routing",
        {},
        (0, 0, 3.21, 0, 0, 0, 5, 0, 0, 0, 0),  # dynamo:weight=3, with as many blocks as an A100 has for Llama 3 8B
        ({**_FLEET, **_CACHING, "recording": "mooncake_conversation.csv.gz"},),
        tails=True,
        base="dynamo:weight=3",
        trade=0.5,
        scale=1e5,
    ),
    "prefix-order": Task(
        "prefix-order",
        {},
        (0, 3, 0, 0, 0, 0, 0),  # shortest-uncached
        ({"system": "replica", "load": 0.9, **_CACHING, "recording": "mooncake_conversation.csv.gz"},),
        aged=True,
        tails=True,
        base="shortest-uncached",
        trade=0.5,
        scale=2000.0,
    ),
}


@dataclass(frozen=True)
class Args:
    """What to evolve, and how long."""

    task: str = "mg1"
    """a name in TASKS"""
    name: str = ""
    """name of the policy; learned-TASK unless told otherwise"""
    start: Path | None = None
    """folder of a policy of the same kind to begin with instead"""
    hidden: int = 6
    """units of a network that begins anew"""
    sigma: float = 0.2
    """step of the search, in units of the weights"""
    population: int = 16
    generations: int = 1000
    seconds: float = 180.0
    """the search ends with the generation that passes them, or with the last one"""
    jobs: int = 20_000
    """jobs of a run"""
    runs_each: int = 2
    """runs of a candidate in each generation"""
    checks: int = 12
    """runs that decide between end and beginning"""
    processes: int = 1
    seed: int = 0
    folder: Path = Path("runs")
    """the policy is written to FOLDER/KIND/NAME, where there must be none yet"""
    runs: Path = Path("results/runs")
    """checkpoint and TensorBoard logs go to RUNS/NAME"""
    resume: bool = False
    """go on from the checkpoint"""


def beginning(task: Task, args: Args, scale: float) -> np.ndarray:
    """Return the vector that the search begins with: the heuristic and hidden units that are silent yet."""
    if args.start is not None:
        kind = read_card(args.start)["kind"]
        if kind != task.kind:
            raise BadInput(f"{args.start}: a policy of kind {kind!r}; task {args.task!r} needs {task.kind!r}")
        return np.load(args.start / NUMBERS)["params"]
    direct = np.array(task.begin[:-1] if task.aged else task.begin, float)
    weights = random_weights(len(direct), args.hidden, np.random.default_rng(args.seed), scale)
    vector = weights._replace(linear=direct).pack()
    return np.append(vector, task.begin[-1]) if task.aged else vector


def traits_of(task: Task, genes: np.ndarray) -> dict[str, Any]:
    """Return the traits of a policy whose rules lie so far, in logarithms, from where they begin `(rules,)`."""
    moved = {
        key: max(1, round(usual * float(np.exp(gene))))
        for (key, usual), gene in zip(task.rules.items(), genes, strict=True)
    }
    return {**task.traits, "rules": moved} if moved else task.traits


def parts(task: Task, vector: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the numbers of the network and the traits of the policy that a vector of the search stands for."""
    cut = len(vector) - len(task.rules)
    return vector[:cut], traits_of(task, vector[cut:])


def cost(task_name: str, jobs: int, vector: np.ndarray, seeds: list[int]) -> np.ndarray:
    """Return the logarithm of a candidate's cost in each place on each seed `(places * seeds,)`."""
    task = TASKS[task_name]
    numbers, traits = parts(task, vector)
    policy = KINDS.builder(task.kind)("candidate", numbers, "", **traits)
    places = _places(task_name, jobs)
    return np.log([max(task.cost(one, policy, seed), 1e-9) for one in places for seed in seeds])


@lru_cache  # so that what is cached by scenario is found again
def _places(task_name: str, jobs: int) -> list[Scenario]:
    return [place(one, jobs) for one in TASKS[task_name].scenarios]


def place(given: dict[str, Any], jobs: int) -> Scenario:
    """Return a scenario; with `recording` it plays windows of the first half of that file, which has the load.

    Raises:
        BadInput: the recording is not at hand.
    """
    fields = dict(given)
    if (file := fields.pop("recording", None)) is None:
        return Scenario(**fields, n_jobs=jobs)
    folder = data_folder()
    if folder is None:
        raise BadInput(f"{file}: no folder of recorded work; name it in ${FOLDER_VARIABLE}")
    half = TraceRequests.from_trace(folder / file).part(0.0, TRAINED_ON)
    whole = Scenario(**fields, workload=half, n_jobs=len(half))
    rate = whole.load * whole.system.sustains(whole).rate
    return replace(whole, load=None, rate=rate, n_jobs=jobs)


def quiet() -> None:
    """Leave Ctrl-C to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def main(args: Args) -> None:
    """Evolve, check and export."""
    if args.task not in TASKS:
        raise BadInput(f"unknown task {args.task!r}; choose from: {', '.join(TASKS)}")
    task, name = TASKS[args.task], args.name or f"learned-{args.task}"
    places = _places(args.task, args.jobs)
    out, run = args.folder / task.kind / name, args.runs / name
    if (out / CARD).exists() and not args.resume:
        raise BadInput(f"{out}: there is a policy already; take another --name or --folder, or --resume its search")
    run.mkdir(parents=True, exist_ok=True)
    checkpoint, log = run / "checkpoint.json", SummaryWriter(str(run))
    first = TRAINING_SEEDS + 1_000_000 * args.seed
    if args.resume:
        if not checkpoint.exists():
            raise BadInput(f"{checkpoint}: no such checkpoint; leave out --resume")
        saved = json.loads(checkpoint.read_text(encoding="utf-8"))
    else:
        scale = task.scale or float(np.mean([one.draw(first).sizes.mean() for one in places]))
        begin = beginning(task, args, scale)
        begin = np.append(begin, np.zeros(len(task.rules)))
        options = {"popsize": args.population, "seed": args.seed + 1, "verbose": -9, "CMA_diagonal": len(begin) > 150}
        saved = {"begin": begin.tolist(), "sigma": args.sigma, "options": options, "gains": []}
        saved |= {"generation": 0, "seconds": 0.0, "played": 0, "curve": []}
    begin, curve = np.array(saved["begin"]), saved["curve"]
    search = cma.CMAEvolutionStrategy(begin[HEAD:], saved["sigma"], saved["options"])
    for gains in saved["gains"]:  # the search goes its way again, without playing
        search.tell(search.ask(), gains)
    head, started = begin[:HEAD], time.perf_counter() - saved["seconds"]
    pool = ProcessPoolExecutor(args.processes, initializer=quiet) if args.processes > 1 else None

    def costs(vectors: list[np.ndarray], seeds: list[int]) -> np.ndarray:
        each = [(args.task, args.jobs, vector, seeds) for vector in vectors]
        saved["played"] += args.jobs * len(vectors) * len(seeds)
        return np.array(list((pool.map if pool else map)(cost, *zip(*each, strict=True))))

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task(args.task, total=args.generations, completed=saved["generation"])
            while saved["generation"] < args.generations and saved["seconds"] < args.seconds and not search.stop():
                g = saved["generation"]
                seeds = [first + 1 + g * args.runs_each + k for k in range(args.runs_each)]
                genes = search.ask()
                centre = np.concatenate([head, search.mean])
                found = costs([begin, centre, *(np.concatenate([head, one]) for one in genes)], seeds)
                gain = (found[1:] - found[0]).mean(axis=1)
                search.tell(genes, gain[1:].tolist())
                saved["gains"].append(gain[1:].tolist())
                saved.update(generation=g + 1, seconds=time.perf_counter() - started)
                curve.append([round(saved["seconds"], 1), round(float(np.exp(gain[0])), 5)])
                log.add_scalar("ratio/centre", np.exp(gain[0]), g)
                log.add_scalar("ratio/best", np.exp(gain[1:].min()), g)
                log.add_scalar("search/sigma", search.sigma, g)
                told = f"{args.task}: {np.exp(gain[0]):.4f} of the beginning's cost"
                progress.update(bar, advance=1, description=told)
                write(checkpoint, saved)
    except KeyboardInterrupt:
        print("interrupted; the policy is written as far as it came, and --resume goes on", file=sys.stderr)

    checks = [first + CHECKS + k for k in range(args.checks)]
    centre = np.concatenate([head, search.mean])
    found = costs([begin, centre], checks)
    ratio = across_seeds(np.exp(found[1] - found[0]))
    better = ratio.mean < 1
    if pool:
        pool.shutdown()
    numbers, traits = parts(task, centre if better else begin)
    card = {
        "name": name,
        "kind": task.kind,
        "traits": traits,
        "description": f"Evolved for the task {args.task!r} of agents/evolve_rank.py.",
        "trained_on": {
            "task": args.task,
            "scenarios": [one.to_dict() for one in places],
            "start": str(args.start or "heuristic"),
        },
        "seeds": [[first, first + 1 + saved["generation"] * args.runs_each], [checks[0], checks[-1] + 1]],
        "command": " ".join(["python", *sys.argv]),
        "commit": provenance()["commit"],
        "cost": {"seconds": round(saved["seconds"], 1), "jobs": saved["played"]},
        "score": {"cost over that of the beginning": ratio._asdict(), "on": "training seeds", "kept": bool(better)},
        "curve": curve,
    }
    save(out, numbers, card)
    log.close()
    kept = "" if better else "; it is not better, so the beginning is kept"
    print(f"{out}: cost over that of the beginning {ratio.mean:.4f} [{ratio.low:.4f}, {ratio.high:.4f}]{kept}")


def write(path: Path, saved: dict[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    path.with_suffix(".new").write_text(json.dumps(saved), encoding="utf-8")
    path.with_suffix(".new").replace(path)


if __name__ == "__main__":
    with in_one_line():
        main(tyro.cli(Args, description=__doc__))
