"""The network behind every learned policy: one hidden layer and a direct path, small enough to run inside a kernel.

    value(x) = linear . x + sum over h of out[h] * softsign(weights[h] . x + bias[h]),   softsign(z) = z / (1 + |z|)

Softsign is as smooth as tanh and costs a division. The numbers lie in one vector, which is the `params` of a policy:
`[hidden, scale, linear (F), then for each hidden unit: weights (F), bias, out]`. `scale` is the unit of time or length
in which the features are taken, such as the mean size seen in training. Which features there are depends on the kind
of policy: `order`, `cluster_order`, `packing_order`, `dispatch_score`, `serving_rank`, `prefix_rank` and
`routing_score` say theirs in `FEATURES`.
"""

from typing import NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput

HEAD = 2  # numbers before `linear`


def value(x, params):
    """Return the network's value at the features x, a tuple `(F,)` of numbers."""
    n = len(x)
    total = 0.0
    for k in range(n):
        total += params[HEAD + k] * x[k]
    at = HEAD + n
    for _ in range(int(params[0])):
        z = params[at + n]
        for k in range(n):
            z += params[at + k] * x[k]
        total += params[at + n + 1] * z / (1.0 + abs(z))
        at += n + 2
    return total


class Weights(NamedTuple):
    """The numbers of a network.

    Attributes:
        linear: direct path `(F,)`.
        weights: of the hidden units `(H, F)`.
        bias: likewise `(H,)`.
        out: likewise `(H,)`.
        scale: unit of the features.
    """

    linear: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    out: np.ndarray
    scale: float = 1.0

    def pack(self) -> np.ndarray:
        """Return the vector that `value` reads `(2 + F + H (F + 2),)`."""
        units = np.column_stack([self.weights, self.bias, self.out])
        return np.concatenate([[len(self.out), self.scale], self.linear, units.ravel()]).astype(np.float64)


def unpack(params: np.ndarray, features: int) -> Weights:
    """Return the numbers of a vector for so many features.

    Raises:
        BadInput: the vector is not of that network, or holds a number that is not finite.
    """
    params = np.asarray(params, np.float64)
    hidden = int(params[0]) if len(params) > HEAD and np.isfinite(params[0]) else -1
    if hidden < 0 or len(params) != size(features, hidden):
        raise BadInput(f"{len(params)} numbers are not a network of {features} features: see policies.learned.network")
    if not np.isfinite(params).all() or params[1] <= 0:
        raise BadInput("a network's numbers must be finite and its scale positive")
    units = params[HEAD + features :].reshape(hidden, features + 2)
    return Weights(
        params[HEAD : HEAD + features], units[:, :features], units[:, features], units[:, features + 1], params[1]
    )


def checked(params: np.ndarray, features: int, direct: int = 0) -> tuple[float, ...]:
    """Return a vector as the `params` of a policy; its last `direct` numbers weigh features past the hidden units."""
    numbers = np.asarray(params, np.float64)
    unpack(numbers[: len(numbers) - direct], features)
    return tuple(numbers.tolist())


def size(features: int, hidden: int) -> int:
    """Return the length of the vector of a network."""
    return HEAD + features + hidden * (features + 2)


def random_weights(features: int, hidden: int, rng: np.random.Generator, scale: float = 1.0) -> Weights:
    """Return a network to start from: small weights, so that the direct path leads."""
    return Weights(
        np.zeros(features),
        rng.normal(0.0, 1.0 / np.sqrt(features), (hidden, features)),
        rng.normal(0.0, 0.5, hidden),
        np.zeros(hidden),
        scale,
    )
