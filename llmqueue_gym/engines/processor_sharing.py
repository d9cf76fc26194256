"""One server that several jobs share: processor sharing, and orders by prediction whose late jobs share.

Jobs on time stand in line by a key; the first of them is the front. Late jobs form groups. One group is served at a
time, and its members get service at one speed, so that a clock of the group, service per unit of weight, says when each
of them ends. The group of processor sharing is everybody.

The keys of a virtual order are times of another clock, that of processor sharing as it would be if predictions were
right. It goes at one over the weight of all who have not ended there: of the jobs on time, and of the early ones, which
have left in truth. So an event takes O(log n). The exception is late jobs by least attained service, where those who
lose the server to a younger one are counted one by one.
"""

import numpy as np

from llmqueue_gym._jit import inner_kernel, lean_kernel
from llmqueue_gym.engines.heap import pop, push
from llmqueue_gym.engines.line import add, take
from llmqueue_gym.engines.single_server import arrival_at
from llmqueue_gym.engines.skew_heap import alone, interrupt, merge, without_root
from llmqueue_gym.jobs import DONE, RUNNING, WAITING

NONE, VIRTUAL, REMAINING = 0, 1, 2  # orders, as in `policies.sharing`
SHARE, FIRST, YOUNGEST = 0, 1, 2  # what late jobs do, likewise
ARRIVAL, LATE, FRONT, MEMBERS, MEETING = 1, 2, 3, 4, 5  # what happens next
ROUNDING = 1e-12  # relative: a job that ends so shortly after something else happens is done before


@inner_kernel
def first_row(line, near):
    """Return where the first entry of a line lies."""
    return np.uint64(line.shape[0] - near if near > 0 else 0)


@inner_kernel
def begin(job, happened, clock):
    """Let a job be served."""
    job.status = RUNNING
    if np.isnan(happened.start):
        happened.start = clock


@inner_kernel
def end(job, size, happened, clock):
    """Let a job leave."""
    job.age, job.status, happened.completion = size, DONE, clock


@lean_kernel
def simulate(state, jobs, sizes, outcome, on_time, early, waiting, members, order, late, beside, weighted):
    """Run the whole job table.

    Args:
        state: `QUEUE_STATE` record, fresh.
        jobs: `JOB` rows `(n,)`.
        sizes: true sizes `(n,)`, s.
        outcome: `OUTCOME` rows `(n,)`, written.
        on_time: `HEAP` rows `(n,)`, scratch: the line of jobs on time.
        early: `HEAP` rows `(n,)`, scratch: the line of jobs that have left before their virtual end.
        waiting: `HEAP` rows `(n,)`, scratch: groups that wait.
        members: `MEMBER` rows `(n,)`, scratch.
        order: NONE, VIRTUAL or REMAINING, of the jobs on time.
        late: SHARE, FIRST or YOUNGEST, what late jobs do.
        beside: whether the front is served beside the late jobs.
        weighted: whether shares are in proportion to weights.
    """
    n, n_late, n_waiting = jobs.shape[0], 0, 0
    near, far, near_early, far_early = 0, 0, 0, 0  # entries of the two lines
    clock, arrived, done = state.clock, state.arrived, state.done
    virtual, burden = 0.0, 0.0  # clock of the virtual order, and the weight that slows it
    group, served, weight = -1, 0.0, 0.0  # root of the group in service, its clock and its weight
    running = -1  # the front that was served last, as long as it is on time
    coming = arrival_at(jobs, arrived)
    while done < n:
        key = on_time[first_row(on_time, near)].rank if near + far > 0 else np.inf
        early_key = early[first_row(early, near_early)].rank if near_early + far_early > 0 else np.inf
        front, own, shares = -1, 0.0, weight
        if near + far > 0 and (beside or group < 0):
            front = abs(on_time[first_row(on_time, near)].tie)
            own = jobs[front].weight if weighted else 1.0
            shares += own

        until, event = coming, ARRIVAL
        if order == VIRTUAL and burden > 0.0:
            at = clock + (min(key, early_key) - virtual) * burden
            if at < until:
                until, event = at, LATE
        elif order == REMAINING and (front >= 0 or key <= 0.0):
            at = clock + key * shares / own if key > 0.0 else clock
            if at < until:
                until, event = at, LATE
        if late == YOUNGEST and group >= 0 and n_waiting > 0:
            at = clock + (waiting[0].rank - served) * shares
            if at < until:
                until, event = at, MEETING
        if front >= 0:
            at = clock + (sizes[front] - jobs[front].age) * shares / own
            # A job without size ends after all arrivals of this moment, as one of them may be the front.
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
                    on_time[first_row(on_time, near)].rank -= own * each
        clock = until

        new = -1  # who gets late now
        if event == ARRIVAL:
            i = arrived
            jobs[i].status = WAITING
            if order == NONE:
                new = i
            elif order == REMAINING:
                near, far = add(on_time, near, far, jobs[i].predicted, i)
            else:
                own = jobs[i].weight if weighted else 1.0
                near, far = add(on_time, near, far, virtual + jobs[i].predicted / own, i)
                burden += own
            arrived += 1
            coming = arrival_at(jobs, arrived)
        elif event == LATE:
            virtual = min(key, early_key)
            if key <= early_key:
                i, near, far = take(on_time, near, far)
                new = i
            else:
                i, near_early, far_early = take(early, near_early, far_early)
            burden -= jobs[i].weight if weighted else 1.0
            if near + far + near_early + far_early == 0 or order == REMAINING:
                virtual, burden = 0.0, 0.0  # no rounding error survives
        elif event == FRONT:
            _, near, far = take(on_time, near, far)
            if order == VIRTUAL:
                near_early, far_early = add(early, near_early, far_early, key, front)
            end(jobs[front], sizes[front], outcome[front], clock)
            running = -1
            done += 1
        elif event == MEMBERS:
            end(jobs[group], sizes[group], outcome[group], clock)
            done += 1
            served = members[group].end
            weight -= jobs[group].weight if weighted else 1.0
            group = without_root(members, group)
            if group < 0:
                weight = 0.0

        if new >= 0:
            own = jobs[new].weight if weighted else 1.0
            age = jobs[new].age / own
            jobs[new].status = WAITING
            if late == SHARE:
                if group < 0:
                    served = age
                alone(members[new], served + (sizes[new] / own - age), own)
                group, weight = merge(members, group, new), weight + own
                begin(jobs[new], outcome[new], clock)
            else:
                alone(members[new], sizes[new], own)
                push(waiting, n_waiting, age if late == YOUNGEST else float(n_late), new)
                n_waiting, n_late = n_waiting + 1, n_late + 1
                if late == YOUNGEST and group >= 0 and age < served:
                    interrupt(members, group, outcome)
                    jobs[group].age, members[group].weight = served, weight
                    push(waiting, n_waiting, served, group)
                    n_waiting += 1
                    group = -1
        while n_waiting > 0 and (group < 0 or (late == YOUNGEST and (event == MEETING or waiting[0].rank <= served))):
            event = 0
            level, i = waiting[0].rank, pop(waiting, n_waiting)
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
