"""Two classes by estimated size: those at most the threshold first, each class first come first served.

Without preemption. In overload, with impatient jobs, it serves as many as serving all of them by estimated size
(`spjf`), in the limit of many servers.

Source: Dong, Ibrahim, Shortest-Job-First Scheduling in Many-Server Queues with Impatient Customers and Noisy
Service-Time Estimates, Operations Research 2024.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import Policy
from llmqueue_gym.policies.one_bit import rank


def two_class(threshold: float = 1.0) -> Policy:
    """Estimates of at most `threshold` s first."""
    if not threshold > 0:
        raise BadInput(f"two-class: threshold={threshold:g} must be positive, as in two-class:threshold=1")
    source = "Dong, Ibrahim, Operations Research 2024"
    return Policy("two-class", rank, (threshold,), preemptive=False, shape="constant", source=source)
