"""Virtual token counters: who is admitted next is of the tenant that has received least.

Each tenant's counter grows by 1 for each token of a prompt that is admitted and by 2 for each output token, divided by
the tenant's weight. A tenant that comes back is lifted to the least counter of those who wait; without that it is the
least counter first (LCF), under which who was away takes all until he has caught up.

Source: Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024; Ying1123/VTC-artifact.
"""

from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.serving.base import ServingPolicy


def rank(request, system, params):
    return request.received


def vtc(lift: bool = True, weights: str = "") -> ServingPolicy:
    """Virtual token counters between tenants.

    Args:
        lift: whether a tenant that comes back is lifted; if not, it is LCF.
        weights: of tenants 0, 1 and so on with `;` between, as in 2;1; all others have 1.
    """
    source = "Sheng et al., Fairness in Serving Large Language Models, OSDI 2024"
    return ServingPolicy("vtc", rank, lifts=lift, shares=shares_of("vtc", "weights", weights), source=source)


def shares_of(policy: str, name: str, text: str) -> tuple[float, ...]:
    """Return the numbers in a text with `;` between; BadInput where one is not positive."""
    try:
        numbers = tuple(float(part) for part in text.split(";")) if text else ()
    except ValueError:
        numbers = (0.0,)
    if not all(0 < number < float("inf") for number in numbers):
        raise BadInput(f"{policy}: {name}={text!r} must be positive numbers with ; between, such as 2;1")
    return numbers
