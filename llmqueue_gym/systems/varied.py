"""Scenarios that differ from episode to episode, in two parts that share none: one to train on, one to test on.

    gym.make("llmqueue/MG1Preemptive-v0", vary={"load": (0.5, 0.95), "size": ["exponential", "weibull"]}, part="train")

An episode has a scenario of its part, which one is drawn by its seed. Both parts are the same in every process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.workloads.streams import stream

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

OPTIONS = ("load", "rate", "size", "predictor", "arrivals")  # what can be otherwise from episode to episode
PARTS = ("train", "test")
DRAWN = 100  # scenarios of both parts together, at most
EVERY = 5  # one of so many is in the part to test on


class Varied:
    """The scenarios of a part.

    Attributes:
        fields: what is otherwise in each of them.
    """

    def __init__(self, scenario: "Scenario", vary: Mapping[str, Any], part: str):
        """Draw the fields of all scenarios, and keep those of a part.

        Args:
            scenario: what they have in common.
            vary: of each field that differs, two numbers `(low, high)`, between which it is drawn evenly, or a list of
                values, from which it is.
            part: "train" or "test".

        Raises:
            BadInput: no such field or part, values that cannot be drawn from, or only one scenario.
        """
        if part not in PARTS:
            raise BadInput(f"part={part!r}; {nearest(str(part), PARTS)}")
        if not isinstance(vary, Mapping) or not vary:
            raise BadInput(f"vary={vary!r} must name fields with their values, as in {{'load': (0.5, 0.9)}}")
        for name in vary:
            if name not in OPTIONS:
                raise BadInput(f"vary: {name!r} cannot vary; {nearest(str(name), OPTIONS)}")
        drawn: list[dict[str, Any]] = []
        for k in range(DRAWN):
            chances = stream(k, "varied.fields").random(len(vary))
            one = {name: _drawn(name, vary[name], u) for name, u in zip(vary, chances.tolist(), strict=True)}
            drawn += [one] if one not in drawn else []
        if len(drawn) < len(PARTS):
            raise BadInput(f"vary={vary!r} is one scenario, and nothing is left to test on; give more values")
        self.fields = [one for k, one in enumerate(drawn) if (k % EVERY == 0) == (part == "test")]
        self._scenario, self._made = scenario, dict[int, "Scenario"]()
        for name, values in vary.items():  # a wrong value is found here, not at the first episode that has it
            for value in values:
                changed(scenario, **{name: value})

    def of(self, seed: int) -> "Scenario":
        """Return the scenario of an episode with this seed."""
        k = int(stream(seed, "varied.scenario").integers(len(self.fields)))
        if k not in self._made:
            self._made[k] = changed(self._scenario, **self.fields[k])
        return self._made[k]


def changed(scenario: "Scenario", **fields: Any) -> "Scenario":
    """Return a scenario with other fields; a load takes the place of a rate, and a rate that of a load."""
    for one, other in (("load", "rate"), ("rate", "load")):
        if fields.get(one) is not None:
            fields = {other: None, **fields}
    return replace(scenario, **fields) if fields else scenario


def _drawn(name: str, values: Any, u: float) -> Any:
    """Return the value of a field at a place from 0 to 1."""
    if isinstance(values, list) and values:
        return values[int(u * len(values))]
    numbers = isinstance(values, Sequence) and all(isinstance(one, (int, float)) for one in values)
    if not numbers or isinstance(values, str) or len(values) != 2 or not values[0] < values[1]:
        raise BadInput(f"vary: {name}={values!r} must be two numbers, (low, high), or a list of values")
    return values[0] + u * (values[1] - values[0])
