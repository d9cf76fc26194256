"""Log-normal lengths: two means, two spreads and what ties prompt and output together."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.requests.lengths import Lengths, whole_tokens


@dataclass(frozen=True)
class LognormalLengths(Lengths):
    """Prompt and output log-normal, then rounded to whole tokens of at least 1, which lifts means of a few tokens.

    The defaults are round numbers, not measured ones.

    Attributes:
        prompt: mean prompt, tokens.
        output: mean output, tokens.
        prompt_sigma: standard deviation of the logarithm of the prompt; 0 is constant.
        output_sigma: the same of the output.
        correlation: of the two logarithms.
    """

    name: ClassVar[str] = "lognormal"
    prompt: float = 1000.0
    output: float = 200.0
    prompt_sigma: float = 1.0
    output_sigma: float = 1.0
    correlation: float = 0.0

    def __post_init__(self) -> None:
        for what in ("prompt", "output"):
            if not 1 <= getattr(self, what) < np.inf:
                raise BadInput(f"lognormal: {what}={getattr(self, what):g} must be finite and at least 1 token")
        for what in ("prompt_sigma", "output_sigma"):
            if not 0 <= getattr(self, what) < np.inf:
                raise BadInput(f"lognormal: {what}={getattr(self, what):g} must be finite and not negative")
        if not -1 <= self.correlation <= 1:
            raise BadInput(f"lognormal: correlation={self.correlation:g} must lie between -1 and 1")

    def sample(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return lengths, two normal numbers of `rng` for each request."""
        a, b = rng.standard_normal((2, n))
        b = self.correlation * a + np.sqrt(1 - self.correlation**2) * b
        prompts = self.prompt * np.exp(self.prompt_sigma * a - self.prompt_sigma**2 / 2)
        return whole_tokens(prompts), whole_tokens(
            self.output * np.exp(self.output_sigma * b - self.output_sigma**2 / 2)
        )
