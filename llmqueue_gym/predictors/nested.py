"""What models that are made of other models share: the other one is read from its spec."""

from dataclasses import replace
from typing import Any, ClassVar

from llmqueue_gym.distributions.base import Distribution
from llmqueue_gym.predictors import predictor
from llmqueue_gym.predictors.base import Predictor


class Nested(Predictor):
    """A model made of others. Within the spec of this one a `;` stands for the comma of theirs.

    Attributes:
        models: names of the fields that hold them.
    """

    models: ClassVar[tuple[str, ...]] = ("model",)

    def __post_init__(self) -> None:
        for name in self.models:
            if isinstance(given := getattr(self, name), str):
                object.__setattr__(self, name, predictor(given.replace(";", ",")))

    def part(self, name: str = "model") -> Predictor:
        """Return the model in a field."""
        return predictor(getattr(self, name))

    def bind(self, size: Distribution) -> Any:
        """Return this model with the others fitted to a size law."""
        return replace(self, **{name: self.part(name).bind(size) for name in self.models})
