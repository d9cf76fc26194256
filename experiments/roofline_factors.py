"""How far short of their data sheets do GPUs fall, and how well does that tell times that nobody measured?

`profiles.physics` makes the times of an iteration from the speed of a GPU and the size of a model, with factors that
are fitted here to what was measured, and checked. What was settled before the first look at errors:

* fitted: five operator profiles of Vidur (A100, H100; the shipped rooflines) and three runs of vLLM 0.19.0 on RTX PRO
  6000 and RTX 4090 (rooflines of `results/vllm_measured.json`, split `pairs`), all alike in weight, by the squared
  logarithms of predicted over measured times of the batches below, with a weak pull to where the search starts;
* `held_out` are the errors of each of the eight where it is left out of the fit: those that a profile is told with;
* the time of a layer and of an iteration are those of BLIS (inference-sim, trained-physics), and attention computes at
  0.35 of the peak, what FlashAttention-2 reaches on an H100 (Shah et al., FlashAttention-3, arXiv 2407.08608): prompts
  were short in most of these runs, so that nothing can be fitted there;
* the share of the peak that experts reach is fitted to the one run with experts, Qwen3-30B-A3B, after the others;
  nothing is held out there. Its two replicas keep half of the experts each, and tokens of both go to them;
* `simulated`: the four runs replayed with these times alone, no coefficient of the run fitted (but see experts), and
  the errors of TTFT and end-to-end time of their 300 requests; needs the measured data, is left out without;
* `splitwise`: times against those that Splitwise measured with the engines of 2023, fitted to nothing.

Writes `results/roofline_factors.json`; some seconds, and a minute to compile.

    python experiments/roofline_factors.py [--data FOLDER] [--json]
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import least_squares, minimize_scalar
from vllm_measured import FILE, SETTINGS, errors, read
from vllm_measured import OUT as MEASURED

from llmqueue_gym._jit import records
from llmqueue_gym.boards.recorded import FOLDER_VARIABLE, data_folder
from llmqueue_gym.engines.batching.cost import FORMS, iteration_time
from llmqueue_gym.engines.batching.tables import BATCH
from llmqueue_gym.evaluation import result, write_json
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.serving import serve
from llmqueue_gym.profiles import PROFILES, Profile
from llmqueue_gym.profiles.gpus import A100, GPU, GPUS
from llmqueue_gym.profiles.models import MODELS, Model
from llmqueue_gym.profiles.physics import Factors, roofline

OUT = Path(__file__).parent / "results" / "roofline_factors.json"
START = Factors(0.8, 0.75, 0.65, 0.65, 0.35, 0.5, 0.75, 10e-6)
SEARCHED = ("weights", "cache", "compute", "link", "overlap", "sum")
PULL = 0.02
# Data sheets of what the runs of vLLM were made on; memory, watts and price do not matter here.
RTX = {
    "RTXPRO6000": replace(A100, name="RTXPRO6000", flops=503.8e12, bandwidth=1.792e12, link=64e9),
    "RTX4090": replace(A100, name="RTX4090", flops=165.2e12, bandwidth=1.008e12, link=32e9),
}
EXPERTS = "RTXPRO6000 Qwen3-30B-A3B-Instruct-2507"
# Prompt tokens, decodes, and the context of each decode.
PROMPTS = [(prompt, decodes, 500) for prompt in (256, 512, 1024, 2048) for decodes in (0, 64)]
OPERATORS = [(0, b, c) for b in (1, 8, 32, 64, 128) for c in (200, 500, 1000, 2000)] + PROMPTS
RUNS = [(0, b, c) for b in (16, 32, 64, 128) for c in (300, 600)]  # such as occurred in the runs of vLLM
RUNS += [(256, 128, 400), (960, 64, 400), (1984, 64, 400)]


@dataclass(frozen=True, eq=False)
class Source:
    """Times of iterations that were measured, as a roofline of them has them, and what they were measured on."""

    name: str
    model: Model
    gpu: GPU
    count: int
    numbers: np.ndarray
    batches: list[tuple[int, int, int]]

    def measured(self) -> np.ndarray:
        """Return the measured times of the batches `(n,)`, s."""
        return times("roofline", self.numbers, self.batches)

    def errors(self, factors: Factors) -> np.ndarray:
        """Return the logarithms of predicted over measured times `(n,)`."""
        form, numbers = roofline(self.model, self.gpu, self.count, factors=factors)
        return np.log(times(form, numbers, self.batches) / self.measured())


def times(form: str, numbers: np.ndarray, batches: list[tuple[int, int, int]]) -> np.ndarray:
    """Return the times of batches of one prompt each and of decodes `(n,)`, s."""
    batch, found = np.zeros(1, BATCH), []
    for prompt, decodes, context in batches:
        batch[0] = (prompt + decodes, prompt > 0, prompt, decodes, decodes * context, prompt**2 / 2, prompt**2, 0)
        found.append(float(iteration_time(FORMS.index(form), numbers, records(batch)[0])))
    return np.array(found)


def sources(runs: dict[str, Any]) -> list[Source]:
    """Return what is fitted to: Vidur's operators, and runs of vLLM of models without experts."""
    found = []
    for name in PROFILES:
        if name == "file" or "microsoft/vidur" not in (made := PROFILES.make(name)).source:
            continue
        gpu = GPUS[made.gpu.split()[1]]
        found.append(Source(name, MODELS[made.model], gpu, int(made.gpu[0]), made.numbers, OPERATORS))
    for run, numbers in runs.items():
        if run != EXPERTS:
            gpu, model = run.split()
            count = 2 if model == "Qwen3-32B" else 1
            found.append(Source(f"vllm {run}", MODELS[model], RTX[gpu], count, numbers, RUNS))
    return found


def fit(given: list[Source]) -> Factors:
    """Return the factors with the least squared logarithms of errors, each source alike in weight."""
    start = np.log([getattr(START, name) for name in SEARCHED])

    def at(x: np.ndarray) -> Factors:
        return replace(START, **dict(zip(SEARCHED, np.exp(x).tolist(), strict=True)))

    def loss(x: np.ndarray) -> np.ndarray:
        parts = [source.errors(at(x)) / np.sqrt(len(source.batches)) for source in given]
        return np.concatenate([*parts, PULL * (x - start)])

    return at(least_squares(loss, start).x)


def summary(logs: np.ndarray) -> dict[str, float]:
    """Return the mean absolute, the mean and the largest relative error."""
    relative = np.exp(logs) - 1
    return {
        "mean_absolute": float(np.abs(relative).mean()),
        "mean": float(relative.mean()),
        "largest": float(np.abs(relative).max()),
    }


def with_experts(factors: Factors) -> tuple[str, np.ndarray]:
    """Return the times of a replica of the run with experts: half of them on each GPU, for the tokens of both.

    Before and after the experts of a layer, tokens of both change places; attention is each replica's own.
    """
    model, gpu = MODELS["Qwen3-30B-A3B"], RTX["RTXPRO6000"]
    form, numbers = roofline(model, gpu, factors=factors)
    fixed, experts, share, overlap, token, *others = numbers
    fixed += 2 * model.layers * factors.sum
    token += (
        2 * model.layers * model.hidden * 2 / (gpu.link * factors.link)
    )  # half of the tokens of both, there and back
    return form, np.array([fixed, experts / 2, 1 - (1 - share) ** 2, overlap, token, *others])


def experts_share(factors: Factors, numbers: np.ndarray) -> Factors:
    """Return the factors with the share of the peak that experts reach in the one run that has them."""
    measured = times("roofline", numbers, RUNS)

    def loss(x: float) -> float:
        form, found = with_experts(replace(factors, experts=float(np.exp(x))))
        return float((np.log(times(form, found, RUNS) / measured) ** 2).sum())

    best = minimize_scalar(loss, bounds=(np.log(0.02), np.log(1.0)), method="bounded")
    return replace(factors, experts=float(np.exp(best.x)))


def simulated(folder: Path, factors: Factors) -> list[dict[str, Any]]:
    """Return the errors of TTFT and end-to-end time where the runs are replayed with these times."""
    found = []
    for name, run in read(folder / FILE).items():
        setting = next(one for one in SETTINGS if one.name == name)
        if name == EXPERTS:
            form, numbers = with_experts(factors)
        else:
            count = 2 if setting.model == "Qwen3-32B" else 1
            form, numbers = roofline(MODELS[setting.model], RTX[setting.gpu], count, factors=factors)
        profile = Profile(name, setting.model, setting.gpu, form, numbers, setting.kv_tokens, np.nan, "physics")
        told = {key: np.empty(len(run.arrival)) for key in ("queue", "ttft", "e2e")}
        for replica in range(setting.replicas):
            served = serve(run.requests(replica, setting.replicas), "fcfs", profile, setting.rules)
            for key, column in (("queue", "scheduled"), ("ttft", "first_token"), ("e2e", "completion")):
                told[key][replica :: setting.replicas] = served.outcome[column] - served.jobs["arrival"]
        every = np.ones(len(run.arrival), bool)
        row = errors(run, told, every, every)
        found.append({"run": name, **{key: row[key] for key in ("ttft", "e2e")}})
    return found


def splitwise(factors: Factors) -> list[dict[str, Any]]:
    """Return Splitwise's times over those of the physics, for a prompt of 2048 tokens and for 32 decodes."""
    found = []
    for name in ("splitwise-a100-llama2-70b", "splitwise-h100-llama2-70b"):
        made, batches = PROFILES.make(name), [(2048, 0, 0), (0, 32, 576)]
        form, numbers = roofline(MODELS[made.model], GPUS[made.gpu.split()[1]], 8, factors=factors)
        ratio = times(made.form, made.numbers, batches) / times(form, numbers, batches)
        found.append({"profile": name, "prompt": float(ratio[0]), "decodes": float(ratio[1])})
    return found


def report(found: dict[str, Any], console: Console) -> None:
    """Print factors and errors."""
    console.print("factors: " + ", ".join(f"{name} {value:.3g}" for name, value in found["factors"].items()))
    table = Table("source", "fitted", "held out", "bias held out", "largest", title="error of the time of an iteration")
    for row in found["sources"]:
        out = row["held_out"]
        cells = (row["fitted"]["mean_absolute"], out["mean_absolute"], out["mean"], out["largest"])
        table.add_row(row["source"], *(f"{cell:+.1%}" for cell in cells))
    console.print(table)
    console.print(f"experts, fitted to the one run: {found['experts']['mean_absolute']:.1%}")
    for row in found["simulated"]:
        console.print(f"{row['run']}: TTFT mean {row['ttft']['mean']:+.1%}, end-to-end mean {row['e2e']['mean']:+.1%}")
    for row in found["splitwise"]:
        console.print(f"{row['profile']}: prompts {row['prompt']:.2f} and decodes {row['decodes']:.2f} times as long")


def main(arguments: list[str] | None = None) -> int:
    """Fit, check, store and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=f"folder of the measured data; else ${FOLDER_VARIABLE}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--out", type=Path, default=OUT, help="where the result is stored")
    options = parser.parse_args(arguments)
    stored = json.loads(MEASURED.read_text(encoding="utf-8"))["runs"]
    runs = {run["run"]: np.array(list(run["splits"][0]["coefficients"].values())) for run in stored}
    given = sources(runs)
    factors = experts_share(fit(given), runs[EXPERTS])
    rows = []
    for source in given:
        without = fit([other for other in given if other is not source])
        told = {"fitted": summary(source.errors(factors)), "held_out": summary(source.errors(without))}
        rows.append({"source": source.name, **told})
    form, numbers = with_experts(factors)
    experts = summary(np.log(times(form, numbers, RUNS) / times("roofline", runs[EXPERTS], RUNS)))
    folder = data_folder(options.data)
    data = folder is not None and (folder / FILE).is_file()
    if not data:
        print(f"not simulated: {FILE} not found; name its folder with --data or ${FOLDER_VARIABLE}", file=sys.stderr)
    found = result(
        {
            "factors": asdict(factors),
            "sources": rows,
            "experts": experts,
            "simulated": simulated(folder, factors) if data and folder else [],
            "splitwise": splitwise(factors),
        }
    )
    write_json(options.out, found)
    print(json.dumps(plain(found))) if options.json else report(found, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
