"""The records of a fleet: its state, its replicas beside what they are by themselves, transfers, what is to come."""

from typing import NamedTuple

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.tables import RULES, ReplicaTables
from llmqueue_gym.requests import AWAY, SITE, SYSTEM, TOLD

# The state of a run.
FLEET = np.dtype(
    [
        ("clock", "f8"),  # s
        ("phase", "i8"),  # what is to be done next, a code below
        ("first", "i8"),  # row of its first request
        ("arrived", "i8"),  # of those that come by themselves
        ("came", "i8"),  # calls of programs that came after others
        ("cancelled", "i8"),  # of calls that were cancelled, those at no replica, which are nowhere counted as done
        ("withdrawn", "i8"),  # row of the first call that is to be taken from a replica, -1 for none; see `behind`
        ("sent", "i8"),  # those of which it is known when; of clients who wait the next comes when one leaves
        ("n", "i8"),  # requests in all
        ("subject", "i8"),  # row of the request that is to be sent somewhere
        ("source", "i8"),  # replica that it is to leave, -1 where it arrives
        ("elsewhere", "?"),  # whether an agent has been asked where that decodes, and now where it is read
        ("turn", "i8"),  # requests that were sent so far
        ("handed", "i8"),  # those of which it was asked who goes on with them
        ("events", "i8"),  # in the heap
        ("noted", "i8"),  # events so far
        ("next_report", "f8"),  # s, when replicas report themselves next; infinity where nobody will look before
        ("next_tick", "f8"),  # s, when the controller is asked next
        ("joined", "i8"),  # times that a replica changed its role or came back to it
        ("pulled", "i8"),  # times that a request left a replica for another
        ("arrived_cost", "f8"),  # cost per second of all that have arrived
        ("arrived_time", "f8"),  # the same, each times its arrival, s
        ("reason", "i8"),  # why the run stopped, one of `batching.tables`
        ("transfers", "i8"),
        ("transfer_bytes", "f8"),
        ("migrations", "i8"),  # of them, those from one replica that decodes to another
        ("next_migration", "f8"),  # s, when requests that might move are looked for next
        ("lost", "i8"),  # requests that a replica took with it when it vanished; they began anew elsewhere
        ("spared_tokens", "i8"),  # tokens of those transfers that were there already
        ("held", "i8"),  # requests that wait at the router
        ("front", "i8"),  # the first of them, a row, -1 for none; the next is that of `FLOW`
        ("back", "i8"),  # the last, -1 for none
        ("picked", "i8"),  # the one of them that an agent has picked, a row, -1 for none
        ("mate", "i8"),  # the one that was sent on last, a row, -1 before
        ("inside", "i8"),  # programs that have begun and are not over
        ("wrong", "i8"),  # of those that are over and have given answers, those that ended with a wrong one
        ("fruitless", "i8"),  # moments one after another with nothing to come but transfers that find no room
    ],
    align=True,
)

# A replica as the fleet has it.
MEMBER = np.dtype(
    [
        ("power", "i8"),  # a code below
        ("role", "i8"),  # of `requests.ROLES`
        ("emits", "?"),  # whether what ends here concerns others, so that it is looked at after each iteration
        ("awaited", "i8"),  # transfers that wait for room here
        ("head", "i8"),  # the first of them, a row, -1 for none
        ("tail", "i8"),
        ("inbound", "i8"),  # requests on their way here
        ("inbound_tokens", "i8"),  # their prompts
        ("home", "i8"),  # role that it has but for what it lends
        ("joined", "i8"),  # when it came to its role, as a number that grows
        ("promised", "i8"),  # requests that were ever chosen to decode here, on arrival
        ("pulled", "i8"),  # requests that left for another replica
        ("reserved", "i8"),  # blocks that those who were ever sent here take in the end, less what moved away
        ("outbound", "i8"),  # requests that go on elsewhere and still hold blocks here
        ("full", "?"),  # whether requests wait at the router rather than here
        ("starts", "i8"),  # event that ends its start, -1 where it does not start
        ("becomes", "i8"),  # role that it takes on once it has ended what it has, -1 where it is then switched off
        ("done", "i8"),  # of those that left, those after whom others have come, if any
        ("since", "f8"),  # s, when it was last switched on or off
        ("on_time", "f8"),  # s that were paid for before
        ("leaving", "i8"),  # row of the request that is to move when its iteration ends, -1 for none
        ("goes_to", "i8"),  # the replica that it is to move to
    ],
    align=True,
)

# A request between replicas.
FLOW = np.dtype(
    [
        ("source", "i4"),
        ("target", "i4"),
        ("blocks", "i4"),  # that it holds at the source until it has gone
        ("next", "i8"),  # row of the one behind it that waits for the same replica, or at the router; -1 for none
        ("order", "i8"),  # of the event that ends it, -1 before it has begun
    ],
    align=True,
)

# What is to come: the earliest first, at one time by kind, then in the order in which they were noted.
EVENT = np.dtype([("time", "f8"), ("kind", "i8"), ("order", "i8"), ("subject", "i8")], align=True)
MOVED, STARTED, VANISHES, RETURNS, RETRIED, READY, EXPIRES = 0, 1, 2, 3, 4, 5, 6

# A call of a program, as nobody but the agenda sees it.
CALL = np.dtype(
    [
        ("program", "i8"),  # row of it
        ("awaits", "i8"),  # parents that have not ended
        ("first", "i8"),  # where its children begin in `children`, and where they end
        ("end", "i8"),
        ("gap", "f8"),  # s from the end of its last parent until it comes
        ("path", "f8"),  # s of service on the longest path that has ended before it
        # Of the context that it goes on with, while that is kept for it; what is predicted is there from the beginning.
        ("predicted_gap", "f8"),  # s
        ("next_prompt", "f8"),  # tokens that it adds to the context, as predicted
        ("calls_left", "f8"),  # calls of the program still to come, itself included, as predicted
        ("strategy", "f8"),  # what was fixed beforehand; NaN where nothing was
        ("stored", "f8"),  # the waste that was reckoned then; NaN likewise
        ("since", "f8"),  # s, when the call before it ended
        ("until", "f8"),  # s, when it is dropped; infinity where it stays
        ("expires", "?"),  # whether an event is noted for that
        ("place", "i8"),  # where it is, a code below
        ("gang", "i8"),  # a number that calls have in common which become ready together
        ("cluster", "i8"),  # the answer that it gives, by its number in its program; -1 for none, or HESITATES
        ("score", "f8"),  # of that answer, as predicted
        ("model", "i8"),  # the number from 1 on of the model that serves it; 0 where any does
    ],
    align=True,
)

TO_COME, AT_ROUTER, SENT, CANCELLED = 0, 1, 2, 3  # where a call is; it stays SENT when it has ended

# A program.
PROGRAM = np.dtype(
    [
        ("left", "i8"),  # calls that have not ended
        ("cost", "f8"),  # per second from its arrival until its last call ends
        ("began", "f8"),  # s, its arrival; NaN before
        ("completion", "f8"),  # s; NaN until then
        ("attained", "f8"),  # s of service of its calls that have ended
        ("first", "i8"),  # where its rows begin in `of_programs`, and its answers in `votes`; and where they end
        ("end", "i8"),
        ("over", "?"),  # whether it has been stopped, or its last call has ended
        ("thinks", "?"),  # whether its answer is the last that it gave; otherwise the one that leads
        ("planned", "i8"),  # answers that it gives at most
        ("answers", "i8"),  # that it has given
        ("last", "i8"),  # the last of them, -1 for none
        ("agree", "i8"),  # the last answers that were the same
        ("leading", "i8"),  # the answer that most have given, -1 for none
        ("tokens", "f8"),  # output tokens of its calls that have ended; of a thought without its probes
        ("depth", "i8"),  # of the deepest of them
        ("scores", "f8"),  # sum of the scores of its answers
        ("best", "f8"),  # the best of them
        ("predicted", "f8"),  # output tokens until it is done, as predicted
        ("confidence", "f8"),  # of that
        ("cancelled", "i8"),  # calls that did not end because it was stopped
    ],
    align=True,
)

# Settings of all replicas of a run.
COURSE = np.dtype(
    [
        ("staleness", "f8"),  # s between reports; 0: a router sees what is so
        ("overlapped", "f8"),  # share of a transfer that runs beside the prefill
        ("tick", "f8"),  # s between looks of the controller; infinity for none
        ("migrate_every", "f8"),  # s between looks for requests that might move; 0 for none
        ("migrate_floor", "f8"),  # least freeness that a replica keeps which one moves to
        ("start_up", "f8"),  # s from when a replica is switched on until it serves
        ("turn_over", "f8"),  # s that a change of its role takes, once it has ended what it had
        ("horizon", "f8"),  # s
        ("local_below", "f8"),  # prompts with fewer tokens to compute are read where they decode
        ("looks", "i8"),  # of the router, a code below
        ("wants", "i8"),  # what it reads, bits below
        ("hand_looks", "i8"),  # the same of who takes over what was read
        ("hand_wants", "i8"),
        ("retry", "f8"),  # s between two tries of a transfer that found no room; 0: as soon as there is some, in order
        ("paired", "?"),  # whether who decodes is chosen on arrival, too
        ("borrows", "?"),  # whether replicas of one role help out with the other, see `pools`
        ("follows", "?"),  # whether others come after who leaves: of clients who wait for answers, or of programs
        ("splits", "?"),  # whether requests are read at one replica and go on at another
        ("holds", "?"),  # whether requests wait at the router until a replica has a seat for them
        ("gang", "?"),  # whether calls of a program that come together are sent on together, or none of them
        ("each", "?"),  # whether each iteration concerns others, and not those alone at which somebody leaves
        ("picks", "?"),  # whether they are then sent on in the order in which replicas serve; else as they came
    ],
    align=True,
)
ALL, SAMPLE, TURN = 0, 1, 2
# What a router reads that takes time to fill: sums over requests, hits of the request in question, those by the record
# of what was sent, numbers of a request and a replica; then whether it is asked twice, and takes the first of equals.
SUMS, CACHED, KNOWN, LUCK, TWICE, FIRST = 1, 2, 4, 8, 16, 32

OFF, STARTING, ON, DRAINING = POWERS = 0, 1, 2, 3
# Phases: on to the next moment; what happens there; who comes; after; and before it all, who has just left.
MOVE_ON, HAPPEN, ARRIVE, BEGIN, FOLLOW = 0, 1, 2, 3, 4
ROUTE, HAND, TICK, OVER, PAUSED, PICK, KEEP, STOP = 1, 2, 3, 4, 5, 6, 7, 8  # what the agenda comes back for
ROUTES, HANDS, PICKS, KEEPS, STOPS = 1, 2, 4, 8, 16  # what an agent may own, as bits
RESUME = -3  # no action of an agent: a run goes on from a tick at which a controller was asked in its stead


class FleetTables(NamedTuple):
    """All that the kernels of E fleets of R replicas read and write beside the tables of the replicas."""

    fleet: np.ndarray  # FLEET rows (E,)
    members: np.ndarray  # MEMBER rows (E * R,)
    sites: np.ndarray  # SITE rows (E * R,)
    events: np.ndarray  # EVENT rows (E, n + 4 * R and those that are noted beforehand), a heap
    flows: np.ndarray  # FLOW rows (E * n,)
    choices: np.ndarray  # replicas that each request is shown, as many as a router looks at (E * n, d); d = 0: all
    ties: np.ndarray  # numbers in [0, 1) by which one of several equal replicas is chosen (E * n,)
    record: np.ndarray  # prefixes that a router sent to each replica, see `record` (E * R, places), or (E * R, 0)
    calls: np.ndarray  # CALL rows (E * n,), or none where each request is by itself
    children: np.ndarray  # rows of calls, those that wait for each call one after another (E * m,)
    programs: np.ndarray  # PROGRAM rows (E * n,)
    of_programs: np.ndarray  # rows of calls, those of each program one after another (E * n,)
    votes: np.ndarray  # how often each answer of each program has been given (E * n,)
    rights: np.ndarray  # whether that answer is right, likewise; the truth (E * n,)
    away: np.ndarray  # AWAY row (1,), what a policy of retention is shown
    told: np.ndarray  # TOLD row (1,), what a rule of stopping is shown
    whole: np.ndarray  # SYSTEM row (1,), what an order is shown of all replicas
    scores: np.ndarray  # space (R,)
    rules: np.ndarray  # RULES rows (R,)
    forms: np.ndarray  # of the cost profiles (R,), index into `cost.FORMS`
    numbers: np.ndarray  # of the cost profiles (R, k), filled up with zeros
    bytes_each: np.ndarray  # of a token's keys and values (R,)
    longest: np.ndarray  # most tokens of a request (R,)
    widest: np.ndarray  # most tokens of its prompt (R,)
    models: np.ndarray  # their numbers, from 1 on (R,)
    cuts: np.ndarray  # whether an output that would be longer ends there (R,)
    shortest: np.ndarray  # s that an iteration takes at least, a little less; 0 where that is not known (R,)
    latency: np.ndarray  # of the link from one replica to another, s (R, R)
    byte_time: np.ndarray  # s that a byte takes there (R, R)


# The parts of the tables that each run has of its own; the others say what the replicas are.
OF_PROGRAMS = ("calls", "children", "programs", "of_programs", "votes", "rights")
OF_RUNS = ("fleet", "members", "sites", "events", "flows", "choices", "ties", "record", *OF_PROGRAMS)


def fresh_fleet(runs: int, n: int, d: int, replicas: int, places: int = 0) -> FleetTables:
    """Return the tables of E runs; rules, forms and numbers are to be filled in.

    Args:
        runs: E, side by side.
        n: requests of a run.
        d: replicas that a router looks at, 0 for all.
        replicas: R, of a run.
        places: of the router's record of a replica, a power of two; 0 where it keeps none.
    """
    size = runs * replicas
    made = FleetTables(
        fleet=records(np.zeros(runs, FLEET)),
        members=records(np.zeros(size, MEMBER)),
        sites=records(np.zeros(size, SITE)),
        events=records(np.zeros((runs, n + 4 * replicas), EVENT)),
        flows=records(np.zeros(runs * n, FLOW)),
        choices=np.zeros((runs * n, d), np.int64),
        ties=np.zeros(runs * n),
        record=np.zeros((size, places), np.int64),
        calls=records(np.zeros(0, CALL)),
        children=np.zeros(0, np.int64),
        programs=records(np.zeros(0, PROGRAM)),
        of_programs=np.zeros(0, np.int64),
        votes=np.zeros(0, np.int64),
        rights=np.zeros(0, np.bool_),
        away=records(np.zeros(1, AWAY)),
        told=records(np.zeros(1, TOLD)),
        whole=records(np.zeros(1, SYSTEM)),
        scores=np.zeros(replicas),
        rules=records(np.zeros(replicas, RULES)),
        forms=np.zeros(replicas, np.int64),
        numbers=np.zeros((replicas, 1)),
        bytes_each=np.zeros(replicas),
        longest=np.zeros(replicas, np.int64),
        widest=np.zeros(replicas, np.int64),
        models=np.zeros(replicas, np.int64),
        cuts=np.zeros(replicas, np.bool_),
        shortest=np.zeros(replicas),
        latency=np.zeros((replicas, replicas)),
        byte_time=np.zeros((replicas, replicas)),
    )
    return made


def begin_run(f: FleetTables, r: ReplicaTables, e: int, rows: slice, sent: int, course: np.ndarray) -> None:
    """Let run e begin: all its replicas empty and on, its requests, of which so many come by themselves, to come.

    Args:
        f: tables of the fleets.
        r: tables of their replicas.
        e: the run.
        rows: of its requests.
        sent: requests of which it is known when they come.
        course: `COURSE` record.
    """
    replicas, n = len(f.forms), rows.stop - rows.start
    mine = slice(e * replicas, (e + 1) * replicas)
    roles, power = f.members["role"][mine].copy(), f.members["power"][mine].copy()
    for table in (f.fleet[e : e + 1], f.members[mine], f.sites[mine]):
        table.view(np.int64)[:] = 0  # much faster than column by column
    f.record[mine] = 0
    fleet, members = f.fleet, f.members
    fleet["first"][e], fleet["n"][e], fleet["sent"][e], fleet["joined"][e] = rows.start, n, sent, replicas
    fleet["clock"][e], fleet["next_tick"][e], fleet["next_report"][e] = -np.inf, course["tick"], np.inf
    fleet["next_migration"][e] = course["migrate_every"]
    for name in ("source", "front", "back", "withdrawn", "picked", "mate"):
        fleet[name][e] = -1
    members["role"][mine], members["home"][mine], members["power"][mine] = roles, roles, power
    members["joined"][mine] = f.sites["index"][mine] = np.arange(replicas)
    for name in ("head", "tail", "starts", "becomes", "leaving"):
        members[name][mine] = -1
    f.sites["role"][mine] = roles
    r.clear(mine)
    r.state["until"][mine] = -np.inf
