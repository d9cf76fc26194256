"""Workloads of LLM serving: when requests arrive, how long their prompts are, and how long their outputs will be."""

from llmqueue_gym.workloads.requests.lengths import LENGTHS, Lengths, length_law
from llmqueue_gym.workloads.requests.mc_sf import McSf
from llmqueue_gym.workloads.requests.trace_requests import TraceRequests
from llmqueue_gym.workloads.requests.workload import RequestSamples, RequestWorkload, draw_requests

__all__ = [
    "LENGTHS",
    "Lengths",
    "McSf",
    "RequestSamples",
    "RequestWorkload",
    "TraceRequests",
    "draw_requests",
    "length_law",
]
