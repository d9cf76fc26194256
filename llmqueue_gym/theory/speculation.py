"""Speculative decoding: a draft of g tokens, of which the target model keeps those up to the first that it refuses.

Drafts are accepted independently with probability a, or position by position. A step yields what is accepted and one
token of the target model's own. With c the time of a draft token over that of a step of the target model alone,

    E[tokens] = (1 - a^(g+1)) / (1 - a),    speed-up = E[tokens] / (g c + 1),

as long as it takes no longer to verify g + 1 tokens than to decode one. In a batch it does: then both times are
functions of the batch, and from some load on more drafting is harmful.

Source: Leviathan, Kalman, Matias, "Fast Inference from Transformers via Speculative Decoding", ICML 2023, theorem 3.8.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq

from llmqueue_gym.errors import BadInput

LONGEST = 64  # draft that is looked at


def expected_tokens(g: int, a: float) -> float:
    """Return the expected tokens of a step with g drafts, each accepted with probability a in [0, 1]."""
    if g < 0 or g != int(g):
        raise BadInput(f"g={g} draft tokens; a whole number, 0 or more")
    if not 0 <= a <= 1:
        raise BadInput(f"a={a:g} must be a probability of acceptance, in [0, 1]")
    return float(g + 1) if a == 1 else (1 - a ** (g + 1)) / (1 - a)


def positional_tokens(accepted: Sequence[float], g: int | None = None) -> float:
    """Return the expected tokens of a step.

    Args:
        accepted: probability that the draft at each position is accepted, with all before it, `(most,)`.
        g: drafts, as many as there are unless told otherwise.
    """
    chances = np.asarray(accepted, float)
    good = chances.ndim == 1 and ((chances >= 0) & (chances <= 1)).all() and (np.diff(chances) <= 0).all()
    if not good:
        raise BadInput(f"accepted={list(accepted)} must be probabilities that do not rise with the position")
    if g is not None and not 0 <= g <= len(chances):
        raise BadInput(f"g={g} draft tokens; acceptance is known of 0 to {len(chances)}")
    return float(1 + chances[:g].sum())


def acceptance_of(tokens: float, g: int) -> float:
    """Return the a with which g drafts give so many tokens a step, from 1 to g + 1."""
    if not 1 <= tokens <= g + 1:
        raise BadInput(f"tokens={tokens:g} a step cannot come of {g} drafts, which give from 1 to {g + 1}")
    if tokens in (1, g + 1):
        return float(tokens > 1)
    return float(brentq(lambda a: expected_tokens(g, a) - tokens, 0.0, 1.0, xtol=1e-14))


def speed_up(g: int, a: float, c: float) -> float:
    """Return how much faster tokens come than without drafts, for a draft token that costs c steps."""
    if not c >= 0:
        raise BadInput(f"c={c:g} must not be negative: the time of a draft token over that of a step")
    return expected_tokens(g, a) / (g * c + 1)


def best_draft(a: float, c: float, most: int = LONGEST) -> int:
    """Return the g of the greatest speed-up, the least of equal ones."""
    return int(np.argmax([speed_up(g, a, c) for g in range(most + 1)]))


@dataclass(frozen=True)
class BatchedSpeculation:
    """A batch whose requests all draft g tokens in each step, which are verified together.

    In a tandem drafts are made on a replica of their own. The requests are then two halves that take turns, and the
    slower of the two replicas sets the pace; one alone has to wait for both.

    Attributes:
        verify: time of a step of the target model, s, of so many requests with so many tokens each.
        draft: time of one token of the draft model for so many requests, s.
        acceptance: of each draft token.
        tandem: whether it is a tandem.
    """

    verify: Callable[[int, int], float]
    draft: Callable[[int], float]
    acceptance: float
    tandem: bool = False

    def cycle(self, batch: int, g: int) -> float:
        """Return the time in which each of so many requests has one step, s."""
        part = (batch + 1) // 2 if self.tandem else batch
        drafting, verifying = g * self.draft(part), self.verify(part, g + 1)
        return 2 * max(drafting, verifying) if self.tandem and batch > 1 else drafting + verifying

    def throughput(self, batch: int, g: int) -> float:
        """Return the tokens per s of a batch whose requests draft g tokens."""
        return batch * expected_tokens(g, self.acceptance) / self.cycle(batch, g)

    def best_draft(self, batch: int, most: int = 16) -> int:
        """Return the g of the greatest throughput, the least of equal ones."""
        return int(np.argmax([self.throughput(batch, g) for g in range(most + 1)]))

    def harmful_from(self, g: int, less: int = 0, most: int = 1024) -> int | None:
        """Return the least batch from which on g drafts give fewer tokens per s than `less`; None up to `most`.

        From there on they do so for each larger batch that is looked at, too.
        """
        if not 0 <= less < g:
            raise BadInput(f"less={less} must be from 0 to below g={g}")
        harmful = [self.throughput(batch, g) < self.throughput(batch, less) for batch in range(1, most + 1)]
        helpful = [batch for batch, harms in enumerate(harmful, 1) if not harms]
        first = helpful[-1] + 1 if helpful else 1
        return first if first <= most else None
