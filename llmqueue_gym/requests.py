"""The request table: what a serving engine's scheduler may know of each request, and what is written down of it.

As in `jobs`, tables share their row numbers and rows are in order of arrival. The truth, the number of output tokens
of each request, is an array apart that only engines hold: `REQUEST` has no column for it, on purpose.

Convention for the first token: the iteration that computes the last prompt token delivers output token 1, so a request
of P prompt and L output tokens computes P + L - 1 tokens, and its end-to-end time is TTFT + (L - 1) * TPOT. (Equation
1 of the survey prints L * TPOT, which counts one token twice.)
"""

from typing import NamedTuple

import numpy as np

LINE = 64  # bytes of a cache line
ROOM = "_room"  # column without meaning


def whole_lines(columns: list[tuple[str, str]]) -> np.dtype:
    """Return the record of these columns and of room behind them, so that rows of a table are whole cache lines."""
    last, offset = np.dtype(columns, align=True).fields[columns[-1][0]][:2]  # type: ignore[index]
    room = -(offset + last.itemsize) % LINE // 4  # no gap, whose bytes would be anything
    return np.dtype([*columns, *([(ROOM, f"({room},)i4")] if room else [])], align=True)


# What the hot loop reads lies in the first 64 bytes: one cache line.
REQUEST = whole_lines(
    [
        ("prompt", "i4"),  # tokens
        ("generated", "i4"),  # output tokens so far
        ("computed", "i4"),  # tokens whose keys and values are in the cache
        ("blocks", "i4"),  # KV blocks held
        ("scheduled", "i4"),  # tokens in the iteration that is being put together, 0 if left out so far
        ("status", "i2"),  # one of the codes below
        ("klass", "i2"),  # class of customers, 0 unless told otherwise
        ("last_token", "f8"),  # s, when it got its last output token; arrival before the first
        ("longest_gap", "f8"),  # s, longest time between two of its output tokens so far
        ("last_scheduled", "f8"),  # s, end of the last iteration that it was in; arrival before the first
        ("predicted", "f8"),  # output tokens in all, by the present prediction
        ("rank", "f8"),  # as of the last time it was ranked; lower is served first
        ("place", "i8"),  # breaks ties of rank; lower is first
        ("ready", "f8"),  # s, when it came to where it is now: its arrival, or later if it was elsewhere before
        ("first_predicted", "f8"),  # the same, by the prediction on arrival
        ("lower", "f8"),  # least output tokens, for predictors of intervals; others predict one number thrice
        ("upper", "f8"),  # most output tokens
        ("note", "f8"),  # a number that the policy itself keeps for it, 0 at first
        ("arrival", "f8"),  # s
        ("preemptions", "i4"),
        ("priority", "i4"),  # as its sender states it, 0 unless told otherwise; lower is more urgent, as in vLLM
        ("weight", "f8"),  # cost per second in system, 1 unless told otherwise
        ("deadline", "f8"),  # s, when its sender wants it done at the latest; infinity unless told otherwise
        ("received", "f8"),  # what its tenant has been given so far, weighted tokens
        ("prefix", "i8"),  # the number of the text that its prompt begins with, from 1 on; 0 where nobody shares
        ("site", "i4"),  # the replica that it was sent to last, -1 before
        ("goes_on", "i4"),  # 1 where it goes on elsewhere once its prompt is read
        ("tenant", "i4"),  # who sent it, 0 unless told otherwise
        ("cached", "i4"),  # tokens of its prompt that the cache held when it was last looked up
        ("due", "i4"),  # output tokens that are being computed while the next step is put together
        # Of the program that it is a call of; where each request is by itself they are 0.
        ("program", "i4"),  # its number
        ("depth", "i4"),  # calls on the longest path before it
        ("siblings", "i4"),  # calls of its program that became ready at the same time, itself included
        ("began", "f8"),  # s, arrival of its program
        ("attained", "f8"),  # s that the calls of its program which ended before it came have been served
        ("longest_path", "f8"),  # the same on the path to it on which that is most
        ("to_come", "f8"),  # tokens that the calls of its program have yet to compute, as predicted, itself included
        ("path_to_come", "f8"),  # the same on the longest path from it on
        ("heir", "i4"),  # the row of the call that goes on with its context, -1 for none
        ("behind", "i4"),  # the next of those whose contexts a replica keeps while they are away
        ("gap", "f4"),  # s from its end until another call goes on with its context, as predicted; -1 where none does
        ("returned", "f4"),  # tokens that this other call adds to the context, as predicted
        ("strategy", "f4"),  # what is to happen to the context meanwhile: DISCARD, unless a policy has fixed it
        ("unsettled", "f4"),  # tokens of thought until its program settles, as predicted; negative where it overruns
    ]
)

# What a policy may read of the replica.
SYSTEM = np.dtype(
    [
        ("clock", "f8"),  # s
        ("step_time", "f8"),  # s, duration of the last iteration
        ("mean_step_time", "f8"),  # s, of all iterations so far
        ("free", "i8"),  # KV blocks
        ("blocks", "i8"),  # KV blocks in all
        ("running", "i8"),  # requests in the running list
        ("waiting", "i8"),  # requests in the queue
        ("iterations", "i8"),
    ],
    align=True,
)

# What a router may read of a replica: as it last reported itself, but for what a router knows by itself.
SITE = np.dtype(
    [
        ("index", "i8"),  # of the replica
        ("role", "i8"),  # BOTH, PREFILL or DECODE
        ("price", "f8"),  # USD an hour; NaN where it is not known
        ("clock", "f8"),  # s, now
        ("reported", "f8"),  # s, when what follows was so
        ("running", "i8"),  # requests in the running list
        ("waiting", "i8"),  # requests in the queue
        ("free", "i8"),  # KV blocks
        ("blocks", "i8"),  # KV blocks in all
        ("pending", "f8"),  # prompt tokens that are still to be computed, of those that run and wait
        ("work", "f8"),  # output tokens that are predicted to be left of them
        ("context", "f8"),  # tokens of theirs in the cache
        ("wanted", "i8"),  # KV blocks that those who wait there will need for their prompts
        ("step_time", "f8"),  # s, duration of the last iteration
        ("cached", "f8"),  # tokens of the request's prompt in its cache: here and below as it is now
        ("known", "f8"),  # the same by the router's own record of what it sent there
        ("sent", "f8"),  # prompt tokens that it sent there so far, without those known there
        ("since", "i8"),  # requests that it sent there since the last report
        ("outstanding", "i8"),  # requests that it sent there and that have not left
        ("tokens", "f8"),  # their prompts
        ("reading", "i8"),  # requests there whose prompt is not read yet
        ("idle", "i8"),  # requests there or on their way there that are not in the iteration under way
        ("promised", "i8"),  # requests that are to decode there and are not done, wherever they are now
        ("reserved", "i8"),  # KV blocks that all who were sent there or are promised take in the end
        ("luck", "f8"),  # a number in [0, 1) of the request and the replica, as good as drawn for both
        ("asked", "i8"),  # 0, then 1, where a router is asked twice because it reads one of the next two
        ("lowest", "f8"),  # once asked: the least that the score gave for any replica then
        ("highest", "f8"),  # and the most
        ("sites", "i8"),  # replicas to choose from
        ("total", "i8"),  # outstanding requests of all of them
        ("most", "i8"),  # of the replica that has most
        ("least", "i8"),  # of the one that has least
    ],
    align=True,
)
BOTH, PREFILL, DECODE = ROLES = 0, 1, 2  # what a replica does of a request

# What a policy may read of a context whose program is away, and of the replica that has it. Where its fate is fixed
# beforehand, when its call comes, context and blocks are those that the call is predicted to leave behind.
AWAY = np.dtype(
    [
        ("context", "i8"),  # tokens of the context, prompt and output of the call
        ("blocks", "i8"),  # KV blocks that they take
        ("clock", "f8"),  # s, now
        ("since", "f8"),  # s, when its call ended and its program went away; now, where it has not yet
        ("elapsed", "f8"),  # s, for which the program has been away
        ("predicted_gap", "f8"),  # s, for which it is predicted to be away in all
        ("next_prompt", "f8"),  # tokens that it is predicted to bring back, behind the context
        ("predicted", "f8"),  # output tokens of the next call, by prediction
        ("calls_left", "f8"),  # calls of the program still to come, by prediction
        ("scheduled", "i8"),  # tokens of this iteration, of all who run
        ("held", "i8"),  # tokens that fit in the KV blocks of all who run
        ("free", "i8"),  # KV blocks, at the start of this iteration
        ("block_size", "i8"),  # tokens
        ("waiting", "i8"),  # requests in the queue
        ("strategy", "f8"),  # what was fixed, DISCARD, PRESERVE or SWAP; NaN where nothing was
        ("stored", "f8"),  # the waste that was reckoned then; NaN likewise
        ("worst", "f8"),  # the largest waste among those away at this replica; -infinity where nobody has any
    ],
    align=True,
)
NO_ANSWER, HESITATES = -1, -2  # in place of the number of an answer: nobody asked, or who was asked gave none
DISCARD, PRESERVE, SWAP = 0.0, np.inf, -1.0  # what a policy answers; other numbers are s for which it is kept

# What a rule of stopping may read of a program that reasons: what it has answered, spent and been predicted so far.
TOLD = np.dtype(
    [
        ("answers", "i8"),  # that its branches have given so far
        ("planned", "i8"),  # that it gives at most
        ("leading", "i8"),  # votes of the answer that most have given
        ("second", "i8"),  # of the one that is next, 0 where all agree
        ("clusters", "i8"),  # different answers
        ("entropy", "f8"),  # of the shares of the answers, bits
        ("agree", "i8"),  # last probes of its chain of thought that gave one answer, without a word of doubt
        ("tokens", "f8"),  # output tokens spent so far, those of probes not counted
        ("predicted", "f8"),  # output tokens until it is done, as predicted: its depth
        ("confidence", "f8"),  # of that prediction, in [0, 1]
        ("mean_score", "f8"),  # predicted chance to be right, of its branches on average
        ("best_score", "f8"),  # of the best branch
        ("depth", "i8"),  # steps on its longest branch so far
    ],
    align=True,
)

# What a rule of drafting may read beside the row of the request whose next draft is due.
DRAFT = np.dtype(
    [
        ("told", "f8"),  # chance that its first draft token is accepted, as predicted when it came
        ("tried", "f8"),  # draft tokens of it that were looked at so far: those up to the first refused one
        ("accepted", "f8"),  # how many of them were accepted
        ("all_tried", "f8"),  # the same of all requests so far
        ("all_accepted", "f8"),
        ("batch", "i8"),  # requests in the seats, this one included
        ("waiting", "i8"),  # requests without a seat
        ("seats", "i8"),
        ("most", "i8"),  # draft tokens that it may have at most
    ],
    align=True,
)

# What a rule that chooses models may read of a call, and of one of the models that it can go to.
CALL = np.dtype(
    [
        ("prompt", "i8"),  # tokens
        ("win", "f8"),  # chance that the strongest model answers better than the weakest, as predicted
        ("asked", "i8"),  # models that were asked so far
        ("verified", "f8"),  # chance that the best answer so far is right, by whoever verifies it; 0 before the first
        ("spent", "f8"),  # USD a call so far, of all calls
        ("allowed", "f8"),  # USD a call that may be spent on average; inf where nobody says
        ("calls", "i8"),  # before this one
        ("load", "f8"),  # share of all replicas' seats that are taken
        ("klass", "i8"),  # what kind of call it is, 0 unless told otherwise
        ("luck", "f8"),  # a number in [0, 1) of the call
    ],
    align=True,
)
MODEL = np.dtype(
    [
        ("index", "i8"),
        ("strength", "i8"),  # its place by mean quality, 0 for the weakest
        ("models", "i8"),  # to choose from
        ("quality", "f8"),  # chance that it answers this call right, as predicted
        ("tokens", "f8"),  # output that it will take, as predicted
        ("price", "f8"),  # USD of this call, as predicted
        ("wait", "f8"),  # s until it begins, as predicted
        ("service", "f8"),  # s from then on, as predicted
        ("asked", "i8"),  # 1 where it has been asked for this call
        ("trials", "i8"),  # calls of this class that went to it and of which feedback has come
        ("reward", "f8"),  # mean feedback of these
    ],
    align=True,
)

# What a rule of expansion may read of a node of a tree of reasoning.
NODE = np.dtype(
    [
        ("visits", "i8"),  # of the node
        ("parent_visits", "i8"),
        ("value", "f8"),  # mean score of what was reached through it; 0 before its first visit
        ("score", "f8"),  # its own, as predicted
        ("prior", "f8"),  # share of its parent's visits that the model would give it
        ("depth", "i8"),  # steps from the root
    ],
    align=True,
)

# What happened to a request; only reports need it.
SERVICE = np.dtype(
    [
        ("scheduled", "f8"),  # s, start of the first iteration that it was in; NaN before
        ("first_token", "f8"),  # s; NaN until then
        ("completion", "f8"),  # s; NaN until done
        ("recomputed", "i8"),  # tokens computed again after a preemption
        ("swapped", "i8"),  # blocks moved to the host and back
    ],
    align=True,
)

# Status: not arrived, in the queue, in the running list before and after its first token there, left, between replicas,
# and not arrived, with a context that is kept for it.
PENDING, WAITING, PREFILLING, DECODING, DONE, MOVING, AWAITED = 0, 1, 2, 3, 4, 5, 6


class Refreshed(NamedTuple):
    """Predictions that a predictor gives anew while a request generates, drawn beforehand so that engines stay exact.

    Attributes:
        every: tokens between predictions; 0 where they are not refreshed.
        total: predicted output tokens in all `(m,)`, the requests one after another.
        start: `(n + 1,)`, where those of each request begin; entry k of a request holds after k * every tokens.
    """

    every: int
    total: np.ndarray
    start: np.ndarray


# A piece of a prompt: so many tokens of a text. Two prompts share what their pieces share from the first on.
SEGMENT = np.dtype([("text", "i8"), ("start", "i4"), ("length", "i4")], align=True)
OUTPUT = 1 << 40  # texts from here on are outputs of requests


class Contexts(NamedTuple):
    """What the prompts consist of, so that it is known who shares a prefix with whom.

    Attributes:
        segments: `SEGMENT` rows `(m,)`, those of the requests one after another; the lengths of a request's add up to
            its prompt, and adjoining pieces of one text are one.
        first: `(n + 1,)`, int64, where those of each request begin.
        output: `(n,)`, int64, the text that the output of each is, so that a later prompt can go on from it.
    """

    segments: np.ndarray
    first: np.ndarray
    output: np.ndarray


class Programs(NamedTuple):
    """Which program each request is a call of, and after whom it comes.

    Rows are first the calls that wait for nobody, in order of arrival, then the others, whose arrival is infinite
    in the table: program by program, parents before children. A call comes `gap` s after the last of its parents
    has ended.

    Attributes:
        program: `(n,)`, int64, numbered from 0 on in order of arrival.
        parents: `(m,)`, int64, rows, those of each call one after another.
        first: `(n + 1,)`, int64, where those of each call begin.
        gap: `(n,)`, float64, s, true; 0 for calls that wait for nobody.
        continues: `(n,)`, int64, the row whose context (prompt and output) the call's prompt begins with, which is
            one of its parents, or -1.
        model: `(n,)`, int64, the number from 1 on of the model that serves it, 0 where any does; None where all are 0.
    """

    program: np.ndarray
    parents: np.ndarray
    first: np.ndarray
    gap: np.ndarray
    continues: np.ndarray
    model: np.ndarray | None = None


class Requests(NamedTuple):
    """One sampled run: what may be known of the requests, and the truth.

    Attributes:
        requests: `REQUEST` rows `(n,)`, sorted by arrival.
        outputs: true output tokens `(n,)`, int64, at least 1.
        refreshed: predictions to come.
        contexts: what the prompts consist of; None where nobody shares.
        programs: which requests are calls of one program; None where each is by itself.
    """

    requests: np.ndarray
    outputs: np.ndarray
    refreshed: Refreshed
    contexts: Contexts | None = None
    programs: Programs | None = None


def never_refreshed(n: int) -> Refreshed:
    """Return the table of a predictor that predicts once."""
    return Refreshed(0, np.zeros(0), np.zeros(n + 1, np.int64))


def request_table(
    arrivals: np.ndarray,
    prompts: np.ndarray | int,
    weight: np.ndarray | float = 1.0,
    klass: np.ndarray | int = 0,
    priority: np.ndarray | int = 0,
    tenant: np.ndarray | int = 0,
) -> np.ndarray:
    """Return a fresh `REQUEST` table `(n,)` for sorted arrival times (s) and prompt lengths (tokens)."""
    requests = np.zeros(len(arrivals), REQUEST)
    requests["arrival"] = requests["last_token"] = requests["last_scheduled"] = arrivals
    requests["prompt"], requests["weight"], requests["klass"] = prompts, weight, klass
    requests["priority"], requests["tenant"], requests["place"] = priority, tenant, np.arange(len(arrivals))
    requests["deadline"], requests["site"] = np.inf, -1
    return requests


def service_table(n: int) -> np.ndarray:
    """Return a `SERVICE` table `(n,)` in which nothing has happened yet."""
    service = np.zeros(n, SERVICE)
    service["scheduled"] = service["first_token"] = service["completion"] = np.nan
    return service
