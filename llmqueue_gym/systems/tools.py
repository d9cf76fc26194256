"""Programs that go away to tools and people: what is decided is what happens to their contexts meanwhile."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.retention import RETENTION_POLICIES
from llmqueue_gym.systems.program_view import ToolView
from llmqueue_gym.systems.programs import ProgramFleet
from llmqueue_gym.systems.view import View


@dataclass(frozen=True)
class ToolFleet(ProgramFleet):
    """Replicas that serve programs whose calls wait for tools; policies say what happens to contexts meanwhile.

    Attributes:
        replicas: how many.
    """

    name: ClassVar[str] = "tools"
    title: ClassVar[str] = "Programs that wait for tools, and their contexts"
    policies: ClassVar[Policies] = RETENTION_POLICIES
    view: ClassVar[type[View]] = ToolView  # type: ignore[assignment]
    decided: ClassVar[str] = "retention"
    settled: ClassVar[Mapping[str, str]] = {
        **{name: instead for name, instead in ProgramFleet.settled.items() if name != "order"},
        "retention": "the policy says it",
    }
    base: ClassVar[str] = "discard"
    compared: ClassVar[tuple[str, ...]] = ("discard", "preserve", "swap", "infercept", "lamps", "ttl")

    replicas: int = 1
