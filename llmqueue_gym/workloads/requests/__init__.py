"""Workloads of LLM serving: when requests arrive, how long their prompts are, and how long their outputs will be."""

from llmqueue_gym.workloads.requests.lengths import LENGTHS, Lengths, length_law
from llmqueue_gym.workloads.requests.mc_sf import McSf
from llmqueue_gym.workloads.requests.program_workload import ProgramRun, ProgramSamples, ProgramWorkload, draw_programs
from llmqueue_gym.workloads.requests.trace_programs import TracePrograms
from llmqueue_gym.workloads.requests.trace_requests import TraceRequests
from llmqueue_gym.workloads.requests.workload import RequestSamples, RequestWorkload, draw_requests

__all__ = [
    "LENGTHS",
    "Lengths",
    "McSf",
    "ProgramRun",
    "ProgramSamples",
    "ProgramWorkload",
    "RequestSamples",
    "RequestWorkload",
    "TracePrograms",
    "TraceRequests",
    "draw_programs",
    "draw_requests",
    "length_law",
]
