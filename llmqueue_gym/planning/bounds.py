"""What no number of replicas, or no fewer of them, can do; so they need not be simulated.

Alone: on a replica that has nothing else to do a request is served as fast as that kind can. Where too few requests are
within the limits there, more replicas do not help.

Charges: an iteration of N tokens takes at least F + token N + pair P + context C, with F its base (or its floor, and no
time for tokens). Each request pays for its own tokens and attention, and its part of F by one of three keys: its tokens
over the budget, itself over the seats, or what it holds over the memory; the payments of an iteration come to its
duration at most. Requests within the limits have paid when their limit ends, so those of a window of length T pay
within T and the longest of these limits, of n replicas at most n s in each second, and at least those who pay least are
wanted. (The charges are those of `theory.clairvoyant`.)
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput, NotApplicable
from llmqueue_gym.planning.menu import Kind
from llmqueue_gym.planning.objective import Objective
from llmqueue_gym.planning.windows import LEAD, MOST_ASKED, Windows
from llmqueue_gym.requests import never_refreshed
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.capacity import set_arrivals
from llmqueue_gym.systems.replica import Replica
from llmqueue_gym.systems.run import Run
from llmqueue_gym.theory.clairvoyant import roofline_below
from llmqueue_gym.workloads.contexts import picked

APART = 1e5  # s between requests that are to find an empty replica
LOOKED_AT = 2000  # requests alone


def alone(kind: Kind, drawn: Drawn, objective: Objective) -> Mapping[str, np.ndarray] | None:
    """Return which requests are above each limit where each has a replica for itself; None where that is no bound.

    Where prefixes are cached, others help.
    """
    if not _is_bounded(kind):
        return None
    run = _each_alone(kind, drawn)
    return objective.missed(run) if run.done.all() else None


def check_long_enough(kind: Kind, drawn: Drawn, windows: Windows) -> None:
    """Refuse windows whose lead is shorter than the mean time of a request alone: they end before a fleet is full."""
    run = _each_alone(kind, drawn)
    service = float(np.nanmean(run.response_times)) if run.done.any() else 0.0
    if LEAD * windows.seconds >= service:
        return
    said = (
        f"windows of {windows.seconds:.3g} s are too short: a request takes {service:.3g} s alone on {kind.name}, and "
    )
    least = int(np.ceil(service / LEAD * windows.rate))
    if least <= MOST_ASKED:
        raise BadInput(f"{said}a window must have {1 / LEAD:.0f} times that; give --requests {least} or more")
    raise BadInput(
        f"{said}{MOST_ASKED:,} requests at {windows.rate:.3g}/s have not {1 / LEAD:.0f} times that; the rate may be "
        f"{MOST_ASKED * LEAD / service:.3g}/s at most"
    )


def _each_alone(kind: Kind, drawn: Drawn) -> Run:
    """Return the run of requests each of which finds a replica empty."""
    few = slice(0, LOOKED_AT)
    work, sizes = drawn.work[few].copy(), drawn.sizes[few]
    set_arrivals(work, APART * np.arange(len(work)))
    replica, truth = Replica(kind.profile, kind.rules), {"sizes": sizes, "refreshed": never_refreshed(len(sizes))}
    if "contexts" in drawn.truth:
        truth["contexts"] = picked(drawn.truth["contexts"], np.arange(len(sizes)))
    return replica.simulate(Drawn(work, truth), replica.policies("fcfs"))


def least_replicas(kind: Kind, drawn: Drawn, lead: int, objective: Objective, first: bool = False) -> int:
    """Return how many replicas of a kind a window needs at least; 1 where no bound is known.

    Args:
        kind: of the replicas.
        drawn: the requests of a window.
        lead: of them, those that do not count.
        objective: what is to be kept.
        first: whether only prompts are to be read.
    """
    work, outputs, limits = drawn.work[lead:], drawn.sizes[lead:], objective.limits
    times = np.full(len(outputs), limits.get("e2e", np.inf))
    if "ttft" in limits and "tpot" in limits:
        times = np.minimum(times, limits["ttft"] + limits["tpot"] * (outputs - 1))
    if first or not np.isfinite(times).all():
        until = min((limits[name] for name in ("ttft", "e2e") if name in limits), default=np.inf)
        times, outputs = np.full(len(outputs), until), np.ones_like(outputs)
    if not np.isfinite(times).all() or not _is_bounded(kind):
        return 1
    wanted = int(np.ceil(objective.share * len(work)))
    span = float(work["arrival"][-1] - work["arrival"][0] + times.max())
    paid = [np.sort(each)[:wanted].sum() for each in charges(kind, work["prompt"].astype(float), outputs.astype(float))]
    return max(1, int(np.ceil(max(paid) / span - 1e-9)))


def charges(kind: Kind, prompts: np.ndarray, outputs: np.ndarray) -> list[np.ndarray]:
    """Return what each request pays at least, by each part F and each key, six of `(n,)`, s of a replica."""
    rules: Any = kind.bound_rules
    outputs = np.maximum(np.minimum(outputs, rules.longest - prompts), 1.0)
    floor, base, token, pair, context = roofline_below(kind.profile)
    tokens, held = prompts + outputs - 1, outputs * prompts + outputs * (outputs - 1) / 2
    # Who is given up computes tokens anew and reads no context in that iteration, which is no cheaper from 2 tokens on.
    attention = pair * prompts**2 / 2 + min(context, token / 2) * (held - prompts)
    parts = [tokens / rules.token_budget, outputs / rules.max_seqs, held / (rules.blocks * rules.block_size)]
    fixed = ((floor, attention), (base, attention + token * tokens))
    return [own + each * part for each, own in fixed for part in parts]


def cannot_hold(kind: Kind, drawn: Drawn) -> str:
    """Return why a kind could never serve one of the requests, or nothing."""
    served = kind.bound_rules.serves(drawn.work["prompt"].astype(np.int64), drawn.sizes)
    if served.all():
        return ""
    longest = int((drawn.work["prompt"] + drawn.sizes)[~served].max())
    return f"{kind.name} cannot serve a request of {longest:,} tokens; --max-tokens leaves such out"


def _is_bounded(kind: Kind) -> bool:
    """Tell whether bounds are known: of iterations that no table times, which share nothing through caches."""
    profile: Any = kind.profile
    try:
        roofline_below(profile)
    except NotApplicable:
        return False
    rules = kind.bound_rules
    plain = rules.batching == "passes" and rules.caching == "none" and rules.stages == 1
    return plain and not rules.forget_unread
