"""The settings of a run of a fleet, as its kernels read them."""

from typing import Any

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.fleet import tables
from llmqueue_gym.policies.routing import RoutingPolicy
from llmqueue_gym.policies.routing.base import HITS, LUCK, RECORD, ROUNDS, SUMS

LOOKS = {"all": tables.ALL, "sample": tables.SAMPLE, "turn": tables.TURN}
WANTS = {tables.SUMS: SUMS, tables.CACHED: HITS, tables.KNOWN: RECORD, tables.LUCK: LUCK, tables.TWICE: ROUNDS}


def course_of(fleet: Any, policy: RoutingPolicy, last: float) -> Any:
    """Return the `COURSE` record of a run under a router, whose last request comes at that time, s."""
    row = np.zeros(1, tables.COURSE)
    for name in ("staleness", "local_below", "retry", "migrate_every", "migrate_floor", "start_up", "turn_over"):
        row[name] = getattr(fleet, name)
    for name in ("paired", "borrows"):
        row[name] = getattr(policy, name)
    row["overlapped"], row["tick"] = fleet.overlap, np.inf if fleet.steersman.name == "none" else fleet.tick
    row["holds"], row["follows"] = fleet.hold, fleet.closed or fleet.chained
    row["picks"] = fleet.hold and fleet.chained
    row["gang"] = fleet.chained and fleet.gang
    row["each"] = fleet.chained and fleet.keeper.again
    row["splits"] = fleet.splits or policy.paired
    row["horizon"] = fleet.horizon
    if np.isfinite(fleet.cut_off):
        row["horizon"] = min(fleet.horizon, fleet.cut_off * last)
    for prefix, made in (("", policy), ("hand_", fleet.taker)):
        row[f"{prefix}looks"] = LOOKS[made.looks]
        row[f"{prefix}wants"] = wants(made)
    return records(row)[0]


def wants(router: RoutingPolicy) -> int:
    """Return what is to be filled in for a router, and how it is asked, as bits of `engines.fleet.tables`."""
    read = router.reads(1)
    return sum(bit for bit, columns in WANTS.items() if read & columns) | tables.FIRST * (router.ties == "first")
