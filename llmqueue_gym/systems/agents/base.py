"""A policy as an agent of an environment: the baseline that a learned one has to beat, playing by the same rules."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from llmqueue_gym._jit import kernel
from llmqueue_gym.errors import BadInput

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario


class Agent(ABC):
    """Decides as a policy does, from what the environment shows.

    Attributes:
        policy: the policy.
        scenario: where it plays.
        view: what the environment shows.
        batched: whether `act` takes observations of several runs at once, too.
        remembers: whether it remembers what it has seen, so that each run of a batch has to keep its row.
    """

    batched: ClassVar[bool] = True
    remembers: ClassVar[bool] = False

    def __init__(self, policy: Any, scenario: "Scenario", view: Any):
        """Prepare a policy for an environment.

        Args:
            policy: a policy of the scenario's system.
            scenario: where it plays.
            view: what it sees and decides.

        Raises:
            BadInput: the policy brings a predictor along which is not that of the environment, or does what an agent
                there cannot.
        """
        self.policy, self.scenario, self.view = policy, scenario, view
        told = policy.predictor
        if told is not None and not self._same_predictor():
            raise BadInput(f"{policy.kind} {policy.name!r} needs an environment with predictor={told!r}")
        self.params = policy.params_for(**scenario.facts())
        self.pointers = policy.compiled()
        self._units = view.units(scenario)

    def _same_predictor(self) -> bool:
        system: Any = self.scenario.system
        return system.predictor(self.scenario, self.policy) == system.predictor(self.scenario)

    def act(self, observation: Mapping[str, np.ndarray]) -> Any:
        """Return the action for an observation, or actions `(E,)` for a batch of them.

        Times of arrival are taken from now, so they are right up to a constant. Features are float32, so ranks that
        differ by less than that count as tied.
        """
        actions = self.choose(self.read(self.raw(observation)))
        return actions if observation["jobs"].ndim > 2 else int(actions[0])

    def act_env(self, env: Any) -> int:
        """Return the action for the present decision of a scalar environment, from what it shows in float64."""
        return int(self.choose(self.look(env.unwrapped.episodes.seen()))[0])

    def raw(self, observation: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return observations in s, tokens and other raw numbers.

        Raises:
            BadInput: they are not those of this agent's environment.
        """
        wanted = self.view.n_slots(self.scenario), len(self.view.jobs)
        if (shape := np.shape(observation["jobs"])[-2:]) != wanted:
            words = f"observation['jobs'] has {shape} rows and columns"
            raise BadInput(f"{words}, and {wanted} in the environment of this agent: make one for this environment")
        return {part: rows * self._units[part] if part in self._units else rows for part, rows in observation.items()}

    @abstractmethod
    def read(self, observation: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return what `choose` takes from raw observations; every table has a leading axis E, 1 for a single one."""

    @abstractmethod
    def look(self, seen: Mapping[str, Any]) -> dict[str, Any]:
        """Return what `choose` takes from what `Episodes.seen` shows; every table has a leading axis of 1."""

    @abstractmethod
    def choose(self, seen: dict[str, Any]) -> np.ndarray:
        """Return the actions `(E,)`."""

    @abstractmethod
    def preferences(self, seen: dict[str, Any]) -> list[np.ndarray]:
        """Return numbers `(E, rows)` of the rows of each group of `View.groups`: the lowest is who would be chosen."""


@kernel
def ranks_of(rows, rank, params, ranks):
    """Write the ranks `(E, m)` of rows `(E, m)`."""
    for e in range(rows.shape[0]):
        for k in range(rows.shape[1]):
            ranks[e, k] = rank(rows[e, k], params)
