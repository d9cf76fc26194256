"""A replica as its kernels take it: tables with a run in them; rules, costs and a policy as numbers and functions."""

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching import tables
from llmqueue_gym.engines.batching.caches import let_cache, with_contexts
from llmqueue_gym.engines.batching.cost import FORMS
from llmqueue_gym.engines.batching.rules import PREEMPTIONS, Rules
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.policies.serving import ServingPolicy
from llmqueue_gym.profiles.base import Profile
from llmqueue_gym.requests import Requests
from llmqueue_gym.systems.base import Drawn

ADMISSIONS = {"fits": tables.FITS, "reserve": tables.RESERVE, "peak": tables.PEAK}
ACCOUNTS = {"tenant": tables.TENANTS, "class": tables.CLASSES}


def rules_under(made: Rules, profile: Profile, policy: ServingPolicy) -> Rules:
    """Return a rule set as a policy wants it; see `Replica.under`."""
    names = [field.name for field in fields(made)]
    for key in policy.rules:
        if key not in names:
            raise BadInput(f"rule set {made.name!r} has no field {key!r}; {nearest(key, names)}")
    if (policy.preemption or policy.rules.get("preemption", made.preemption)) == "swap":
        profile.check_transfers(f"policy {policy.name!r}")
    if made.caching != "none" and (policy.admission == "reserve" or policy.preemption not in (None, "recompute")):
        raise BadInput(f"policy {policy.name!r} reserves or moves memory, which caching={made.caching} cannot")
    if made.queue_order != "fcfs" and policy.rank is not None:
        raise BadInput(
            f"policy {policy.name!r} and queue_order={made.queue_order} both order the queue; choose queue_order=fcfs"
        )
    if policy.merged and (made.request_level or made.padded):
        raise BadInput(f"policy {policy.name!r} fills batches by rank, which {made.name!r} forbids; choose vllm-v1")
    if policy.keeps_accounts and made.asynchronous:
        raise BadInput(f"policy {policy.name!r} charges what an iteration gives; add asynchronous=false to the rules")
    if made.batching != "passes" and policy.name != "fcfs":
        raise BadInput(
            f"rule set {made.name!r} decides itself who joins a batch, policy {policy.name!r} cannot; choose fcfs"
        )
    if made.stages > 1 and profile.form != "distserve":
        raise BadInput(
            f"profile {profile.name!r} has form {profile.form!r}, which does not tell how long stages={made.stages} of "
            "a pipeline take; take form 'distserve', or stages=1"
        )
    return replace(made, **policy.rules)


def loaded(drawn: Drawn, rules: Rules, merged: bool = False, shares: Sequence[float] = ()) -> tables.ReplicaTables:
    """Return the tables of a replica with the requests of a run in it; `shares` are those of a policy."""
    n, refreshed = len(drawn.sizes), drawn.truth["refreshed"]
    seats = max(rules.max_seqs or 0, n if merged or rules.batching != "passes" else 0)
    replica = tables.replicas(1, rules.stages, n, len(refreshed.total), seats, rules.blocks or 0)
    given = Requests(drawn.work, drawn.sizes, refreshed, drawn.truth.get("contexts"))
    replica = let_cache(replica, [rules] * rules.stages)
    replica.give(0, given, drawn.work["weight"], rules.stages)
    replica.give_shares(shares)
    return with_contexts(replica, 0, 1, given, rules.block_size)


def leaner(replica: tables.ReplicaTables, rules: Sequence[Rules], more: bool) -> tables.ReplicaTables:
    """Return the tables without cells where vLLM's passes are all that is asked for: then half as much is compiled.

    Args:
        replica: the tables.
        rules: of each replica.
        more: whether who plays asks for more: a merged queue, accounts of owners, requests that are handed over.
    """
    simple = all(
        own.batching == "passes" and own.stages == 1 and own.caching == "none" and not own.asynchronous for own in rules
    )
    return replica._replace(cells=None) if simple and not more else replica


def kernel_arguments(policy: ServingPolicy, profile: Profile, rules: Rules) -> tuple[Any, ...]:
    """Return what `proceed` takes: rules, conduct, form and numbers, and then the functions with their parameters."""
    row = np.zeros(1, tables.CONDUCT)
    row["ranked"] = policy.rank is not None
    for name in ("victim", "length", "progress"):
        row[f"has_{name}"] = getattr(policy, name) is not None
    for name in ("ages", "merged", "displaces", "skips", "keeps", "spare", "margin", "lifts"):
        row[name] = getattr(policy, name)
    row["hits"] = "cached" in policy.reads()
    row["accounts"] = ACCOUNTS[policy.owners] if policy.keeps_accounts else tables.NO_ACCOUNTS
    row["admission"] = ADMISSIONS[policy.admission]
    row["preemption"] = tables.AS_RULES if policy.preemption is None else PREEMPTIONS[policy.preemption]
    functions = (*policy.compiled(), policy.params_for(profile=profile, rules=rules))
    numbers = np.ascontiguousarray(profile.numbers, np.float64)
    record = rules.to_record(profile.kv_bytes_per_token)
    return record, records(row)[0], FORMS.index(profile.form), numbers, functions
