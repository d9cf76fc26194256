"""What first come first served keeps up with on each stream and profile: loads are shares of it.

The search (`serving.scenario.capacity`) takes seconds, so what it found on the known streams is stored in `capacities`.
A stored number counts only for the very requests that it was found on, which are told apart by their fingerprint; for
others the search is done anew.
"""

from llmqueue_gym.evaluation.bench.llm.capacities import FOUND
from llmqueue_gym.evaluation.bench.llm.streams import Stream, fingerprint
from llmqueue_gym.evaluation.serving.scenario import Capacity, ServingScenario, capacity

SEED, DRAWN = 0, 20_000  # requests, where they are drawn; a recording is taken whole


def scenario(stream: Stream, profile: str) -> ServingScenario:
    """Return where the capacity is looked for."""
    source = stream.source()
    return ServingScenario(source, "exact", profile, n=len(source) if stream.replayed else DRAWN)


def stored(stream: Stream, profile: str) -> float | None:
    """Return the stored capacity, requests/s, or None where none is stored for these requests."""
    rates = FOUND.get(fingerprint(scenario(stream, profile).draw(seed=SEED)), {})
    return rates.get(profile)


def find(stream: Stream, profile: str) -> Capacity:
    """Look for the capacity."""
    return capacity(scenario(stream, profile), SEED)


def rate_of(stream: Stream, profile: str) -> tuple[float, bool]:
    """Return the capacity, requests/s, and whether it was stored."""
    known = stored(stream, profile)
    return (find(stream, profile).rate, False) if known is None else (known, True)
