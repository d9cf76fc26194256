"""A serving scenario: which requests come to which replica, and what is predicted of them.

Load is a share of the capacity, the largest rate at which first come first served keeps up; see `capacity`.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from llmqueue_gym.engines.batching.rules import Rules, rule_set
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.serving.closed_loop import Served, serve
from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.predictors.lengths import LengthPredictor, length_predictor
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import Requests, never_refreshed
from llmqueue_gym.workloads.requests import RequestWorkload, draw_requests

PREDICTOR = "lognormal:sigma=0.5"
GROWTH = 0.01  # s by which waits may grow in each second of arrivals before the replica counts as falling behind
REQUESTS = 2000  # fewest in a pass of the run that decides this; a shorter stream is repeated within it
TOLERANCE = 0.01  # relative, of the capacity

Progress = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True)
class ServingScenario:
    """Requests of a workload on a replica. Each part is a spec, such as `azure-conv`, or the object.

    Attributes:
        workload: anything with `sample` and `output_sample` (see `workloads.requests`); a spec is a law of lengths with
            Poisson arrivals, 1 a second before `rate_scale` or `load`.
        predictor: of output lengths; a policy that brings its own is given that one.
        profile: cost profile.
        rules: rule set.
        n: requests of a run; fewer where the workload has fewer.
        rate_scale: factor on the workload's rate; its arrival times are divided by it.
        load: if given, the rate scale is this share of the capacity, and `rate_scale` must stay 1.
        known_capacity: the capacity, where it was found before; otherwise it is looked for when it is needed.
    """

    workload: Any = "azure-conv"
    predictor: str | LengthPredictor = PREDICTOR
    profile: str | Profile = "a100-llama3-8b"
    rules: str | Rules = "vllm-v1"
    n: int = 10_000
    rate_scale: float = 1.0
    load: float | None = None
    known_capacity: "Capacity | None" = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise BadInput(f"n={self.n}: at least one request is needed")
        if not 0 < self.rate_scale < np.inf:
            raise BadInput(f"rate_scale={self.rate_scale:g} must be positive and finite")
        if self.load is not None and not 0 < self.load < np.inf:
            raise BadInput(f"load={self.load:g} must be positive and finite, for example 0.8")
        if self.load is not None and self.rate_scale != 1:
            raise BadInput(f"load={self.load:g} sets the rate, so rate_scale={self.rate_scale:g} must be left out")
        _ = self.source, self.replica, self._own_predictor  # a wrong part is found here, not at the first run

    @cached_property
    def source(self) -> Any:
        """What requests are drawn from."""
        return RequestWorkload(self.workload, rate=1.0) if isinstance(self.workload, str) else self.workload

    @cached_property
    def replica(self) -> tuple[Profile, Rules]:
        """The cost profile, and the rule set with the blocks that its memory holds."""
        profile = cost_profile(self.profile)
        return profile, rule_set(self.rules).on(profile.kv_tokens)

    @cached_property
    def _own_predictor(self) -> LengthPredictor:
        return length_predictor(self.predictor).bind(self.source.output_sample())

    @cached_property
    def capacity(self) -> "Capacity":
        """What first come first served sustains."""
        return self.known_capacity or capacity(self)

    def bound_predictor(self, policy: Any = None) -> LengthPredictor:
        """Return the predictor that a policy gets, fitted to the workload's lengths."""
        brought = None if policy is None else serving_policy(policy).predictor
        return self._own_predictor if brought is None else length_predictor(brought).bind(self.source.output_sample())

    def draw(self, policy: Any = None, seed: int = 0) -> Requests:
        """Return the requests of a seed; arrivals and lengths are the same for every policy and predictor."""
        given = draw_requests(self.source, self.bound_predictor(policy), self.n, seed)
        return stretched(given, self.load * self.capacity.rate_scale if self.load else self.rate_scale)

    def serve(self, policy: Any = "fcfs", seed: int = 0) -> Served:
        """Play a policy on the requests of a seed.

        Raises:
            BadInput: a request could never be served, or the policy cannot be compiled.
        """
        policy = serving_policy(policy)
        return serve(self.draw(policy, seed), policy, *self.replica)

    def to_dict(self) -> dict[str, Any]:
        """Return the scenario in words, for the record; with its capacity where the load is stated."""
        told = {
            "workload": self.workload if isinstance(self.workload, str) else described(self.workload),
            "predictor": str(self.predictor),
            "profile": self.profile if isinstance(self.profile, str) else self.profile.name,
            "rules": self.rules if isinstance(self.rules, str) else asdict(self.rules),
            "n": self.n,
        }
        if self.load is None:
            return {**told, "rate_scale": self.rate_scale}
        return {**told, "load": self.load, "capacity": self.capacity._asdict()}


class Capacity(NamedTuple):
    """The largest rate at which first come first served keeps up.

    Attributes:
        rate_scale: factor on the workload's rate.
        rate: requests/s.
        backlog_rate: requests/s that it completes while a backlog never ends, for comparison.
    """

    rate_scale: float
    rate: float
    backlog_rate: float


def capacity(scenario: ServingScenario, seed: int = 0, progress: Progress | None = None) -> Capacity:
    """Find the largest factor on the rate at which first come first served keeps up, by bisection.

    Whether it keeps up is seen on the requests of one seed, played three times over without a break. Where arrivals are
    faster than service by a share x, each pass leaves a backlog of x times its length, so that requests of the next one
    wait that much longer; where they are slower, waits settle. So it keeps up if the mean wait until a request is first
    scheduled is in the third pass at most 1 % of a pass's length above that in the second. Both hold the very same
    requests and bursts, so neither a busy second half of a trace nor a burst within it is mistaken for overload, and
    neither a short trace nor a long burst hides one.

    The search is deterministic; with the 1 % above and its own 1 % the result is good to 2 % of what these requests
    would give if they came again for ever. It ends near `backlog_rate`, which is measured in another way, with all
    requests there at once.

    Args:
        scenario: where; its own `load` and `rate_scale` do not matter.
        seed: of the requests.
        progress: called with (runs done, runs expected).

    Raises:
        BadInput: all requests arrive at one time, so there is no rate; or not all of them are ever done.
    """
    plain = replace(scenario, load=None, rate_scale=1.0, known_capacity=None)
    given, (profile, rules) = plain.draw("fcfs", seed), plain.replica
    rules = replace(rules, horizon=np.inf)  # a run that is cut off says nothing of what could be sustained
    rate = recorded_rate(given)
    done, total = 0, 10

    def holds(scale: float) -> bool:
        nonlocal done
        done += 1
        if progress is not None:
            progress(min(done, total), total)
        return keeps_up(stretched(given, scale), profile, rules)

    backlog_rate = backlog_throughput(given, profile, rules)
    low, high = 0.8 * backlog_rate / rate, 1.1 * backlog_rate / rate
    while not holds(low):
        low, high = low / 2, low
    while holds(high):
        low, high = high, high * 2
    while high / low > 1 + TOLERANCE:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if holds(middle) else (low, middle)
    if progress is not None:
        progress(total, total)
    return Capacity(low, low * rate, backlog_rate)


def keeps_up(given: Requests, profile: Any, rules: Any) -> bool:
    """Tell whether first come first served keeps up with requests that come again and again; see `capacity`."""
    block = repeated(given, -(-REQUESTS // len(given.outputs)))
    n, run = len(block.outputs), repeated(block, 3)
    served = serve(run, "fcfs", profile, rules)
    if not served.done.all():
        return False
    wait = (served.service["scheduled"] - run.requests["arrival"]).reshape(3, n).mean(axis=1)
    return bool(wait[2] - wait[1] <= GROWTH * (run.requests["arrival"][n] - run.requests["arrival"][0]))


def backlog_throughput(given: Requests, profile: Any, rules: Any) -> float:
    """Return the requests/s that first come first served completes while all others wait.

    The requests are played twice over, all there from the start; the rate is that of the second pass, from the last
    completion of the first half to the last of the second.
    """
    at_once = repeated(given, 2 * -(-REQUESTS // len(given.outputs)))
    _set_arrivals(at_once.requests, np.zeros(len(at_once.outputs)))
    served = serve(at_once, "fcfs", profile, rules)
    if not served.done.all():
        raise BadInput(f"fcfs never gets done with these requests ({served.reason}), so there is no capacity")
    half = len(at_once.outputs) // 2
    ends = np.sort(served.service["completion"])
    return float(half / (ends[-1] - ends[half - 1]))


def recorded_rate(given: Requests) -> float:
    """Return the requests/s of a table, by its gaps; BadInput where all arrive at one time."""
    arrival = given.requests["arrival"]
    span = float(arrival[-1] - arrival[0])
    if not span > 0:
        raise BadInput(
            f"{len(arrival)} request(s) that arrive at one time have no rate; a load needs two times at least"
        )
    return (len(arrival) - 1) / span


def stretched(given: Requests, rate_scale: float) -> Requests:
    """Return the requests at a rate larger by a factor: arrival times are divided by it."""
    requests = given.requests.copy()
    _set_arrivals(requests, requests["arrival"] / rate_scale)
    return given._replace(requests=requests)


def repeated(given: Requests, passes: int) -> Requests:
    """Return the requests several times over, a mean gap between passes, with the predictions on arrival alone."""
    n = len(given.outputs)
    arrival = given.requests["arrival"] - given.requests["arrival"][0]
    period = arrival[-1] * n / max(n - 1, 1)
    requests = np.tile(given.requests, passes)
    _set_arrivals(requests, np.concatenate([arrival + k * period for k in range(passes)]))
    requests["place"] = np.arange(n * passes)
    return Requests(requests, np.tile(given.outputs, passes), never_refreshed(n * passes))


def described(workload: Any) -> str:
    """Return a workload in words: its class and what was set, long arrays as the number of rows."""
    fields = getattr(workload, "__dataclass_fields__", {})
    values = {key: getattr(workload, key) for key in fields if fields[key].repr}
    words = [f"{key}={f'{len(v)} rows' if isinstance(v, np.ndarray) else v}" for key, v in values.items()]
    return f"{type(workload).__name__}({', '.join(words)})"


def _set_arrivals(requests: np.ndarray, times: np.ndarray) -> None:
    requests["arrival"] = requests["last_token"] = requests["last_scheduled"] = times
