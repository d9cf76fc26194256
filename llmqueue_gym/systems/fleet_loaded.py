"""The tables of a fleet, laid out from what it consists of, with the requests of a run in them."""

from typing import Any

import numpy as np

from llmqueue_gym.engines.batching import caches
from llmqueue_gym.engines.batching.tables import replicas
from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.engines.fleet.programs import lay_out, with_programs
from llmqueue_gym.engines.fleet.record import PLACES
from llmqueue_gym.policies.routing import RoutingPolicy
from llmqueue_gym.requests import PREFILL, Requests
from llmqueue_gym.systems.base import Drawn
from llmqueue_gym.systems.members import Member
from llmqueue_gym.systems.program_run import weights_of
from llmqueue_gym.systems.replica_tables import kernel_arguments, leaner


def loaded(system: Any, drawn: Drawn, policy: RoutingPolicy) -> tuple[Any, ...]:
    """Return the tables of a fleet with the requests of a run in it, and what `go_on` takes behind them.

    Args:
        system: a `Fleet`.
        drawn: the requests.
        policy: the router.

    Returns:
        tables of the fleet and of its replicas, `COURSE` record, the rest of the arguments, and pairs of a policy
        and the numbers that it was given.
    """
    order, (members, which) = system.discipline, system.rows
    system.refuse_too_long(drawn)
    n, refreshed, size = len(drawn.sizes), drawn.truth["refreshed"], len(members)
    course = system.course(policy, system.last_of(drawn))
    recalls = system.caches and (course["wants"] | course["hand_wants"]) & tables.KNOWN
    f = tables.fresh_fleet(1, n, drawn.truth["choices"].shape[1], size, PLACES if recalls else 0)
    seats = max(
        max(m.rules.max_seqs or 0 for m in members),
        n if order.merged or any(m.rules.batching != "passes" for m in members) else 0,
    )
    r = replicas(1, size, n, len(refreshed.total), seats, np.array([m.rules.blocks or 0 for m in members]))
    r = caches.let_cache(r, [member.rules for member in members])
    arguments = [kernel_arguments(order, member.profile, member.rules) for member in members]
    f = f._replace(numbers=np.zeros((size, max(len(numbers) for _, _, _, numbers, _ in arguments))))
    params = np.array([functions[-1] for *_, functions in arguments])
    for q, (rules, _, form, numbers, _) in enumerate(arguments):
        f.rules[q], f.forms[q] = rules, form
        f.numbers[q, : len(numbers)] = numbers
    f.bytes_each[:] = [member.profile.kv_bytes_per_token for member in members]
    f.shortest[:] = [shortest_of(member) for member in members]
    pairs = np.ix_(which, which)
    f.latency[:], f.byte_time[:] = system.plan.latency[pairs], system.plan.byte_time[pairs]
    f.longest[:] = [member.rules.longest for member in members]
    f.models[:] = [system.models.index(member.profile.model) + 1 for member in members]
    f.widest[:] = [member.rules.widest for member in members]
    f.cuts[:] = [member.rules.longest == member.rules.max_model_len for member in members]
    is_first = np.diff(which, prepend=-1) > 0
    f.members["role"], f.members["power"] = (
        [member.role for member in members],
        np.where(is_first, tables.ON, tables.OFF),
    )
    f.choices[:], f.ties[:] = np.flatnonzero(is_first)[drawn.truth["choices"]], drawn.truth["ties"]
    given = Requests(drawn.work, drawn.sizes, refreshed, drawn.truth.get("contexts"), drawn.truth.get("programs"))
    rows = r.fill(0, 1, given, drawn.work["weight"] if given.programs is None else np.zeros(n))
    if given.programs is not None:  # a program is paid for as a whole
        f = with_programs(f, 1, n, len(given.programs.parents))
        costs = weights_of(given.programs, drawn.work)
        truth = drawn.truth.get("answers"), drawn.truth.get("foreseen")
        lay_out(f, 0, 1, rows, given.programs, system.came(drawn), costs, *truth)
    moves = system.splits or policy.paired or system.migrate_every > 0
    r = caches.with_contexts(r, 0, 1, given, min(member.rules.block_size for member in members), moves)
    tables.begin_run(f, r, 0, rows, int(np.isfinite(drawn.work["arrival"]).sum()), course)
    order.check_owners(drawn.work, r.notes.shape[1])
    r.give_shares(order.shares)
    r.state["every"] = refreshed.every
    r.state["in_fleet"] = True
    r.state["hands_over"] = (f.members["role"] == PREFILL) | policy.paired
    f.members["emits"] = r.state["hands_over"] | course["follows"]
    r = leaner(r, [member.rules for member in members], system.asks_for_more(policy))
    first = {"profile": members[0].profile, "rules": members[0].rules}
    (score,), scores = policy.compiled(), policy.params_for(**first)
    (hand,), hands = system.taker.compiled(), system.taker.params_for(**first)
    *functions, _ = arguments[0][-1]
    others = system.follows(f, r, rows, given)
    rest = (arguments[0][1], 0, 0, score, scores, hand, hands, *others, *functions, params)
    checked = [(policy, scores), (system.taker, hands), *((order, row) for row in params), *system.checked(others)]
    return f, r, course, rest, checked


def shortest_of(member: Member) -> float:
    """Return s that an iteration of a replica takes at least, a little less for rounding; 0 where unknown."""
    rules = member.rules
    if rules.stages > 1 or rules.asynchronous or rules.batching != "passes":
        return 0.0
    return (1 - 1e-9) * member.profile.shortest
