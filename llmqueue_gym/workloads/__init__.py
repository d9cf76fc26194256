"""Workloads: when jobs arrive and how large they are. To add an arrival process: write it, add its line here."""

from llmqueue_gym.registry import Registry
from llmqueue_gym.workloads.arrivals import ArrivalProcess, Poisson
from llmqueue_gym.workloads.traces import TRACE_FORMATS, Trace, load_trace
from llmqueue_gym.workloads.workload import TraceWorkload, Workload

__all__ = [
    "ARRIVALS",
    "TRACE_FORMATS",
    "ArrivalProcess",
    "Poisson",
    "Trace",
    "TraceWorkload",
    "Workload",
    "arrival_process",
    "load_trace",
]

_HERE = "llmqueue_gym.workloads"

ARRIVALS = Registry(
    "arrival process",
    {
        "poisson": f"{_HERE}.arrivals:Poisson",
        "renewal": f"{_HERE}.arrivals:Renewal",
        "mmpp": f"{_HERE}.arrivals:MarkovModulated",
        "replay": f"{_HERE}.arrivals:Replay",
    },
    ArrivalProcess,
)
arrival_process = ARRIVALS.__call__  # a process from a spec such as `mmpp:ratio=4,period=100`, or itself
