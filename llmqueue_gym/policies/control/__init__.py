"""Controllers of fleets, one file each. To add one: write the file and add its line here."""

from collections.abc import Callable
from typing import Any

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.control.base import Controller, Plain, Seen, Unit
from llmqueue_gym.registry import Registry

__all__ = ["CONTROLLERS", "Controller", "Plain", "Seen", "Unit"]

_HERE = "llmqueue_gym.policies.control"


class Controllers(Registry):
    """Controllers by name; a plain function is made one."""

    def other(self, given: object) -> Controller:
        """Return the controller that a plain function `control(seen, memory)` is."""
        return Plain.of(given)

    def builder(self, name: str) -> Callable[..., Any]:
        """Return what builds `name`; BadInput with all names where there is none, as they are few and unlike."""
        if name not in self:
            raise BadInput(f"unknown {self.kind} {name!r}; choose from: {', '.join(self)}")
        return super().builder(name)


CONTROLLERS = Controllers(
    "controller",
    {
        "none": f"{_HERE}.fixed:Leave",
        "fixed": f"{_HERE}.fixed:Fixed",
        "utilisation": f"{_HERE}.utilisation:Utilisation",
        "erlang": f"{_HERE}.erlang:Erlang",
        "forecast": f"{_HERE}.forecast:Forecast",
        "sageserve-now": f"{_HERE}.sageserve:AtOnce",
        "sageserve-deferred": f"{_HERE}.sageserve:Deferred",
        "sageserve-corrected": f"{_HERE}.sageserve:Corrected",
        "roles": f"{_HERE}.roles:Roles",
    },
    Controller,
)
