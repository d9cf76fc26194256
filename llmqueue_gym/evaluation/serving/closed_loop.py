"""Plays a serving policy over a whole request table."""

import functools
import time
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from llmqueue_gym._jit import compile_serving, records
from llmqueue_gym.engines.batching.closed_loop import proceed
from llmqueue_gym.engines.batching.cost import FORMS
from llmqueue_gym.engines.batching.rules import PREEMPTIONS, Rules, rule_set
from llmqueue_gym.engines.batching.tables import AS_RULES, CONDUCT, FITS, PEAK, REASONS, RESERVE, Replica, fresh_replica
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.serving import serving_policy
from llmqueue_gym.policies.serving.base import ServingPolicy
from llmqueue_gym.profiles import profile as cost_profile
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import Requests

_ADMISSIONS = {"fits": FITS, "reserve": RESERVE, "peak": PEAK}


@dataclass(frozen=True, eq=False)
class Served:
    """One run of a replica.

    Attributes:
        policy: its name.
        rules: the rule set, with its blocks.
        profile: the cost profile.
        requests: `REQUEST` rows `(n,)`, as they were at the end.
        outputs: true output tokens `(n,)`.
        service: `SERVICE` rows `(n,)`.
        clock: s, when the run ended.
        reason: why: "drained", or "horizon", "stuck" (what waits can never be admitted) or "livelock".
        totals: sums over the run; columns as in `engines.batching.tables.STATE`, and the iterations.
        elapsed: s of real time in the kernel.
    """

    policy: str
    rules: Rules
    profile: Profile
    requests: np.ndarray
    outputs: np.ndarray
    service: np.ndarray
    clock: float
    reason: str
    totals: dict[str, float]
    elapsed: float

    @property
    def done(self) -> np.ndarray:
        """Which requests have completed `(n,)`."""
        return ~np.isnan(self.service["completion"])


def serve(
    given: Requests, policy: Any = "fcfs", profile: Any = "a100-llama3-8b", rules: Any = "vllm-v1", **changes: Any
) -> Served:
    """Serve a table of requests to its end.

    Args:
        given: requests, true output lengths and refreshed predictions; not changed.
        policy: serving policy, its spec or a function `rank(request, system, params)`.
        profile: cost profile or its spec.
        rules: rule set or its spec.
        changes: fields of the rule set to change, such as `max_seqs=64`.

    Raises:
        BadInput: a request could never be served, or a function cannot be compiled or gives NaN.
    """
    policy, profile = serving_policy(policy), cost_profile(profile)
    rules = rules_for(policy, profile, rules, **changes)
    rules.check(given.requests, given.outputs)
    replica = load(given, rules, policy.merged)
    *loop, rank, victim, length, progress, params = kernel_arguments(policy, profile, rules)
    functions = (rank, victim, length, progress, params)
    start = time.perf_counter()
    proceed(0, replica, *loop, 0, 0, *functions)
    elapsed = time.perf_counter() - start
    return finished(replica, given, policy, profile, rules, elapsed)


def rules_for(policy: ServingPolicy, profile: Profile, rules: Any, **changes: Any) -> Rules:
    """Return the rule set that a run follows: as named, changed by the policy and by hand, on the profile's memory.

    Raises:
        BadInput: the policy and the rule set both want to decide who joins a batch, or a field does not exist.
    """
    made = rule_set(rules)
    changes = {**policy.rules, **changes}
    names = [field.name for field in fields(made)]
    for key in changes:
        if key not in names:
            raise BadInput(f"rule set {made.name!r} has no field {key!r}; {nearest(key, names)}")
    made = replace(made, **changes).on(profile.kv_tokens)
    if policy.merged and (made.request_level or made.padded):
        raise BadInput(f"policy {policy.name!r} fills batches by rank, which {made.name!r} forbids; choose vllm-v1")
    return made


def load(given: Requests, rules: Rules, merged: bool = False) -> Replica:
    """Return a fresh replica with the requests of a run in it."""
    n = len(given.outputs)
    seats = max(rules.max_seqs, n) if merged else rules.max_seqs
    replica = fresh_replica(1, n, len(given.refreshed.total), seats, rules.blocks or 0)
    replica.give(0, given, given.requests["weight"])
    return replica


def kernel_arguments(policy: ServingPolicy, profile: Profile, rules: Rules) -> tuple[Any, ...]:
    """Return what `proceed` takes: rules, conduct, form and numbers, and then the functions and their parameters."""
    row = np.zeros(1, CONDUCT)
    row["ranked"] = policy.rank is not None
    for name in ("victim", "length", "progress"):
        row[f"has_{name}"] = getattr(policy, name) is not None
    for name in ("ages", "merged", "displaces", "skips", "keeps", "spare", "margin"):
        row[name] = getattr(policy, name)
    row["admission"] = _ADMISSIONS[policy.admission]
    row["preemption"] = AS_RULES if policy.preemption is None else PREEMPTIONS[policy.preemption]
    functions = [policy.rank, policy.victim, policy.length, policy.progress]
    pointers = [_compiled(function or _zero) for function in functions]
    record = rules.to_record(profile.kv_bytes_per_token)
    numbers = np.ascontiguousarray(profile.numbers, np.float64)
    form = FORMS.index(profile.form)
    return record, records(row)[0], form, numbers, *pointers, policy.params_for(profile, rules)


def finished(
    replica: Replica, given: Requests, policy: ServingPolicy, profile: Profile, rules: Rules, elapsed: float
) -> Served:
    """Return what came of a run."""
    state, system = replica.state[0], replica.system[0]
    lost = np.flatnonzero(np.isnan(replica.requests[0]["rank"]))
    if len(lost):
        raise BadInput(f"policy {policy.name!r} gives rank NaN to {len(lost)} requests; it must be a number")
    times = ("prefill_time", "decode_time", "transfer_time", "token_time", "batch_time", "integral")
    counts = ("prefill_tokens", "decode_tokens", "preemptions", "most_blocks")
    totals = {name: state[name].item() for name in (*times, *counts)} | {"iterations": int(system["iterations"])}
    return Served(
        policy=policy.name,
        rules=rules,
        profile=profile,
        requests=np.array(replica.requests[0]),
        outputs=np.asarray(given.outputs),
        service=np.array(replica.service[0]),
        clock=float(system["clock"]),
        reason=REASONS[int(state["reason"])],
        totals=totals,
        elapsed=elapsed,
    )


def _zero(request: Any, system: Any, params: np.ndarray) -> float:
    """Stand in for a function that a policy does not have."""
    return 0.0


def _compiled(function: Any) -> Any:
    own = str(function.__module__).startswith("llmqueue_gym.")
    # A user's function may read globals that change between calls, so it is compiled anew each time.
    return _library_function(function) if own else compile_serving(function, cache=False)


@functools.cache
def _library_function(function: Any) -> Any:
    return compile_serving(function, cache=True)
