"""Systems: what serves, one file each, and the scenario, which holds all that fixes a run.

To add a system: write its file and add its line here. `base.System` says what the file has to hold.
"""

from llmqueue_gym.registry import Registry
from llmqueue_gym.systems.base import Drawn, System
from llmqueue_gym.systems.run import Run
from llmqueue_gym.systems.scenario import Scenario

__all__ = ["SYSTEMS", "Drawn", "Run", "Scenario", "System"]

_HERE = "llmqueue_gym.systems"

SYSTEMS = Registry(
    "system",
    {
        "mg1": f"{_HERE}.mg1:MG1",
        "monitored": f"{_HERE}.monitored:Monitored",
        "central": f"{_HERE}.central:Central",
        "dispatch": f"{_HERE}.dispatch:Dispatch",
        "packing": f"{_HERE}.packing:Packing",
        "moldable": f"{_HERE}.moldable:Moldable",
        "predict": f"{_HERE}.predict:Predict",
        "replica": f"{_HERE}.replica:Replica",
        "fleet": f"{_HERE}.fleet:Fleet",
        "programs": f"{_HERE}.programs:ProgramFleet",
        "tools": f"{_HERE}.tools:ToolFleet",
        "reasoning": f"{_HERE}.reasoning:ReasoningFleet",
        "speculative": f"{_HERE}.speculative:Speculative",
        "model-choice": f"{_HERE}.choice:ModelChoice",
    },
)
