"""Who reads a prompt and who decodes it, chosen together on arrival, and replicas that help out.

Router and handover each name the replica of least score, first among those of the role in question, then among those
that do both; a score of `REFUSED` or more says that it would rather not, and the rest is its load all the same. Where
all refuse, the least loaded replica of the other role does both until it is empty again (`borrows`); where nobody is
left, the least loaded of all does everything.

Source: the mixed pool of Mutinifni/splitwise-sim 8f99e7d (Patel et al., Splitwise, ISCA 2024).
"""

import numpy as np

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.fleet.choice import kth
from llmqueue_gym.engines.fleet.power import take_role
from llmqueue_gym.engines.fleet.promises import lend_room, promise
from llmqueue_gym.engines.fleet.sites import fits, look
from llmqueue_gym.engines.fleet.tables import ON
from llmqueue_gym.requests import BOTH, DECODE, PREFILL

REFUSED = 1e12  # as in `policies.routing.base`


@part_kernel
def load(score):
    """Return the load that a score tells of, refused or not."""
    return score - REFUSED if score >= REFUSED else score


@part_kernel
def least_loaded(e, f, r, i, role, score, params):
    """Return the replica of a role of least load, -1 for none; among equals the one that came to the role first."""
    first, best, least = e * len(f.forms), -1, np.inf
    for q in range(len(f.forms)):
        member = f.members[first + q]
        if member.power == ON and member.role == role and fits(f, r, q, i):
            value = load(score(r.requests[i], f.sites[first + q], params))
            if best < 0 or value < least or (value == least and member.joined < f.members[first + best].joined):
                best, least = q, value
    return best


@part_kernel
def willing(e, f, r, i, role, score, params):
    """Return the least loaded replica of a role, else of those that do both, that does not refuse; -1 for none."""
    first = e * len(f.forms)
    for kind in (role, BOTH):
        q = least_loaded(e, f, r, i, kind, score, params)
        if q >= 0 and score(r.requests[i], f.sites[first + q], params) < REFUSED:
            return q
    return -1


@part_kernel
def borrow(e, f, r, i, role, score, params):
    """Let the least loaded replica of a role do both from now on, and return it; -1 for none."""
    q = least_loaded(e, f, r, i, role, score, params)
    if q >= 0:
        take_role(e, f, e * len(f.forms) + q, BOTH)
    return q


@part_kernel
def come_home(e, f, r):
    """Let replicas of run e that help out, and have just ended the last that they had, go back to their role."""
    first = e * len(f.forms)
    for q in range(len(f.forms)):
        member, state = f.members[first + q], r.state[first + q]
        if member.role != member.home and state.done == state.n and r.system[first + q].clock == f.fleet[e].clock:
            take_role(e, f, first + q, member.home)


@part_kernel
def choose_both(e, f, r, i, course, score, scores, hand, hands):
    """Return the replica that reads request i, and note the one that decodes it.

    Args:
        e: the run.
        f: `FleetTables`.
        r: `ReplicaTables`.
        i: row of the request.
        course: `COURSE` record.
        score: compiled function of the router.
        scores: its numbers.
        hand: compiled function of the handover.
        hands: its numbers.
    """
    look(e, f, r, i, course.wants | course.hand_wants, False)
    p = willing(e, f, r, i, PREFILL, score, scores)
    t = willing(e, f, r, i, DECODE, hand, hands)
    if course.borrows:
        if p < 0:
            p = borrow(e, f, r, i, DECODE, score, scores)
        if t < 0:
            t = borrow(e, f, r, i, PREFILL, hand, hands)
    if p < 0 or t < 0:
        p = -1
        for role in (PREFILL, BOTH, DECODE):
            q, first = least_loaded(e, f, r, i, role, score, scores), e * len(f.forms)
            if q >= 0:
                value = load(score(r.requests[i], f.sites[first + q], scores))
                if p < 0 or value < load(score(r.requests[i], f.sites[first + p], scores)):
                    p = q
        if p < 0:
            p = kth(e, f, r, i, 0, False)
        t = p
    f.flows[i].target = t
    promise(e, f, r, i, t, 1)
    if p != t:
        lend_room(e, f, r, i, p, 1)
    return p
