"""The records of the serving engine: the state of a replica, a batch, and rules and conduct as numbers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching import cache, radix_tables
from llmqueue_gym.requests import LINE, REQUEST, SERVICE, SYSTEM, Requests, service_table

# What an iteration computes; its time is a function of this (see `cost`).
BATCH = np.dtype(
    [
        ("tokens", "i8"),  # all tokens: prefill chunks and one for each decode
        ("prefills", "i8"),  # requests with a prefill chunk
        ("prefill_tokens", "i8"),
        ("decodes", "i8"),
        ("context", "f8"),  # keys and values read by decodes, tokens, the new one included
        ("pairs", "f8"),  # sum over chunks of new * (cached + new / 2)
        ("squares", "f8"),  # sum over chunks of new ** 2
        ("pages", "i8"),  # sum over chunks of cached / 64, each rounded up
        ("prompt_tokens", "i8"),  # of the prompts that the chunks are of
    ],
    align=True,
)

# The rest of the state of a replica, which no policy reads.
REPLICA_STATE = np.dtype(
    [
        ("until", "f8"),  # s: iterations begin before it and end then at the latest; infinity where it is alone
        ("stage_ends", "f8"),  # s, end of the batch of a stage of a pipeline, infinity where it has none
        ("ends", "f8"),  # s, end of the iteration that it is held in; infinity where it is held before one
        ("next", "f8"),  # s, when the next request of the inbox comes; infinity where that is not known
        ("in_fleet", "?"),  # whether it is one of several, so that somebody reads `fulfilled` and the sums after it
        ("hands_over", "?"),  # whether whoever has a first token here may have to go elsewhere
        ("keeps", "?"),  # whether requests in the queue may hold blocks that came from elsewhere, or were kept for them
        ("retains", "?"),  # whether the context of who leaves is kept for the call that goes on with it
        ("kept", "i8"),  # such contexts; those of calls that wait here are not counted
        ("first_kept", "i8"),  # row of the call that the first of them is for: the first to go
        ("last_kept", "i8"),
        ("owed", "i8"),  # blocks to be moved in the next iteration
        ("out", "i8"),  # requests that had their first token in the last iteration, where that matters
        ("fulfilled", "i8"),  # blocks that all who left for good were promised, by the predictions on arrival
        ("gone", "f8"),  # cost per second of all that left for good
        ("gone_time", "f8"),  # the same, each times when it left, s
        ("phase", "i8"),  # where in an iteration it stands, a code below
        ("cursor", "i8"),  # position in the running list while the running requests are scheduled
        ("budget", "i8"),  # tokens left in this iteration
        ("limit", "i8"),  # longest prefill chunk in this iteration
        ("arrived", "i8"),  # requests of the inbox that have come
        ("sent", "i8"),  # those of which it is known when; of a closed loop the next one comes when one leaves
        ("done", "i8"),  # those that have left
        ("head", "i8"),  # where the ring of the queue begins
        ("first_place", "i8"),  # place for the next request that goes to the front of the queue
        ("longest", "i8"),  # longest chunk admitted in this iteration
        ("admitted", "i8"),  # requests admitted in this iteration
        ("victims", "i8"),  # requests preempted in this iteration
        ("forced", "i8"),  # of them, those preempted for the running requests
        ("moved", "i8"),  # blocks moved between GPU and host in this iteration
        ("subject", "i8"),  # row that the agent is asked about
        ("refreshed", "i8"),  # requests with a new prediction after this iteration
        ("blocked", "i8"),  # 1 where the head of the queue was refused and will be until a request leaves
        ("reason", "i8"),  # why the run stopped, a code below
        ("made", "i8"),  # output tokens that requests have, those that left included
        ("most_made", "i8"),  # the most that they ever had: a rule set that forgets output loses some
        ("barren", "i8"),  # iterations since that number last grew
        ("n", "i8"),  # requests in the inbox so far
        ("every", "i8"),  # tokens between refreshed predictions, 0 where there are none
        ("calm", "?"),  # whether all running requests decode, as of the end of the last iteration; then hold
        ("least_left", "i8"),  # output tokens until the first of them ends
        ("context", "f8"),  # and the tokens that their next pass reads
        ("batch", BATCH),  # of the present iteration
        ("integral", "f8"),  # cost so far: integral of the cost rate
        ("cost_rate", "f8"),  # sum of the weights of the requests in system, per s
        ("prefill_time", "f8"),  # s spent in iterations with a prefill chunk
        ("decode_time", "f8"),  # s spent in other iterations
        ("transfer_time", "f8"),  # s by which moves of blocks made iterations longer
        ("token_time", "f8"),  # integral of the tokens that decodes read, token-seconds
        ("batch_time", "f8"),  # integral of the requests in the batch, s
        ("prefill_tokens", "i8"),
        ("decode_tokens", "i8"),
        ("preemptions", "i8"),
        ("most_blocks", "i8"),  # most blocks ever in use
        ("caching", "i8"),  # how prefixes are cached, see `cache`
        ("tree", "i8"),  # place of the radix tree, see `radix_tables`
        ("node", "i8"),  # where in it the last look-up ended
        ("released_last", "?"),  # whether all released blocks queue behind the others
        ("queue", "i8"),  # place of the ends of the queue of free blocks, see `cache`
        ("buckets", "i8"),  # place of the first bucket
        ("bucket_mask", "i8"),  # buckets - 1
        ("looked", "i8"),  # 1 + row of the request whose look-up stands below, 0 where none does
        ("looks", "i8"),  # look-ups so far
        ("hits", "i8"),  # blocks that were found
        ("idle_hits", "i8"),  # of them, those that nobody uses
        ("missing", "i8"),  # the prefix that was not found
        ("hit_tokens", "i8"),  # tokens that were not computed, because on admission the cache held them
        ("in_flight", "?"),  # whether a step computes while the next one is put together, see `flight`
        ("flight", BATCH),  # what it computes
        ("flight_time", "f8"),  # s that it takes
        ("flying", "i8"),  # requests in it
        ("boarding", "i8"),  # requests in the next one
        ("leavers", "i8"),  # requests that left and whose blocks are still to be released
    ],
    align=True,
)

# What happens to a request and what a policy never sees of it: 64 bytes, one cache line.
TRUTH = np.dtype(
    [
        ("output", "i4"),  # tokens
        ("path", "i4"),  # place of what it consists of, see `cache`
        ("cost", "f8"),  # per second in system
        ("refreshed", "i4"),  # where its refreshed predictions begin in `total`, and where they end
        ("refreshed_end", "i4"),
        ("service", SERVICE),
    ],
    align=True,
)

# Lists of rows of requests that one iteration makes, and working space: 64 bytes, one cache line.
NOTES = np.dtype(
    [
        ("admitted", "i4"),  # in order
        ("victim", "i4"),  # preempted, in order
        ("renewed", "i4"),  # whose prediction was refreshed
        ("flying", "i4"),  # in the step that computes; ~row where it gives no token
        ("boarding", "i4"),  # likewise in the next one
        ("leaver", "i4"),  # that left and whose blocks are still to be released; ~row of who stays, see `pool`
        ("first", "i4"),  # that had their first token
        ("order", "i4"),  # in the order that is being made
        ("key", "f8"),  # numbers by which rows are compared: working space
        ("value", "f8"),
        ("received", "f8"),  # row k: weighted tokens that tenant or class k has been given; see `accounts`
        ("share", "f8"),  # row k: its share, by which they are divided
    ],
    align=True,
)

# Phases of an iteration.
BEGIN, SCHEDULE_RUNNING, SCHEDULE_WAITING, READY, COMPUTE, AFTER, BOARD = 0, 1, 2, 3, 4, 5, 6

# What an agent may own, as bits, and what it is asked.
ADMISSION, EVICTION, RANKING, WATCHING = 1, 2, 4, 8
NOTHING, ADMIT, EVICT, RANK, LOOK, PAUSED, HELD, HANDED = 0, 1, 2, 3, 4, 5, 6, 7
ENDLESS = 1 << 62  # work that a call of the loop may do where it is not to come back before a decision

# Why a run stopped.
GOING, DRAINED, HORIZON, STUCK, LIVELOCK, TIMELESS = 0, 1, 2, 3, 4, 5
REASONS = ("going", "drained", "horizon", "stuck", "livelock", "timeless")

# Rule set as numbers; see `rules.Rules`.
RULES = np.dtype(
    [
        ("block_size", "i8"),
        ("blocks", "i8"),
        ("watermark", "i8"),
        ("token_budget", "i8"),
        ("max_seqs", "i8"),
        ("max_model_len", "i8"),
        ("threshold", "i8"),
        ("lookahead", "i8"),
        ("order", "i8"),
        ("allocation", "i8"),
        ("preemption", "i8"),
        ("chunked", "?"),
        ("reserve_known", "?"),
        ("threshold_alone", "?"),
        ("watermark_always", "?"),
        ("asker_stops", "?"),
        ("priority_stops", "?"),
        ("pause", "?"),
        ("by_arrival", "?"),
        ("room_for_one", "?"),
        ("padded", "?"),
        ("request_level", "?"),
        ("forget_unread", "?"),
        ("keep_head", "?"),
        ("overlapped", "?"),
        ("caching", "i8"),
        ("queue_order", "i8"),
        ("released_last", "?"),
        ("asynchronous", "?"),
        ("ends_known", "?"),
        ("block_seconds", "f8"),
        ("horizon", "f8"),
        ("patience", "i8"),
        ("batching", "i8"),
        ("overdue", "i8"),
        ("context_budget", "i8"),
        ("stages", "i8"),
        ("counted_twice", "?"),
    ],
    align=True,
)

# Orders of scheduling, ways of allocating on admission, ways of preempting.
RUNNING_FIRST, PREFILL_FIRST, DECODE_FIRST = 0, 1, 2
CHUNK, KNOWN, LONGEST = 0, 1, 2
BY_PASSES, BY_BLOCKS, BY_TURNS = 0, 1, 2  # ways of batching
RECOMPUTE, SWAP, FREE = 0, 1, 2

# A serving policy as numbers; see `policies.serving.base.ServingPolicy`.
CONDUCT = np.dtype(
    [
        ("ranked", "?"),
        ("has_victim", "?"),
        ("has_length", "?"),
        ("has_progress", "?"),
        ("ages", "?"),
        ("merged", "?"),
        ("displaces", "?"),
        ("skips", "?"),
        ("keeps", "?"),
        ("hits", "?"),
        ("lifts", "?"),
        ("accounts", "i8"),
        ("admission", "i8"),
        ("preemption", "i8"),
        ("spare", "i8"),
        ("margin", "f8"),
    ],
    align=True,
)

FITS, RESERVE, PEAK = 0, 1, 2
NO_ACCOUNTS, TENANTS, CLASSES = 0, 1, 2  # of whom there are accounts
AS_RULES = -1


def fresh_replica(size: int, n: int, m: int, seats: int, blocks: int) -> "ReplicaTables":
    """Return E empty replicas, each with requests of its own, and room for those.

    Args:
        size: E, runs side by side.
        n: requests of a run.
        m: refreshed predictions of a run, all requests together.
        seats: length of the running list.
        blocks: KV blocks.
    """
    return replicas(size, 1, n, m, seats, blocks)


def replicas(runs: int, each: int, n: int, m: int, seats: int, blocks: Any) -> "ReplicaTables":
    """Return empty replicas, as many in each run, that share the requests of their run, and room for those.

    Args:
        runs: E, side by side.
        each: replicas of a run, R; replica k of run e is row e * R + k.
        n: requests of a run, rows e * n and so on.
        m: refreshed predictions of a run, all requests together.
        seats: length of the longest running list.
        blocks: KV blocks of a replica, or of each `(R,)`.
    """
    size, ring = runs * each, 1 << (n - 1).bit_length()
    tables = ReplicaTables(
        system=records(np.zeros(size, SYSTEM)),
        state=records(_on_lines(size, REPLICA_STATE)),
        requests=records(_on_lines(runs * n, REQUEST)),
        truth=records(_on_lines(runs * n, TRUTH)),
        inbox=np.zeros((size, ring), np.int64),
        waiting=np.zeros((size, 2 * ring), np.int64),
        running=np.zeros((size, seats), np.int64),
        notes=records(_on_lines(size * (n + seats), NOTES).reshape(size, n + seats)),
        total=np.zeros(runs * m),
        cells=np.zeros(0, np.int64),
    )
    tables.system["free"] = tables.system["blocks"] = np.tile(blocks, runs) if np.ndim(blocks) else blocks
    tables.state["until"], tables.truth["cost"] = np.inf, 1.0
    return tables


def _on_lines(rows: int, dtype: np.dtype) -> np.ndarray:
    """Return zeros whose first row begins where a cache line does, so that rows of whole lines touch no further one."""
    size = rows * dtype.itemsize
    room = np.zeros(size + LINE - 1, np.uint8)
    start = -room.ctypes.data % LINE
    return room[start : start + size].view(dtype)


_UNTOUCHED = np.zeros(1, TRUTH)
_UNTOUCHED["service"] = service_table(1)
_KEPT = (
    "until",
    "in_fleet",
    "hands_over",
    "caching",
    "tree",
    "released_last",
    "queue",
    "buckets",
    "bucket_mask",
)  # by a replica that is emptied


class ReplicaTables(NamedTuple):
    """All that the kernels of replicas read and write: rows of replicas, and rows of the requests of all runs.

    A replica holds rows of requests in lists, so replicas of one run can share its requests. Few arrays, because each
    costs compilation time in every kernel.
    """

    system: np.ndarray  # SYSTEM rows (replicas,)
    state: np.ndarray  # REPLICA_STATE rows (replicas,)
    requests: np.ndarray  # REQUEST rows (E * n,), those of each run together
    truth: np.ndarray  # TRUTH rows (E * n,)
    # Ring of the rows of requests that are sent here, in order, and in a fleet, up to `done`, of those that have left,
    # in order, with -1 for who went to another replica (replicas, a power of two).
    inbox: np.ndarray
    waiting: np.ndarray  # ring of those in the queue (replicas, twice that: a rule set may have two entries of each)
    running: np.ndarray  # rows of the running requests, by admission or as the rules say (replicas, max_seqs)
    notes: np.ndarray  # NOTES rows (replicas, n + max_seqs)
    total: np.ndarray  # refreshed predictions (E * m,), those of each request together
    cells: np.ndarray | None  # numbers of prefix caching, see `cache`; None where less suffices, see `proceed`

    @property
    def service(self) -> np.ndarray:
        """`SERVICE` rows (E * n,)."""
        return self.truth["service"]

    def clear(self, rows: slice) -> None:
        """Let these replicas be empty, with nobody in sight."""
        system, state = self.system[rows], self.state[rows]
        blocks, kept = system["blocks"].copy(), {name: state[name].copy() for name in _KEPT}
        for table in (system, state):
            table.view(np.int64)[:] = 0  # much faster than column by column
        system["free"] = system["blocks"] = blocks
        state["ends"] = state["next"] = state["stage_ends"] = np.inf
        for name, value in kept.items():
            state[name] = value
        self.notes["received"][rows], self.notes["share"][rows] = 0.0, 1.0
        for e in np.flatnonzero(kept["caching"]).tolist():
            assert self.cells is not None
            if kept["caching"][e] == cache.BLOCKS:
                cache.clear(self, rows.start + e)
            else:
                radix_tables.cut_down(self.cells, int(kept["tree"][e]))

    def fill(self, run: int, runs: int, given: Requests, cost: np.ndarray) -> slice:
        """Write the requests of one of the runs, of these costs per second in system; there is room for them.

        Returns:
            their rows.
        """
        refreshed = given.refreshed
        first, m, begin = run * (len(self.truth) // runs), len(refreshed.total), run * (len(self.total) // runs)
        rows = slice(first, first + len(given.outputs))
        truth = self.truth[first : first + len(self.truth) // runs]
        # Much faster than record by record.
        self.requests[rows].view(np.int64)[:] = given.requests.view(np.int64)
        self.requests["ready"][rows] = given.requests["arrival"]
        truth.view(np.int64).reshape(len(truth), -1)[:] = _UNTOUCHED.view(np.int64)
        self.truth["output"][rows], self.truth["cost"][rows] = given.outputs, cost
        self.truth["refreshed"][rows] = begin + refreshed.start[:-1]
        self.truth["refreshed_end"][rows] = begin + refreshed.start[1:]
        self.total[begin : begin + m] = refreshed.total
        return rows

    def give_shares(self, shares: Sequence[float]) -> None:
        """Let owners 0, 1 and so on have these shares in the accounts of every replica, and all others 1."""
        known = shares[: self.notes.shape[1]]
        self.notes["share"], self.notes["share"][:, : len(known)] = 1.0, known

    def give(self, run: int, given: Requests, cost: np.ndarray, stages: int = 1) -> None:
        """Let a run, which is one replica of so many rows, begin with these requests, of these costs per second."""
        rows, e = self.fill(run, len(self.system) // stages, given, cost), run * stages
        n = rows.stop - rows.start
        self.clear(slice(e, e + stages))
        self.inbox[e, :n] = np.arange(rows.start, rows.stop)
        self.state["n"][e], self.state["every"][e] = n, given.refreshed.every
        self.state["sent"][e] = np.isfinite(given.requests["arrival"]).sum()
        self.state["next"][e] = given.requests["arrival"][0]


def queue(replica: ReplicaTables, e: int) -> np.ndarray:
    """Return the rows of the requests that wait at replica e, the head first."""
    ring = replica.waiting.shape[1]
    found = replica.waiting[e, (int(replica.state["head"][e]) + np.arange(int(replica.system["waiting"][e]))) % ring]
    return np.where(found < 0, ~found, found)  # `block_pass` has two entries of a request
