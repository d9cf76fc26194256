"""One server that several jobs share: processor sharing, and orders by prediction whose late jobs share.

Jobs on time stand in a heap by their key, and the least is the front. Late jobs form groups. One group is served at a
time, and its members get service at one speed, so that a clock of the group, service per unit of weight, says when each
of them ends. The group of processor sharing is everybody.

The keys of a virtual order are times of another clock, that of processor sharing as it would be if predictions were
right. It goes at one over the weight of all who have not ended there: of the jobs on time, and of the early ones, which
have left in truth. So an event takes a few operations on heaps, O(log n). The exception are late jobs by least attained
service, where who loses the server to a younger one is counted member by member.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel, part_kernel
from llmqueue_gym.engines.heap import pop, push
from llmqueue_gym.jobs import DONE, RUNNING, WAITING

# Members of a group form a skew heap: none ends before the one above it, and the first, the root, names the group.
MEMBER = np.dtype(
    [
        ("end", "f8"),  # clock of the group at which it ends
        ("weight", "f8"),  # of a root of a group that waits: the weight of all members
        ("left", "i8"),  # members below it, or -1
        ("right", "i8"),
        ("ahead", "i8"),  # in a walk over all members: whom to visit after it, or -1
    ],
    align=True,
)

NONE, VIRTUAL, REMAINING = 0, 1, 2  # orders
SHARE, FIRST, YOUNGEST = 0, 1, 2  # what late jobs do
ARRIVAL, LATE, FRONT, MEMBERS, MEETING = 1, 2, 3, 4, 5  # what happens next
ROUNDING = 1e-12  # relative: a job that ends so shortly after something else happens is done before


@part_kernel
def merge(members, a, b):
    """Merge two groups, either of which may be none; returns the root (Sleator and Tarjan 1986)."""
    if a < 0 or b < 0:
        return max(a, b)
    if precedes(members, b, a):
        a, b = b, a
    root = a
    while True:
        below = members[a].right
        members[a].right = members[a].left
        if below < 0:
            members[a].left = b
            return root
        if precedes(members, b, below):
            below, b = b, below
        members[a].left = below
        a = below


@inner_kernel
def precedes(members, a, b):
    """Whether a member ends before another; of two that end together the first to come does."""
    return members[a].end < members[b].end or (members[a].end == members[b].end and a < b)


@part_kernel
def interrupt(members, root, outcome):
    """Count that all members of a group lose the server."""
    members[root].ahead = -1
    at = root
    while at >= 0:
        outcome[at].preemptions += 1
        ahead = members[at].ahead
        for below in (members[at].right, members[at].left):
            if below >= 0:
                members[below].ahead = ahead
                ahead = below
        at = ahead


@lean_kernel
def simulate(state, jobs, sizes, outcome, on_time, early, waiting, members, order, late, beside, weighted):
    """Run the whole job table.

    Args:
        state: `QUEUE_STATE` record, fresh.
        jobs: `JOB` rows `(n,)`.
        sizes: true sizes `(n,)`, s.
        outcome: `OUTCOME` rows `(n,)`, written.
        on_time: `HEAP` rows `(n,)`, scratch: jobs on time.
        early: `HEAP` rows `(n,)`, scratch: jobs that have left before their virtual end.
        waiting: `HEAP` rows `(n,)`, scratch: groups that wait.
        members: `MEMBER` rows `(n,)`, scratch.
        order: NONE, VIRTUAL or REMAINING, of the jobs on time.
        late: SHARE, FIRST or YOUNGEST, what late jobs do.
        beside: whether the front is served beside the late jobs.
        weighted: whether shares are in proportion to weights.
    """
    n = jobs.shape[0]
    clock, arrived, done = state.clock, state.arrived, state.done
    n_on_time, n_early, n_waiting, n_late = 0, 0, 0, 0
    virtual, burden = 0.0, 0.0  # clock of the virtual order, and the weight that slows it
    group, served, weight = -1, 0.0, 0.0  # root of the group in service, its clock and its weight
    running = -1  # the front that was served last, as long as it is on time
    while done < n:
        front, own, shares = -1, 0.0, weight
        if n_on_time > 0 and (beside or group < 0):
            front = abs(on_time[0].tie)
            own = jobs[front].weight if weighted else 1.0
            shares += own
        until, event = jobs[arrived].arrival if arrived < n else np.inf, ARRIVAL
        if order == VIRTUAL and n_on_time + n_early > 0:
            key = on_time[0].rank if n_on_time > 0 else np.inf
            if n_early > 0:
                key = min(key, early[0].rank)
            at = clock + (key - virtual) * burden
            if at < until:
                until, event = at, LATE
        elif order == REMAINING and front >= 0:
            at = clock + on_time[0].rank * shares / own
            if at < until:
                until, event = at, LATE
        if late == YOUNGEST and group >= 0 and n_waiting > 0:
            at = clock + (waiting[0].rank - served) * shares
            if at < until:
                until, event = at, MEETING
        if front >= 0:
            at = clock + (sizes[front] - jobs[front].age) * shares / own
            if at <= until + ROUNDING * until and (until > clock or jobs[front].age > 0.0):
                until, event = at, FRONT
        if group >= 0:
            at = clock + (members[group].end - served) * shares
            if at <= until + ROUNDING * until:
                until, event = at, MEMBERS
        until = max(until, clock)  # what is due may lie back by a rounding error

        if running != front and (until > clock or event == FRONT):
            if running >= 0:
                outcome[running].preemptions += 1
            running = front
            if front >= 0:
                begin(jobs[front], outcome[front], clock)
        if burden > 0.0:
            virtual += (until - clock) / burden
        if shares > 0.0:
            each = (until - clock) / shares
            served += each
            if front >= 0:
                jobs[front].age += own * each
                if order == REMAINING:
                    on_time[0].rank -= own * each
        clock = until

        new = -1  # who gets late now
        if event == ARRIVAL:
            i = arrived
            arrived += 1
            jobs[i].status = WAITING
            if order == NONE:
                new = i
            elif order == REMAINING:
                push(on_time, n_on_time, jobs[i].predicted, i)
                n_on_time += 1
            else:
                own = jobs[i].weight if weighted else 1.0
                push(on_time, n_on_time, virtual + jobs[i].predicted / own, i)
                n_on_time += 1
                burden += own
        elif event == LATE:
            if order == REMAINING or (n_on_time > 0 and not (n_early > 0 and early[0].rank < on_time[0].rank)):
                virtual = on_time[0].rank
                i = new = pop(on_time, n_on_time)
                n_on_time -= 1
            else:
                virtual = early[0].rank
                i = pop(early, n_early)
                n_early -= 1
            burden -= jobs[i].weight if weighted else 1.0
            if n_on_time + n_early == 0 or order == REMAINING:
                virtual, burden = 0.0, 0.0  # no rounding error survives
        elif event == FRONT:
            key = on_time[0].rank
            pop(on_time, n_on_time)
            n_on_time -= 1
            if order == VIRTUAL:
                push(early, n_early, key, front)
                n_early += 1
            outcome[front].completion = clock
            jobs[front].age, jobs[front].status, running = sizes[front], DONE, -1
            done += 1
        elif event == MEMBERS:
            served = members[group].end
            outcome[group].completion = clock
            jobs[group].age, jobs[group].status = sizes[group], DONE
            done += 1
            weight -= jobs[group].weight if weighted else 1.0
            group = merge(members, members[group].left, members[group].right)
            if group < 0:
                weight = 0.0

        if new >= 0:
            jobs[new].status = WAITING
            own = jobs[new].weight if weighted else 1.0
            age = jobs[new].age / own
            members[new].left, members[new].right, members[new].weight = -1, -1, own
            if late == SHARE:
                served = served if group >= 0 else age
                members[new].end = served + (sizes[new] / own - age)
                group, weight = merge(members, group, new), weight + own
                begin(jobs[new], outcome[new], clock)
            else:
                members[new].end = sizes[new]
                push(waiting, n_waiting, age if late == YOUNGEST else float(n_late), new)
                n_waiting += 1
                n_late += 1
                if late == YOUNGEST and group >= 0 and age < served:
                    interrupt(members, group, outcome)
                    jobs[group].age, members[group].weight = served, weight
                    push(waiting, n_waiting, served, group)
                    n_waiting += 1
                    group = -1
        while n_waiting > 0 and (group < 0 or (late == YOUNGEST and (event == MEETING or waiting[0].rank <= served))):
            event = 0
            level = waiting[0].rank
            i = pop(waiting, n_waiting)
            n_waiting -= 1
            if group < 0:
                group, served, weight = i, jobs[i].age, members[i].weight
            else:
                group, served, weight = merge(members, group, i), level, weight + members[i].weight
            begin(jobs[i], outcome[i], clock)
        if new >= 0 and new == running:
            outcome[new].preemptions += jobs[new].status == WAITING
            running = -1
    state.clock, state.arrived, state.done = clock, arrived, done


@inner_kernel
def begin(job, happened, clock):
    """Let a job be served."""
    job.status = RUNNING
    if np.isnan(happened.start):
        happened.start = clock
