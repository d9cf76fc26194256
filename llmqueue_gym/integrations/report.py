"""What the training scripts of learning libraries have in common: which seeds they use, and what they leave behind."""

import ast
import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.results import provenance, write_json
from llmqueue_gym.evaluation.statistics import Estimate
from llmqueue_gym.integrations.distil import distil
from llmqueue_gym.integrations.score import Yardstick
from llmqueue_gym.policies.learned import load, save

# All at least 1 000 000, and disjoint; reports of the benchmark use smaller ones.
CURVE_SEEDS, LAST_SEEDS, TRAINING_SEEDS, DISTILLATION_SEEDS = 1_000_000, 2_000_000, 3_000_000, 2_500_000


@dataclass
class Options:
    """What all scripts can be told.

    Attributes:
        out: folder of the run: checkpoint, TensorBoard logs, and what is left of it.
        name: of the agent, and of the rank that is distilled.
        env_id: environment.
        env_args: its arguments, such as `load=0.8 predictor=lognormal:sigma=0.5`.
        total_steps: decisions to train for, those of runs that are resumed included.
        num_envs: environments side by side.
        batch_size: decisions behind a step of the network.
        hidden: units of each layer.
        lr: first step size of Adam.
        gamma: discount of a decision.
        eval_every: decisions between points of the curve and checkpoints.
        eval_seeds: runs behind a point; five times as many behind the last figures.
        eval_jobs: jobs of such a run.
        seed: of training.
        threads: of torch.
        resume: go on from the checkpoint in `out`, with fresh episodes.
        quiet: print nothing.
    """

    out: Path
    name: str = "learned"
    env_id: str = "llmqueue/MG1Preemptive-v0"
    env_args: tuple[str, ...] = ()
    total_steps: int = 400_000
    num_envs: int = 64
    batch_size: int = 1024
    hidden: int = 32
    lr: float = 2e-3
    gamma: float = 0.98
    eval_every: int = 100_000
    eval_seeds: int = 2
    eval_jobs: int = 1000
    seed: int = 0
    threads: int = 1
    resume: bool = False
    quiet: bool = False


def env_arguments(texts: Iterable[str]) -> dict[str, Any]:
    """Return the arguments of an environment from words such as `load=0.8`.

    Raises:
        BadInput: one is not `name=value`.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise BadInput(f"env_args: {text!r} is not name=value, as in load=0.8")
        try:
            found[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[name] = value
    return found


def first_training_seed(seed: int) -> int:
    """Return the first seed of the episodes of a run; later ones are drawn from its stream."""
    return TRAINING_SEEDS + 1_000_003 * seed


def curve_yardstick(options: Options, env: Any) -> Yardstick:
    """Return what the points of a curve are measured on.

    Args:
        options: see `report`.
        env: of training, wrapped or not.
    """
    seeds = range(CURVE_SEEDS, CURVE_SEEDS + options.eval_seeds)
    return Yardstick(env.unwrapped.scenario, env.unwrapped.view, seeds, options.eval_jobs)


def report(options: Options, env: Any, player: Any, curve: list[list[float]], console: Console) -> dict[str, Any]:
    """Measure an agent, its rank and its rivals on fresh jobs, print the scores, and write a card.

    The card is `<name>.json`; where an action is the slot of a job and a rank chooses much like the agent, that rank is
    the artefact `<name>/`, with the same card; see `distil`.

    Args:
        options: of a script.
        env: of training, wrapped or not.
        player: the agent; see `acting`.
        curve: rows of (s, decisions, score) of the training.
        console: where the scores are printed.

    Returns:
        the figures of the card.
    """
    o, script, (seconds, steps, _) = options, Path(sys.argv[0]).name, curve[-1]
    scenario, view = env.unwrapped.scenario, env.unwrapped.view
    yardstick = Yardstick(scenario, view, range(LAST_SEEDS, LAST_SEEDS + 5 * o.eval_seeds), o.eval_jobs)
    scores = {o.name: yardstick.score(player)} | rival_scores(yardstick, console)
    figures: dict[str, Any] = {"seeds": list(yardstick.seeds), "jobs": o.eval_jobs}
    figures["steps_per_second"] = steps / seconds if seconds else None
    card = {
        "name": o.name,
        "kind": "order",
        "description": f"A rank fitted to an agent of {script} in {o.env_id.removeprefix('llmqueue/')}.",
        "trained_on": {"env_id": o.env_id, "env_args": list(o.env_args), "scenario": scenario.to_dict()},
        "seeds": [
            [CURVE_SEEDS, CURVE_SEEDS + o.eval_seeds],
            [DISTILLATION_SEEDS, TRAINING_SEEDS],
            [first_training_seed(o.seed), 2**63],
        ],
        "options": {name: value for name, value in asdict(o).items() if name not in ("out", "quiet", "resume")},
        "command": shlex.join(["python", f"agents/{script}", *sys.argv[1:]]),
        "commit": provenance()["commit"],
        "cost": {"seconds": seconds, "steps": steps},
        "curve": curve,
        "figures": figures,
    }
    try:
        made = distil(player, scenario, view, DISTILLATION_SEEDS)
        card["traits"], figures["agreement_percent"] = made.traits, round(100 * made.agreement, 2)
        card["description"] += f" They agree in {made.agreement:.1%} of the decisions."
        folder = save(Path(o.out, o.name), made.params, card)
        scores["its rank"] = yardstick.score(load(folder))
        console.print(f"the rank agrees with the agent in {figures['agreement_percent']:.1f} % of the decisions")
    except BadInput as error:
        folder = None
        console.print(f"no rank was distilled: {error}")
    figures["scores"] = {name: score._asdict() for name, score in scores.items()}
    if folder is not None:
        save(folder, made.params, card)  # again, with the score of what it holds
    write_json(Path(o.out, f"{o.name}.json"), card)
    for name, score in scores.items():
        console.print(f"{name:26} score {score.mean:.4f} [{score.low:.4f}, {score.high:.4f}]")
    console.print(f"{steps:,} steps in {seconds:.1f} s, {figures['steps_per_second'] or 0:,.0f} steps/s end to end")
    return figures


def rival_scores(yardstick: Yardstick, console: Console) -> dict[str, Estimate]:
    """Return the score of each policy worth comparing with; one that cannot be played there is named and left out."""
    scores = {}
    for name in yardstick.rivals():
        try:
            scores[name] = yardstick.score(name)
        except BadInput as error:
            console.print(f"{name}: left out, {error}")
    return scores
