"""A controller says, at ticks, how many replicas are to be on in each role, by what can be seen of a fleet then.

A user's controller is a plain function; what it notes in `memory`, a dictionary, is there at its next tick:

    def control(seen, memory):
        return seen.asked[-1] + (seen.held > 0)
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.registry import Named
from llmqueue_gym.requests import BOTH, PREFILL, ROLES

OFF, STARTING, ON, DRAINING = 0, 1, 2, 3  # as in `engines.fleet.tables`


class Unit(NamedTuple):
    """What one replica does, by role `(3,)`.

    Attributes:
        tokens: per s that it keeps up with: of prompts, of outputs, or of both, as its role is.
        seats: requests that it serves at a time.
    """

    tokens: np.ndarray
    seats: np.ndarray


@dataclass(frozen=True)
class Seen:
    """A fleet at a tick, and what has come of it tick by tick so far.

    Attributes:
        clock: s.
        tick: s between two ticks.
        start_up: s from when a replica is switched on until it serves.
        arrivals: requests that came until each tick since the one before `(k,)`.
        prompts: their prompt tokens `(k,)`.
        outputs: output tokens that were made `(k,)`.
        ended: requests that left replicas of each role, for good or for another `(k, 3)`.
        busy: request-seconds in batches of replicas of each role `(k, 3)`.
        power: of each replica, a code above `(R,)`.
        role: of each replica `(R,)`.
        running: requests in its batch `(R,)`.
        waiting: requests that wait there, or for room there `(R,)`.
        kv: share of its KV blocks in use `(R,)`.
        held: requests that wait at the router.
        asked: replicas that were asked for by role, at first and at each tick so far `(k + 1, 3)`.
        least: replicas that have to be on.
        most: replicas that may be.
        unit: what one replica does, for controllers that are `profiled`; None for others.
    """

    clock: float
    tick: float
    start_up: float
    arrivals: np.ndarray
    prompts: np.ndarray
    outputs: np.ndarray
    ended: np.ndarray
    busy: np.ndarray
    power: np.ndarray
    role: np.ndarray
    running: np.ndarray
    waiting: np.ndarray
    kv: np.ndarray
    held: int
    asked: np.ndarray
    least: int
    most: int
    unit: Unit | None = None

    @property
    def roles(self) -> tuple[int, ...]:
        """The roles that there are in this fleet."""
        return tuple(role for role in ROLES if self.asked[0, role] > 0)

    def on(self, role: int) -> np.ndarray:
        """Return which replicas serve in a role `(R,)`."""
        return (self.power == ON) & (self.role == role)

    def tokens(self, role: int) -> np.ndarray:
        """Return the tokens per s that were asked of a role until each tick `(k,)`: of prompts, outputs or both."""
        if role == BOTH:
            return (self.prompts + self.outputs) / self.tick
        return (self.prompts if role == PREFILL else self.outputs) / self.tick

    def kv_share(self, role: int) -> float:
        """Return the share of KV blocks in use of the replicas of a role; those that start have none in use yet."""
        starting = np.count_nonzero((self.power == STARTING) & (self.role == role))
        there = self.kv[self.on(role)]
        return float(there.sum() / max(len(there) + starting, 1))


class Controller(Named):
    """What says how many replicas are on. A subclass is a frozen dataclass of its settings.

    Attributes:
        name: its name in the literature.
        source: paper or repository.
        profiled: whether it has to know what one replica does.
    """

    name: ClassVar[str]
    source: ClassVar[str] = ""
    profiled: ClassVar[bool] = False

    def targets(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return how many replicas are to be on in each role `(3,)`; at first nothing has been seen.

        Args:
            seen: the fleet.
            memory: what it noted at earlier ticks of this run.
        """
        raise NotImplementedError

    def asked_of(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return `targets`, which are looked at before they are followed.

        Raises:
            BadInput: it is no number of replicas by role.
        """
        wanted = self.targets(seen, memory)
        numbers = np.asarray(wanted)
        if numbers.shape != (3,) or numbers.dtype.kind not in "iuf" or not np.isfinite(numbers).all():
            raise BadInput(
                f"controller {str(self)!r} gives {wanted!r:.100}; it must be three numbers of replicas, of those that "
                "do both, prefill and decode"
            )
        return numbers

    def profile_of(self, seen: Seen) -> Unit:
        """Return what one replica does."""
        if seen.unit is None:
            raise BadInput(f"controller {self.name!r} has to be told what one replica does; simulate a Scenario")
        return seen.unit


@dataclass(frozen=True)
class Plain(Controller):
    """A plain function.

    Attributes:
        function: `control(seen, memory)`, which returns replicas by role `(3,)`.
    """

    name: ClassVar[str] = "function"

    function: Callable[[Seen, dict[Any, Any]], Any]

    @classmethod
    def of(cls, function: Any) -> "Plain":
        """Return the controller that a function is; BadInput for anything else."""
        if not inspect.isfunction(function) or function.__code__.co_argcount != 2:
            raise BadInput(f"{function!r:.200} is no controller: give a name or a function control(seen, memory)")
        return cls(function)

    def __str__(self) -> str:
        """Return the name of the function."""
        return self.function.__name__

    def targets(self, seen: Seen, memory: dict[Any, Any]) -> np.ndarray:
        """Return what the function returns."""
        return np.asarray(self.function(seen, memory))
