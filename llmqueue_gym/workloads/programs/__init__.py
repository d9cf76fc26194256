"""Laws of programs of calls, by name; to add one, write it and add its line here."""

from llmqueue_gym.registry import Registry
from llmqueue_gym.workloads.programs.base import ProgramLaw
from llmqueue_gym.workloads.programs.calls import Calls, Laid, laid_out

__all__ = ["PROGRAMS", "Calls", "Laid", "ProgramLaw", "laid_out", "program_law"]

_HERE = "llmqueue_gym.workloads.programs"

PROGRAMS = Registry(
    "law of programs",
    {
        "tool-calls": f"{_HERE}.tool_calls:ToolCalls",
        "chat-chain": f"{_HERE}.chat_chain:ChatChain",
        "map-reduce": f"{_HERE}.map_reduce:MapReduce",
        "planner": f"{_HERE}.planner:Planner",
        "parrot": f"{_HERE}.parrot:Parrot",
        "self-consistency": f"{_HERE}.self_consistency:SelfConsistency",
        "reasoning": f"{_HERE}.reasoning:Reasoning",
    },
    ProgramLaw,
)
program_law = PROGRAMS.__call__  # a law from a spec such as `tool-calls`, or the law itself
