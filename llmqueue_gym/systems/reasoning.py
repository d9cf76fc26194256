"""Programs that reason: what is decided is when their answers so far suffice, so that the rest is not computed."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.stopping import STOPPING_POLICIES
from llmqueue_gym.systems.program_view import ReasoningView
from llmqueue_gym.systems.programs import ProgramFleet
from llmqueue_gym.systems.view import View


@dataclass(frozen=True)
class ReasoningFleet(ProgramFleet):
    """Replicas that serve programs whose calls give answers; policies say when these suffice.

    Attributes:
        replicas: how many.
        wrong: s of a program's time that a wrong answer costs as much as.
    """

    name: ClassVar[str] = "reasoning"
    title: ClassVar[str] = "Programs that reason, and when they stop"
    policies: ClassVar[Policies] = STOPPING_POLICIES
    view: ClassVar[type[View]] = ReasoningView  # type: ignore[assignment]
    decided: ClassVar[str] = "stopping"
    settled: ClassVar[Mapping[str, str]] = {
        **{name: instead for name, instead in ProgramFleet.settled.items() if name != "order"},
        "stopping": "the policy says it",
    }
    base: ClassVar[str] = "never"
    cost: ClassVar[str] = "mean time of a program and what wrong answers cost, s"
    compared: ClassVar[tuple[str, ...]] = ("never", "majority", "posterior", "certaindex")
    defaults: ClassVar[Mapping[str, Any]] = {**ProgramFleet.defaults, "size": "self-consistency"}

    replicas: int = 1
    wrong: float = 60.0
