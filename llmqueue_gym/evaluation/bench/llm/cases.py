"""What the track plays: four workloads on two cost profiles, at three shares of what first come first served sustains.

Well below that most policies are close where arrivals are not bursty, so exact predictions are played at the highest
load alone.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmqueue_gym.engines.batching.rules import rule_set
from llmqueue_gym.evaluation.bench.data import data_folder, found
from llmqueue_gym.evaluation.bench.llm.streams import Stream
from llmqueue_gym.profiles import profile as cost_profile

PROFILES = ("a100-llama3-8b", "a100-llama2-70b-tp2")
LOADS = (0.7, 0.9, 1.0)
PREDICTOR, EXACT = "lognormal:sigma=0.5", "exact"
_GRID = [*((PREDICTOR, load) for load in LOADS), (EXACT, LOADS[-1])]
RULES = "vllm-v1"
OTHER_RULES = ("sarathi", "vllm-v0", "orca")


@dataclass(frozen=True)
class Workload:
    """Requests that were recorded, or sampled from a model of recorded ones.

    Attributes:
        title: in words.
        file: in the folder of the measured data.
        recorded_times: whether its arrival times are played.
        source: who published it.
        licence: of the data.
    """

    title: str
    file: str
    recorded_times: bool
    source: str
    licence: str


_AZURE = "Patel et al., Splitwise, ISCA 2024"
WORKLOADS = {  # by the name of the embedded law
    "azure-conv": Workload(
        "Azure conversation",
        "azure2023_conv.csv.gz",
        True,
        f"Azure/AzurePublicDataset, AzureLLMInferenceTrace_conv.csv; {_AZURE}",
        "CC-BY-4.0",
    ),
    "azure-code": Workload(
        "Azure code",
        "azure2023_code.csv.gz",
        True,
        f"Azure/AzurePublicDataset, AzureLLMInferenceTrace_code.csv; {_AZURE}",
        "CC-BY-4.0",
    ),
    "mooncake-conv": Workload(
        "Mooncake conversation",
        "mooncake_conversation.csv.gz",
        False,
        "kvcache-ai/Mooncake, FAST25-release/traces/conversation_trace.jsonl; Qin et al., Mooncake, FAST 2025",
        "Apache-2.0",
    ),
    "deepseek-r1": Workload(
        "DeepSeek-R1",
        "servegen_deepseek-r1_sampled.csv.gz",
        True,
        "alibaba/ServeGen, data/reason/deepseek-r1: not recorded, but sampled from its models of clients",
        "Apache-2.0",
    ),
}
BLOCKS = {name: workload.title for name, workload in WORKLOADS.items()}


@dataclass(frozen=True)
class Case:
    """One scenario of the track.

    Attributes:
        block: a key of `WORKLOADS`.
        profile: spec of a cost profile.
        predictor: spec of a length predictor.
        load: share of the capacity.
        stream: where requests come from.
        n: requests of a run; a recording's windows may have fewer.
        runs: how many.
    """

    block: str
    profile: str
    predictor: str
    load: float
    stream: Stream
    n: int
    runs: int

    @property
    def place(self) -> tuple[str, str]:
        """Workload and profile, which have one capacity."""
        return self.block, self.profile

    @property
    def requests(self) -> tuple[str, str, float]:
        """What arrivals and lengths depend on, besides the run."""
        return self.block, self.profile, self.load


def all_cases(
    n: int, runs: int, data: str | os.PathLike[str] | None = None
) -> tuple[list[Case], dict[str, dict[str, Any]]]:
    """Return the cases, and for each workload where its numbers come from.

    Args:
        n: requests of a run.
        runs: of each policy in each case.
        data: folder of the measured data; see `data.data_folder`.
    """
    folder, cases, notes = data_folder(data), [], {}
    for name, workload in WORKLOADS.items():
        file = found(folder, workload.file)
        for profile in PROFILES:
            stream = Stream(name, file, workload.recorded_times, fitting(profile))
            cases += [Case(name, profile, predictor, load, stream, n, runs) for predictor, load in _GRID]
        notes[name] = {
            "file": file and workload.file,
            "source": workload.source,
            "licence": workload.licence,
            "embedded": file is None,
            "used": _used(workload, file, n),
        }
    return cases, notes


def fitting(profile: str) -> int:
    """Return the most tokens of a request that every rule set of the track can serve on a profile."""
    kv_tokens = cost_profile(profile).kv_tokens
    return min(rule_set(rules).on(kv_tokens).longest for rules in (RULES, "sarathi", "vllm-v0"))


def _used(workload: Workload, file: Path | None, n: int) -> str:
    if file is None:
        return "the embedded quantile tables of its lengths, with Poisson arrivals"
    if workload.recorded_times:
        return f"windows of up to {n:,} requests with their lengths and arrival times, brought to the rate of the load"
    return "lengths drawn from its rows with replacement, with Poisson arrivals"
