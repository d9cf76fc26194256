"""A weak and a strong model: accuracy and share of strong calls at each threshold, and what a router is worth.

A router gives each call a score, and calls of at least a threshold go to the strong model. Between two thresholds, and
from the first to none at all, shares in between come of choosing between the two at random, so a front is straight
between its points.

Source: Ong et al., "RouteLLM: Learning to Route LLMs with Preference Data", ICLR 2025: PGR, APGR and CPT. Their APGR is
the mean over ten shares; here it is the integral.
"""

from typing import Any, NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.choice import ChoicePolicy


class Front(NamedTuple):
    """What each threshold gives, the highest first.

    Attributes:
        threshold: `(k,)`, every score there is, and infinity before them.
        share: of strong calls `(k,)`, from 0 to 1.
        accuracy: of all calls `(k,)`, from that of the weak model to that of the strong one.
    """

    threshold: np.ndarray
    share: np.ndarray
    accuracy: np.ndarray

    @property
    def recovered(self) -> np.ndarray:
        """PGR `(k,)`: the share of the gap between the two models that is recovered."""
        weak, strong = self.accuracy[0], self.accuracy[-1]
        if weak == strong:
            raise BadInput(f"both models have accuracy {weak:g}: there is no gap to recover")
        return (self.accuracy - weak) / (strong - weak)

    @property
    def mean_recovered(self) -> float:
        """APGR: the mean of PGR over all shares of strong calls; 1/2 of a router that knows nothing."""
        return float(np.trapezoid(self.recovered, self.share))

    def calls_for(self, recovered: float) -> float:
        """Return CPT: the least share of strong calls at which so much of the gap is recovered, in [0, 1]."""
        if not 0 <= recovered <= 1:
            raise BadInput(f"recovered={recovered:g} must be a share of the gap, from 0 to 1")
        got = self.recovered
        at = int(np.argmax(got >= recovered - 1e-12))
        if at == 0:
            return 0.0
        rise = got[at] - got[at - 1]
        share = self.share[at - 1] + (self.share[at] - self.share[at - 1]) * (recovered - got[at - 1]) / rise
        return float(share)


def front(scores: np.ndarray, right: np.ndarray) -> Front:
    """Return the front of a router.

    Args:
        scores: `(n,)`, of each call.
        right: `(n, 2)`, whether the weak and the strong model answer it rightly.
    """
    scores, right = np.asarray(scores, float), np.asarray(right, float)
    if not len(scores) or right.shape != (len(scores), 2) or np.isnan(scores).any():
        raise BadInput(f"scores {scores.shape} and right {right.shape} must be (n,) and (n, 2), without NaN")
    order = np.argsort(-scores, kind="stable")
    gained = np.cumsum((right[:, 1] - right[:, 0])[order])
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # equal scores go the same way
    n, weak = len(scores), right[:, 0].sum()
    share, accuracy = np.append(0.0, (last + 1) / n), np.append(weak, weak + gained[last]) / n
    return Front(np.append(np.inf, scores[order][last]), share, accuracy)


def chosen(policy: ChoicePolicy, calls: np.ndarray, models: np.ndarray) -> np.ndarray:
    """Return the model that each call is sent to first `(n,)`, int64.

    Args:
        policy: a rule.
        calls: `CALL` rows `(n,)`.
        models: `MODEL` rows `(n, m)`, the weakest first.
    """
    params: Any = policy.params_for()
    rows, options = calls.view(np.recarray), models.view(np.recarray)
    found = np.zeros(len(calls), np.int64)
    for i in range(len(calls)):
        scores = [float(policy.score(rows[i], options[i, k], params)) for k in range(models.shape[1])]
        if np.isnan(scores).any():
            raise BadInput(f"{policy.kind} {policy.name!r} gives NaN to call {i}; it must be a number")
        found[i] = int(np.argmin(scores))
    return found
