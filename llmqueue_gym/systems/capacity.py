"""What a replica sustains: the largest rate at which first come first served keeps up. Loads are shares of it.

Whether it keeps up is seen on the requests of one seed, played three times over without a break. Where arrivals are
faster than service by a share x, each pass leaves a backlog of x times its length, so that requests of the next one
wait that much longer; where they are slower, waits settle. So it keeps up if the mean wait until a request is first
scheduled is in the third pass at most 1 % of a pass's length above that in the second. Both hold the very same requests
and bursts, so neither a busy second half of a trace nor a burst within it is mistaken for overload, and neither a short
trace nor a long burst hides one. Where prefixes are cached, each pass has texts of its own, so that it finds in the
cache what its own requests share and nothing that only the repetition put there.

The search is deterministic; with the 1 % above and its own 1 % the result is good to 2 % of what these requests would
give if they came again for ever. It takes seconds, so what was found is kept, in memory and in a file of the user's
cache, under a key of all that it depends on: requests, profile, rules, and the code of the engine.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import never_refreshed
from llmqueue_gym.storage import write_text
from llmqueue_gym.workloads.contexts import picked, retold

if TYPE_CHECKING:
    from llmqueue_gym.systems.base import Drawn
    from llmqueue_gym.systems.scenario import Scenario

GROWTH = 0.01  # s by which waits may grow in each second of arrivals before the replica counts as falling behind
SAMPLE, STRETCHES = 10_000, 20  # most requests of a pass: of a longer stream, so many stretches from all over it
REQUESTS = 2000  # fewest in a pass of the run that decides this; a shorter stream is repeated within it
TOLERANCE = 0.01  # relative, of the capacity
FOLDER_VARIABLE = "LLMQUEUE_CACHE"  # of what was found; the user's cache folder unless told otherwise

Progress = Callable[[int, int], None]  # (done, total)


class Capacity(NamedTuple):
    """The largest rate at which first come first served keeps up.

    Attributes:
        rate_scale: factor on the workload's rate.
        rate: requests/s.
        backlog_rate: requests/s that it completes while a backlog never ends, for comparison.
        requests: that it was looked for with.
    """

    rate_scale: float
    rate: float
    backlog_rate: float
    requests: int


_FOUND: dict[str, Capacity] = {}


def capacity(scenario: "Scenario", seed: int = 0, progress: Progress | None = None) -> Capacity:
    """Return the capacity of a scenario of a replica, looked for where it was not found before.

    Args:
        scenario: where; its own load and rate do not matter.
        seed: of the requests.
        progress: called with (runs done, runs expected) while it is looked for.

    Raises:
        BadInput: all requests arrive at one time, so there is no rate; or not all of them are ever done.
    """
    plain = _plain(scenario)
    drawn = sample(_told(plain.draw(seed, "fcfs"), plain.system))
    key = _key(drawn, plain.system)
    if key not in _FOUND:
        file = _folder() / f"{key}.json"
        _FOUND[key] = _stored(file) or _kept(file, search(drawn, plain.system, progress))
    return _FOUND[key]


def sample(drawn: "Drawn") -> "Drawn":
    """Return at most `SAMPLE` of the requests, at the rate of all: stretches of neighbours, evenly over the stream."""
    n = len(drawn.sizes)
    if n <= SAMPLE:
        return drawn
    each = SAMPLE // STRETCHES
    rows = (np.linspace(0, n - each, STRETCHES).astype(int)[:, None] + np.arange(each)).ravel()
    gaps = np.diff(drawn.work["arrival"], prepend=drawn.work["arrival"][0])[rows]
    work = drawn.work[rows]
    work["place"] = np.arange(len(rows))
    times = np.cumsum(gaps) - gaps[0]
    if times[-1] > 0:
        times *= (len(rows) - 1) / recorded_rate(drawn.work) / times[-1]
    set_arrivals(work, times)
    truth = {"sizes": drawn.sizes[rows], "refreshed": never_refreshed(len(rows))}
    if "contexts" in drawn.truth:
        truth["contexts"] = picked(drawn.truth["contexts"], rows)
    return drawn._replace(work=work, truth=truth)


def search(drawn: "Drawn", system: Any, progress: Progress | None = None) -> Capacity:
    """Look for the capacity by bisection; for the arguments see `capacity`."""
    system = replace(system, rules=replace(system.bound_rules, horizon=np.inf), cut_off=np.inf)  # to the end, always
    rate = recorded_rate(drawn.work)
    done, total = 0, 10

    def holds(scale: float) -> bool:
        nonlocal done
        done += 1
        if progress is not None:
            progress(min(done, total), total)
        return keeps_up(drawn._replace(work=stretched(drawn.work, scale)), system)

    backlog_rate = backlog_throughput(drawn, system)
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
    return Capacity(low, low * rate, backlog_rate, len(drawn.sizes))


def keeps_up(drawn: "Drawn", system: Any) -> bool:
    """Tell whether first come first served keeps up with requests that come again and again."""
    block = repeated(drawn, -(-REQUESTS // len(drawn.sizes)))
    n, passes = len(block.sizes), repeated(block, 3)
    run = system.simulate(passes, system.policies("fcfs"))
    if not run.done.all():
        return False
    wait = (run.outcome["scheduled"] - passes.work["arrival"]).reshape(3, n).mean(axis=1)
    return bool(wait[2] - wait[1] <= GROWTH * (passes.work["arrival"][n] - passes.work["arrival"][0]))


def backlog_throughput(drawn: "Drawn", system: Any) -> float:
    """Return the requests/s that first come first served completes while all others wait.

    The requests are played twice over, all there from the start; the rate is that of the second pass, from the last
    completion of the first half to the last of the second.
    """
    at_once = repeated(drawn, 2 * -(-REQUESTS // len(drawn.sizes)))
    set_arrivals(at_once.work, np.zeros(len(at_once.sizes)))
    run = system.simulate(at_once, system.policies("fcfs"))
    if not run.done.all():
        raise BadInput(f"fcfs never gets done with these requests ({run.reason}), so there is no capacity")
    half = len(at_once.sizes) // 2
    ends = np.sort(run.outcome["completion"])
    return float(half / (ends[-1] - ends[half - 1]))


def recorded_rate(requests: np.ndarray) -> float:
    """Return the requests/s of a table `(n,)`, by its gaps; BadInput where all arrive at one time."""
    arrival = requests["arrival"]
    span = float(arrival[-1] - arrival[0])
    if not span > 0:
        raise BadInput(
            f"{len(arrival)} request(s) that arrive at one time have no rate; a load needs two times at least"
        )
    return (len(arrival) - 1) / span


def stretched(requests: np.ndarray, rate_scale: float) -> np.ndarray:
    """Return requests `(n,)` at a rate larger by a factor: arrival times are divided by it."""
    requests = requests.copy()
    set_arrivals(requests, requests["arrival"] / rate_scale)
    return requests


def repeated(drawn: "Drawn", passes: int) -> "Drawn":
    """Return the requests several times over, a mean gap between passes, with the predictions on arrival alone."""
    n, requests = len(drawn.sizes), np.tile(drawn.work, passes)
    arrival = drawn.work["arrival"] - drawn.work["arrival"][0]
    period = arrival[-1] * n / max(n - 1, 1)
    set_arrivals(requests, np.concatenate([arrival + k * period for k in range(passes)]))
    requests["place"] = np.arange(n * passes)
    truth = {"sizes": np.tile(drawn.sizes, passes), "refreshed": never_refreshed(n * passes)}
    if "contexts" in drawn.truth:
        truth["contexts"] = retold(drawn.truth["contexts"], passes)
    return drawn._replace(work=requests, truth=truth)


def set_arrivals(requests: np.ndarray, times: np.ndarray) -> None:
    """Let requests `(n,)`, which have not begun, arrive at sorted times, s."""
    requests["arrival"] = requests["last_token"] = requests["last_scheduled"] = times


def _plain(scenario: "Scenario") -> "Scenario":
    """Return the scenario at the rate of what it is sampled from, which reads no prediction."""
    few = {"n_jobs": min(scenario.n_jobs, SAMPLE), "rate": 1.0} if scenario.workload is None else {"rate": None}
    return replace(scenario, load=None, predictor="exact", **few)


def _told(drawn: "Drawn", system: Any) -> "Drawn":
    """Return the requests without what their prompts consist of, where nothing is cached."""
    if system.bound_rules.caching != "none":
        return drawn
    return drawn._replace(truth={name: table for name, table in drawn.truth.items() if name != "contexts"})


def _key(drawn: "Drawn", system: Any) -> str:
    """Return a fingerprint of all that a capacity depends on."""
    text = hashlib.sha256(_engine())
    for column in ("arrival", "prompt", "weight"):
        text.update(np.ascontiguousarray(drawn.work[column]).tobytes())
    text.update(np.ascontiguousarray(drawn.sizes).tobytes())
    for table in drawn.truth.get("contexts", ()):
        text.update(np.ascontiguousarray(table).tobytes())
    profile = system.cost_profile
    text.update(np.ascontiguousarray(profile.numbers, float).tobytes())
    rules = replace(system.bound_rules, horizon=np.inf)
    text.update(repr((profile.form, profile.kv_bytes_per_token, rules)).encode())
    return text.hexdigest()


@cache
def _engine() -> bytes:
    """Return a fingerprint of the code of the engine and of the search."""
    from llmqueue_gym.engines import batching

    files = [Path(__file__), *sorted(Path(batching.__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).digest()


def _folder() -> Path:
    given = os.environ.get(FOLDER_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "llmqueue_gym", "capacity")


def _stored(file: Path) -> Capacity | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Capacity(*(kind(found[name]) for name, kind in Capacity.__annotations__.items()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kept(file: Path, found: Capacity) -> Capacity:
    """Write what was found, whole or not at all; where that is not possible it is looked for again next time."""
    with suppress(OSError):
        write_text(file, json.dumps(found._asdict()))
    return found
