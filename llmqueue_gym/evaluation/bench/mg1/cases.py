"""What the benchmark plays: synthetic laws, a recorded hour of requests, and the pairs of a real length predictor.

The measured data lie in two files. Where one is not found, the quantile tables that come with the library stand in for
it, and the result says so.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.evaluation.bench.data import data_folder, found
from llmqueue_gym.evaluation.scenario import Scenario
from llmqueue_gym.predictors.pairs import Pairs
from llmqueue_gym.workloads import TraceWorkload, load_trace
from llmqueue_gym.workloads.quantiles import azure_conv_gaps, azure_conv_sizes, ssjf_pairs
from llmqueue_gym.workloads.renewal import Renewal

SIZES = ("exponential", "weibull:shape=0.5")
PREDICTORS = ("exact", "exponential", "lognormal:sigma=0.5")
TRACE_PREDICTORS = ("exact", "lognormal:sigma=0.5")
LOADS = (0.5, 0.8, 0.9, 0.95)
MEASURED_LOADS = (0.5, 0.8, 0.9)
BLOCKS = {"synthetic": "Synthetic jobs", "azure": "Azure trace", "ssjf": "SSJF pairs"}

AZURE_FILE = "azure2023_conv.csv.gz"
SSJF_FILE = "pred_ssjf_lmsys_vicuna13b.csv.gz"
_DRAWN_PAIRS = 20_000  # as many as the file has


@dataclass(frozen=True, eq=False)
class Case:
    """One scenario of the benchmark.

    Attributes:
        block: a key of `BLOCKS`.
        size: what the sizes are, in words; with `block` and `load` it names the jobs.
        predictor: what is predicted, in words.
        load: arrival rate times mean size.
        scenario: where jobs come from.
        exact: whether it is an M/G/1, so that exact mean response times exist.
        replayed: whether the jobs are one recording: its runs are then successive windows, not seeds.
    """

    block: str
    size: str
    predictor: str
    load: float
    scenario: Scenario
    exact: bool = True
    replayed: bool = False

    @property
    def jobs(self) -> tuple[str, str, float]:
        """What the arrivals and sizes depend on, besides the seed."""
        return self.block, self.size, self.load

    @property
    def noisy(self) -> bool:
        """Whether the predictions are wrong at times."""
        return self.predictor != "exact"


def jobs_at(load: float, jobs: int) -> int:
    """Return the jobs of a run: a queue forgets more slowly as the load rises, so `jobs` at 0.8, more above."""
    return max(100, round(jobs * 0.2 / (1 - load)))


def all_cases(jobs: int, data: str | os.PathLike[str] | None = None) -> tuple[list[Case], dict[str, dict[str, Any]]]:
    """Return the cases, and for each measured block where its numbers come from.

    Args:
        jobs: jobs of a run at load 0.8.
        data: folder of the measured data; see `data_folder`.
    """
    folder = data_folder(data)
    azure, azure_note = _azure(jobs, folder)
    ssjf, ssjf_note = _ssjf(jobs, folder)
    return [*synthetic(jobs), *azure, *ssjf], {"azure": azure_note, "ssjf": ssjf_note}


def synthetic(jobs: int) -> list[Case]:
    """Return the cases with laws of mean 1 and Poisson arrivals."""
    return [
        Case("synthetic", size, predictor, load, Scenario(size, predictor, load, n_jobs=jobs_at(load, jobs)))
        for size in SIZES
        for predictor in PREDICTORS
        for load in LOADS
    ]


def _azure(jobs: int, folder: Path | None) -> tuple[list[Case], dict[str, Any]]:
    file = found(folder, AZURE_FILE)
    note = {
        "file": file and AZURE_FILE,
        "source": "Azure/AzurePublicDataset, AzureLLMInferenceTrace_conv.csv; Patel et al., Splitwise, ISCA 2024",
        "licence": "CC-BY-4.0",
    }
    grid = [(predictor, load) for predictor in TRACE_PREDICTORS for load in MEASURED_LOADS]
    if file is None:
        size, told = "output lengths (quantile table)", "the embedded quantile tables of its output lengths and gaps"
        law, arrivals = azure_conv_sizes(), Renewal(law=azure_conv_gaps())
        made = [(p, load, Scenario(law, p, load, arrivals, jobs_at(load, jobs))) for p, load in grid]
    else:
        trace = load_trace(file)
        size, told = "output lengths", f"all {len(trace):,} requests with their arrival times"
        second = 1 / float(trace.output_tokens.mean())  # a mean size of 1, as in the other blocks
        made = [
            (p, load, Scenario(predictor=p, n_jobs=len(trace), workload=TraceWorkload.from_trace(trace, second, load)))
            for p, load in grid
        ]
    cases = [Case("azure", size, p, load, scenario, False, file is not None) for p, load, scenario in made]
    return cases, {**note, "embedded": file is None, "used": told}


def _ssjf(jobs: int, folder: Path | None) -> tuple[list[Case], dict[str, Any]]:
    file = found(folder, SSJF_FILE)
    note = {
        "file": file and SSJF_FILE,
        "source": "James-QiuHaoran/LLM-serving-with-proxy-models, lengths of LMSYS-Chat-1M responses; "
        "Qiu et al., Efficient Interactive LLM Serving with Proxy Model-based Sequence Length Prediction, 2024",
        "licence": "Apache-2.0",
    }
    if file is None:
        pairs, told = _drawn_pairs(), f"{_DRAWN_PAIRS:,} pairs drawn once from the embedded quantile tables"
    else:
        pairs, told = Pairs(str(file)), "the 20,000 pairs of the file"
    law = pairs.size_law()
    cases = [
        Case("ssjf", "true lengths", "five classes", load, Scenario(law, pairs, load, n_jobs=jobs_at(load, jobs)))
        for load in MEASURED_LOADS
    ]
    return cases, {**note, "embedded": file is None, "used": told}


def _drawn_pairs() -> Pairs:
    true, predicted = ssjf_pairs(_DRAWN_PAIRS, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "pairs.csv")
        np.savetxt(file, np.c_[true, predicted], "%.12g", ",", header="output_tokens,predicted_tokens", comments="")
        return Pairs(str(file))
