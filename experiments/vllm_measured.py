"""How far off are simulated TTFT and end-to-end times from those of real vLLM, on requests that no fit has seen?

LLMServingSim's authors replayed 300 ShareGPT requests against vLLM 0.19.0 on two kinds of GPU (casys-kaist/
LLMServingSim 5daddb2, bench/examples, MIT), four runs. For each run the five coefficients of a roofline are fitted, so
that the whole stream, simulated under the rules `vllm-0.19.1` with the run's own settings, has the TTFT and end-to-end
times of the fitted requests; errors are those of the other requests. What was settled before the first look:

* split `pairs`: requests 0, 1, 4, 5, ... in order of arrival are fitted, 2, 3, 6, 7, ... held out. Both halves stand in
  one queue, so this tests the form of the model, not another load;
* split `first half`: the first 150 arrivals are fitted, the last 150 held out: a forecast, and the harder one;
* loss: mean |log(simulated / measured)| of TTFT plus that of end-to-end time; Nelder-Mead on the logarithms of the
  coefficients, from the profile a100-llama3-8b at 0.5, 1 and 2 times its numbers; the best of the three counts;
* two replicas (data_parallel_size 2) are fed by turns and do not wait for one another. Real ones are fed by load and
  step together, because their experts are shared, so here the model is known to be wrong.

Not modelled: prefix caching (a preempted request may find part of its cache again), asynchronous scheduling, the API
server. No fit was changed after its errors were seen. `per second` compares the running and the waiting requests with
vLLM's own log, which no fit has seen; `memory` are the errors of mean times with the same coefficients and a tenth less
or more memory, which was estimated where it matters. Writes `results/vllm_measured.json`; a minute or two.

    python experiments/vllm_measured.py [--data FOLDER] [--json]
"""

import argparse
import csv
import gzip
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize

from llmqueue_gym.boards.recorded import FOLDER_VARIABLE, data_folder
from llmqueue_gym.columns import read_columns
from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.evaluation import result, write_json
from llmqueue_gym.evaluation.results import plain
from llmqueue_gym.evaluation.serving import serve
from llmqueue_gym.evaluation.watch import watch
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.profiles.base import Profile, kv_capacity
from llmqueue_gym.profiles.fit import COEFFICIENTS
from llmqueue_gym.requests import Requests, never_refreshed, request_table

OUT = Path(__file__).parent / "results" / "vllm_measured.json"
FILE = "vllm_measured_llmservingsim.csv.gz"
START, SCALES = "a100-llama3-8b", (0.5, 1.0, 2.0)
STEPS = 600  # simulations from each start
BLOCK = 16
_RTX_PRO = 96 * 2**30  # bytes; not measured, and neither are activations, but memory is never short in these runs


@dataclass(frozen=True)
class Setting:
    """How a measured run was set up.

    Attributes:
        gpu: as in the file.
        model: likewise.
        max_seqs: most requests in the running list of a replica.
        replicas: data_parallel_size.
        kv_tokens: tokens whose keys and values a replica holds.
        kv_source: how that is known.
        max_model_len: tokens; 0 where it is not set.
    """

    gpu: str
    model: str
    max_seqs: int
    replicas: int
    kv_tokens: int
    kv_source: str
    max_model_len: int = 0

    @property
    def name(self) -> str:
        """GPU and model."""
        return f"{self.gpu} {self.model}"

    @property
    def rules(self) -> Rules:
        """The rule set of the run; 2048 tokens an iteration in all four."""
        changes = {"max_seqs": self.max_seqs, "token_budget": 2048, "max_model_len": self.max_model_len}
        return type(rule_set("vllm-0.19.1"))(blocks=self.kv_tokens // BLOCK, **changes)


_COMPUTED = "computed: 0.9 of 96 GiB a GPU less 16-bit weights; its size never matters in this run"
SETTINGS = (
    Setting("RTXPRO6000", "Llama-3.1-8B", 128, 1, kv_capacity(_RTX_PRO, 2 * 8.03e9, 131_072), _COMPUTED),
    Setting("RTXPRO6000", "Qwen3-32B", 128, 1, kv_capacity(2 * _RTX_PRO, 2 * 32.8e9, 262_144), _COMPUTED),
    # Half of the experts' weights lie on either GPU; counting all of them on both is on the safe side.
    Setting("RTXPRO6000", "Qwen3-30B-A3B-Instruct-2507", 128, 2, kv_capacity(_RTX_PRO, 2 * 30.5e9, 98_304), _COMPUTED),
    Setting(
        "RTX4090",
        "Llama-3.1-8B",
        256,
        1,
        2659 * BLOCK,
        "estimated from vLLM's log: at 5 s it reads 100 % with 40 requests running; the 41 with a first token by then "
        "hold 2725 blocks by their measured times, of which 40/41 are 2659",
        32768,
    ),
)


@dataclass(frozen=True, eq=False)
class Measured:
    """A measured run: columns `(n,)` in order of arrival, tokens and s."""

    arrival: np.ndarray
    prompt: np.ndarray
    output: np.ndarray
    queue: np.ndarray
    ttft: np.ndarray
    e2e: np.ndarray

    def requests(self, replica: int, replicas: int) -> Requests:
        """Return the requests that one of several replicas gets, by turns."""
        mine = slice(replica, None, replicas)
        table = request_table(self.arrival[mine], self.prompt[mine])
        return Requests(table, self.output[mine], never_refreshed(len(table)))


def read(file: Path) -> dict[str, Measured]:
    """Return the runs of the file by GPU and model."""
    runs: dict[str, list[list[float]]] = {}
    names = ("arrival_s", "prompt_tokens", "output_tokens", "queue_s", "ttft_s", "e2e_s")
    with gzip.open(file, "rt", encoding="utf-8") as text:
        for row in csv.DictReader(text):
            runs.setdefault(f"{row['gpu']} {row['model']}", []).append([float(row[name]) for name in names])
    tables = {name: np.array(sorted(rows)).T for name, rows in runs.items()}
    return {k: Measured(t[0], t[1].astype(np.int64), t[2].astype(np.int64), *t[3:]) for k, t in tables.items()}


def with_costs(numbers: np.ndarray, setting: Setting) -> Profile:
    """Return the cost profile with these coefficients, s, in the order of `profiles.fit.COEFFICIENTS`."""
    return Profile(setting.name, setting.model, setting.gpu, "roofline", numbers, setting.kv_tokens, np.nan, "fit")


def simulate(run: Measured, setting: Setting, numbers: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return simulated queue, ttft and e2e `(n,)`, s, and preemptions and the largest share of memory in use."""
    times = {name: np.empty(len(run.arrival)) for name in ("queue", "ttft", "e2e")}
    totals = {"preemptions": 0.0, "most_kv_share": 0.0}
    profile, rules = with_costs(numbers, setting), setting.rules
    for replica in range(setting.replicas):
        served = serve(run.requests(replica, setting.replicas), "fcfs", profile, rules)
        arrival = served.jobs["arrival"]
        for name, column in (("queue", "scheduled"), ("ttft", "first_token"), ("e2e", "completion")):
            times[name][replica :: setting.replicas] = served.outcome[column] - arrival
        totals["preemptions"] += served.totals["preemptions"]
        totals["most_kv_share"] = max(totals["most_kv_share"], served.totals["most_blocks"] / (rules.blocks or 1))
    return times, totals


def loss(run: Measured, setting: Setting, numbers: np.ndarray, fitted: np.ndarray) -> float:
    """Return the mean absolute logarithms of simulated over measured TTFT and end-to-end time, added."""
    times, _ = simulate(run, setting, numbers)
    return sum(
        float(np.abs(np.log(times[name][fitted] / getattr(run, name)[fitted])).mean()) for name in ("ttft", "e2e")
    )


def fit(run: Measured, setting: Setting, fitted: np.ndarray, steps: int = STEPS) -> tuple[np.ndarray, float]:
    """Return the coefficients `(5,)`, s, with the least loss on the fitted requests, and that loss."""
    start = np.log(cost_profile(START).numbers)
    options = {"maxfev": steps, "xatol": 1e-4, "fatol": 1e-6, "adaptive": True}
    tried = [
        minimize(
            lambda x: loss(run, setting, np.exp(x), fitted), start + np.log(s), method="Nelder-Mead", options=options
        )
        for s in SCALES
    ]
    best = min(tried, key=lambda found: found.fun)
    return np.exp(best.x), float(best.fun)


def splits(n: int) -> dict[str, np.ndarray]:
    """Return which of n requests are fitted, by the name of the split."""
    return {"pairs": np.arange(n) // 2 % 2 == 0, "first half": np.arange(n) < n // 2}


def errors(run: Measured, times: dict[str, np.ndarray], rows: np.ndarray, fitted: np.ndarray) -> dict[str, Any]:
    """Return relative errors on some requests, of mean, p99 and of each request; queue in seconds, too.

    `constant_mape` is the error of a forecast that knows nothing of a request: the median of the fitted ones.
    """
    found: dict[str, Any] = {}
    for name in ("ttft", "e2e"):
        real, ours = getattr(run, name), times[name]
        found[name] = {
            "mean": float(ours[rows].mean() / real[rows].mean() - 1),
            "p99": float(np.percentile(ours[rows], 99) / np.percentile(real[rows], 99) - 1),
            "mape": float(np.abs(ours[rows] / real[rows] - 1).mean()),
            "median_ape": float(np.median(np.abs(ours[rows] / real[rows] - 1))),
            "constant_mape": float(np.abs(np.median(real[fitted]) / real[rows] - 1).mean()),
            "measured_mean": float(real[rows].mean()),
        }
    real, ours = run.queue[rows], times["queue"][rows]
    found["queue"] = {
        "measured_mean": float(real.mean()),
        "simulated_mean": float(ours.mean()),
        "mean": float(ours.mean() / real.mean() - 1),
        "measured_p99": float(np.percentile(real, 99)),
        "simulated_p99": float(np.percentile(ours, 99)),
        "mean_absolute_s": float(np.abs(ours - real).mean()),
    }
    return found


def per_second(run: Measured, setting: Setting, numbers: np.ndarray, log: Path) -> dict[str, float]:
    """Return mean absolute differences of running and waiting requests to vLLM's log, a row a second, and its means."""
    names = ("t", "running", "waiting")
    columns = {column.name: column.numbers() for column in read_columns(log, names)}
    counts = {"running": np.zeros(len(columns["t"])), "waiting": np.zeros(len(columns["t"]))}
    for replica in range(setting.replicas):
        given = run.requests(replica, setting.replicas)
        calls = list(watch(given, "fcfs", with_costs(numbers, setting), setting.rules))
        clocks = np.array([call.clock for call in calls])
        at = np.maximum(np.searchsorted(clocks, columns["t"], side="right") - 1, 0)
        over = columns["t"] > clocks[-1]
        for name, count in counts.items():
            count += np.where(over, 0, [len(getattr(calls[k], name)) for k in at])
    found = {}
    for name, count in counts.items():
        found[f"{name}_measured_mean"] = float(columns[name].mean())
        found[f"{name}_off_by"] = float(np.abs(count - columns[name]).mean())
    return found


def off_memory(
    run: Measured, setting: Setting, numbers: np.ndarray, rows: np.ndarray, share: float
) -> dict[str, float]:
    """Return the relative errors of mean TTFT and end-to-end time on some requests with a share of the memory."""
    times, _ = simulate(run, replace(setting, kv_tokens=int(share * setting.kv_tokens)), numbers)
    return {name: float(times[name][rows].mean() / getattr(run, name)[rows].mean() - 1) for name in ("ttft", "e2e")}


def study(run: Measured, setting: Setting, log: Path | None, steps: int = STEPS) -> dict[str, Any]:
    """Return fits, errors and coefficients of a run for every split."""
    rows = []
    for name, fitted in splits(len(run.arrival)).items():
        print(f"{setting.name}, {name}", file=sys.stderr, flush=True)
        numbers, least = fit(run, setting, fitted, steps)
        times, totals = simulate(run, setting, numbers)
        row: dict[str, Any] = {
            "split": name,
            "loss": least,
            "coefficients": dict(zip(COEFFICIENTS, numbers.tolist(), strict=True)),
            "held_out": errors(run, times, ~fitted, fitted),
            "fitted": errors(run, times, fitted, fitted),
            "memory": {f"{share:g}": off_memory(run, setting, numbers, ~fitted, share) for share in (0.9, 1.1)},
            **totals,
        }
        if log is not None and log.is_file():
            row["per_second"] = per_second(run, setting, numbers, log)
        rows.append(row)
    told = {key: getattr(setting, key) for key in ("max_seqs", "replicas", "kv_tokens", "kv_source", "max_model_len")}
    return {"run": setting.name, "requests": len(run.arrival), **told, "splits": rows}


def cross(runs: dict[str, Measured], studies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the errors where the coefficients of one GPU are used for the same model on the other, unscaled."""
    found = []
    for setting in SETTINGS:
        for other in studies:
            if other["run"] != setting.name and other["run"].split()[1] == setting.model and setting.name in runs:
                numbers = np.array(list(other["splits"][0]["coefficients"].values()))
                times, _ = simulate(runs[setting.name], setting, numbers)
                every = np.ones(len(times["e2e"]), bool)
                told = errors(runs[setting.name], times, every, every)
                found.append({"coefficients_of": other["run"], "run": setting.name, "errors": told})
    return found


def report(found: dict[str, Any], console: Console) -> None:
    """Print the errors on the held-out requests."""
    table = Table(
        *("run", "split", "TTFT mean", "p99", "MAPE", "e2e mean", "p99", "MAPE", "queue mean, s"),
        title="simulated against measured, held-out requests",
        title_justify="left",
    )
    for study_ in found["runs"]:
        for row in study_["splits"]:
            cells = [f"{row['held_out'][k][m]:+.1%}" for k in ("ttft", "e2e") for m in ("mean", "p99", "mape")]
            queue = row["held_out"]["queue"]
            waits = f"{queue['simulated_mean']:.2f} for {queue['measured_mean']:.2f}"
            table.add_row(study_["run"], row["split"], *cells, waits)
    console.print(table)
    for row in found["cross"]:
        told = row["errors"]
        console.print(
            f"Coefficients of {row['coefficients_of']} for {row['run']}, another GPU, unscaled: mean TTFT "
            f"{told['ttft']['mean']:+.0%}, mean e2e {told['e2e']['mean']:+.0%}."
        )


def main(arguments: list[str] | None = None) -> int:
    """Fit, compare, store and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=f"folder of the measured data; else ${FOLDER_VARIABLE}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--steps", type=int, default=STEPS, help="simulations from each start of a fit")
    parser.add_argument("--out", type=Path, default=OUT, help="where the result is stored")
    options = parser.parse_args(arguments)
    folder = data_folder(options.data)
    if folder is None or not (folder / FILE).is_file():
        print(f"skipped: {FILE} not found; name its folder with --data or ${FOLDER_VARIABLE}", file=sys.stderr)
        return 0
    runs = read(folder / FILE)
    logs = {s.name: folder.parent / "tables" / f"vllm_timeseries_{s.gpu}_{s.model}.csv" for s in SETTINGS}
    studies = [study(runs[s.name], s, logs[s.name], options.steps) for s in SETTINGS]
    source = "casys-kaist/LLMServingSim 5daddb2, bench/examples (MIT); vLLM 0.19.0"
    found = result({"source": source, "runs": studies, "cross": cross(runs, studies)})
    options.out.parent.mkdir(exist_ok=True)
    write_json(options.out, found)
    print(json.dumps(plain(found))) if options.json else report(found, Console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
