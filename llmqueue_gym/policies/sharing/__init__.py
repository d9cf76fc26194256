"""Policies that share one server, one file each, and tables with and without them.

To add one: write the file and add its line here. System `mg1` plays orders and these; all others play orders alone.
"""

from collections.abc import Callable, Iterator
from typing import Any

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policies
from llmqueue_gym.policies.sharing.base import SharingPolicy

__all__ = ["SHARING", "OrderOrSharing", "Orders", "SharingPolicy"]

_HERE = "llmqueue_gym.policies.sharing"

SHARING = Policies(
    SharingPolicy,
    {
        "ps": f"{_HERE}.ps:ps",
        "fsp": f"{_HERE}.fspe:fsp",
        "fspe": f"{_HERE}.fspe:fspe",
        "fspe-ps": f"{_HERE}.fspe:fspe_ps",
        "fspe-las": f"{_HERE}.fspe:fspe_las",
        "fspe-dc": f"{_HERE}.fspe:fspe_dc",
        "fspe-dc-las": f"{_HERE}.fspe:fspe_dc_las",
        "psbs": f"{_HERE}.psbs:psbs",
        "srpte-ps": f"{_HERE}.srpte_ps:srpte_ps",
    },
)


class Orders(Policies):
    """Orders of a queue; who asks for a policy that shares a server is told where that plays."""

    def builder(self, name: str) -> Callable[..., Any]:
        """Return what builds `name`."""
        if name in SHARING and name not in self:
            _refuse(name)
        return super().builder(name)

    def other(self, given: Any) -> Any:
        """Return the order that a plain function is."""
        if isinstance(given, SharingPolicy):
            _refuse(given.name)
        return super().other(given)


class OrderOrSharing(Policies):
    """The orders of a table, and the policies that share a server; a plain function is an order."""

    def __init__(self, orders: Policies):
        super().__init__(orders.made, {})  # type: ignore[arg-type]
        self.parts = (orders, SHARING)

    def __iter__(self) -> Iterator[str]:
        return (name for part in self.parts for name in part)

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __contains__(self, name: object) -> bool:
        return any(name in part for part in self.parts)

    def builder(self, name: str) -> Callable[..., Any]:
        """Return what builds `name`."""
        part = next((part for part in self.parts if name in part), None)
        return part.builder(name) if part is not None else super().builder(name)

    def other(self, given: Any) -> Any:
        """Return a policy that shares as it is, and the order that a plain function is."""
        return given if isinstance(given, SharingPolicy) else super().other(given)

    def register(self, name: str, builder: str | Callable[..., Any]) -> None:
        """Add an order."""
        self.parts[0].register(name, builder)


def _refuse(name: str) -> None:
    raise BadInput(
        f"policy {name!r} shares one server, which system mg1 alone does; here take an order, such as las, which needs "
        "no predictions, or sprpt-bounce, which forgives those that are too short"
    )
