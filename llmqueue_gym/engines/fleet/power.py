"""Replicas are switched on, which takes time, end what they have and are switched off, or change their role.

A controller says how many replicas are to be on in each role; `follow` says which. Those that were just asked for go
first, unless somebody waits there for them to start, then those with the fewest requests, which take no more and end
what they have. Those that are wanted are found among those that are about to leave the role, then among those that are
about to leave another, which they change once they have ended what they have, and then among those that are off. A
replica that helps out with another role, see `pools`, counts in its own.
"""

from llmqueue_gym._jit import lean_kernel, part_kernel
from llmqueue_gym.engines.batching.sharing import lose_all
from llmqueue_gym.engines.fleet.events import cancel, note
from llmqueue_gym.engines.fleet.record import forget_replica
from llmqueue_gym.engines.fleet.retention import lose_kept
from llmqueue_gym.engines.fleet.tables import DRAINING, OFF, ON, STARTED, STARTING
from llmqueue_gym.requests import PREFILL, ROLES


@part_kernel
def turn_off(e, f, r, g):
    """Switch off replica g of run e; from now on it costs nothing."""
    member, clock = f.members[g], f.fleet[e].clock
    if member.power == STARTING:
        cancel(e, f, member.starts)
    member.power, member.starts, member.becomes = OFF, -1, -1
    forget_replica(e, f, g - e * len(f.forms))
    if len(f.calls) > 0:
        lose_kept(e, f, r, g - e * len(f.forms))
    if r.state[g].caching:
        lose_all(r.cells, r.state[g])
    member.on_time += clock - member.since
    member.since = clock


@part_kernel
def take_role(e, f, g, role):
    """Let replica g of run e have a role from now on."""
    f.members[g].role = f.sites[g].role = role
    f.members[g].joined = f.fleet[e].joined
    f.fleet[e].joined += 1


@part_kernel
def begin_start(e, f, r, q, role, delay, course):
    """Let replica q of run e, which is empty, serve in a role after a delay, for which is paid."""
    g, clock = e * len(f.forms) + q, f.fleet[e].clock
    member = f.members[g]
    if member.power == OFF:
        member.since = clock
    member.power, member.becomes = STARTING, -1
    take_role(e, f, g, role)
    member.home = role
    member.starts = note(e, f, clock + delay, STARTED, q)
    r.state[g].hands_over = role == PREFILL or course.paired
    member.emits = r.state[g].hands_over or course.follows


@part_kernel
def outstanding(f, r, g):
    """Return the requests that replica g has or will have, as far as is known."""
    return r.state[g].n - r.state[g].done + f.members[g].inbound


@part_kernel
def switch_off(e, f, r, course):
    """Switch off the replicas of run e that were to end what they had, and have; or they take on their next role."""
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        member = f.members[g]
        if member.power == DRAINING and outstanding(f, r, g) == 0 and member.outbound == 0:
            if member.becomes >= 0:
                begin_start(e, f, r, g - e * len(f.forms), member.becomes, course.turn_over, course)
            else:
                turn_off(e, f, r, g)


@part_kernel
def engaged(e, f, role):
    """Return how many replicas of run e are on in a role, or will be."""
    count = 0
    for g in range(e * len(f.forms), (e + 1) * len(f.forms)):
        member = f.members[g]
        if member.power in (STARTING, ON):
            count += member.home == role
        elif member.power == DRAINING:
            count += member.becomes == role
    return count


@part_kernel
def dismiss(e, f, r, role):
    """Let one replica of run e leave a role; not one where somebody waits for its start."""
    replicas = len(f.forms)
    best, fewest, latest = -1, 0, -1
    for g in range(e * replicas, (e + 1) * replicas):
        member = f.members[g]
        if member.power == DRAINING and member.becomes == role:
            member.becomes = -1
            return
        if member.power == STARTING and member.home == role and member.starts > latest and outstanding(f, r, g) == 0:
            best, latest = g, member.starts
    if best >= 0:
        turn_off(e, f, r, best)
        return
    for g in range(e * replicas, (e + 1) * replicas):
        if f.members[g].power == ON and f.members[g].home == role:
            there = outstanding(f, r, g)
            if best < 0 or there <= fewest:
                best, fewest = g, there
    if best >= 0:
        f.members[best].power = DRAINING


@part_kernel
def recruit(e, f, r, role, course):
    """Let one more replica of run e serve in a role; return whether there was one."""
    replicas, off = len(f.forms), -1
    for g in range(e * replicas, (e + 1) * replicas):
        member = f.members[g]
        if member.power == DRAINING and member.becomes < 0 and member.home == role:
            member.power = ON
            return True
        if member.power == OFF and (off < 0 or member.home == role != f.members[off].home):
            off = g
    for g in range(e * replicas, (e + 1) * replicas):
        if f.members[g].power == DRAINING and f.members[g].becomes < 0:
            f.members[g].becomes = role
            return True
    if off >= 0:
        begin_start(e, f, r, off - e * replicas, role, course.start_up, course)
    return off >= 0


@lean_kernel
def follow(e, f, r, targets, course):
    """Let as many replicas of run e be on in each role as a controller wants, as far as there are so many.

    Args:
        e: the run.
        f: `FleetTables`.
        r: `ReplicaTables`.
        targets: replicas by role `(3,)`, int64.
        course: `COURSE` record.
    """
    for role in ROLES:
        for _ in range(engaged(e, f, role) - targets[role]):
            dismiss(e, f, r, role)
    for role in ROLES:
        for _ in range(targets[role] - engaged(e, f, role)):
            if not recruit(e, f, r, role, course):
                break
    switch_off(e, f, r, course)
