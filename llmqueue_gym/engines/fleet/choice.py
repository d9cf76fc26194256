"""Which replica a router chooses, of those that take a request."""

import numpy as np

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.fleet.sites import fits, look, luck_of, takes
from llmqueue_gym.engines.fleet.tables import ALL, FIRST, ON, STARTING, TURN, TWICE
from llmqueue_gym.requests import PREFILL


@part_kernel
def place_of(f, i, q):
    """Return at which place replica q is in the sample that request i sees, from 1 on; 0 where it is not in it."""
    for c in range(f.choices.shape[1]):
        if f.choices[i, c] == q:
            return c + 1
    return 0


@part_kernel
def draw_others(e, f, r, i, decodes):
    """Let others take the places of the replicas drawn for request i that do not take it, as far as there are others.

    Those that take it stay, and the others come in the order of `luck_of`. So every sample of those that take it is as
    probable as any other, because what was drawn is a sample of all replicas.
    """
    for c in range(f.choices.shape[1]):
        if takes(e, f, r, f.choices[i, c], i, decodes):
            continue
        other, least = -1, 1.0
        for q in range(len(f.forms)):
            if takes(e, f, r, q, i, decodes) and place_of(f, i, q) == 0 and luck_of(f.ties[i], q) < least:
                other, least = q, luck_of(f.ties[i], q)
        if other < 0:
            return
        f.choices[i, c] = other


@part_kernel
def ask_first(e, f, r, i, decodes, score, params):
    """Let a router that is asked twice give its number of each replica, and show it the least and the most of them."""
    replicas, lowest, highest = len(f.forms), np.inf, -np.inf
    for g in range(e * replicas, (e + 1) * replicas):
        if takes(e, f, r, g - e * replicas, i, decodes):
            f.sites[g].asked = 0
            value = score(r.requests[i], f.sites[g], params)
            lowest, highest = min(lowest, value), max(highest, value)
    for g in range(e * replicas, (e + 1) * replicas):
        site = f.sites[g]
        site.asked, site.lowest, site.highest = 1, lowest, highest


@part_kernel
def kth(e, f, r, i, k, decodes):
    """Return the k-th of the replicas that take request i, or one that may later if none does now."""
    replicas = len(f.forms)
    for q in range(replicas):
        if takes(e, f, r, q, i, decodes):
            if k == 0:
                return q
            k -= 1
    for power in (STARTING, ON):  # one that starts, or else one of another role, which is where it was read
        if power == ON and f.fleet[e].source >= 0:
            return f.fleet[e].source
        for q in range(replicas):
            member = f.members[e * replicas + q]
            reads = f.fleet[e].source >= 0 and decodes and member.role == PREFILL
            if member.power == power and not reads and fits(f, r, q, i):
                return q
    return 0


@part_kernel
def choose(e, f, r, i, looks, wants, decodes, score, params):
    """Return which replica of run e a router sends request i to.

    Args:
        e: the run.
        f: `FleetTables`.
        r: `ReplicaTables`.
        i: row of the request, which is the one in question.
        looks: at which replicas: `ALL`, `SAMPLE` or `TURN`.
        wants: what it reads.
        decodes: whether the request has been read and is to go on.
        score: compiled function; the least is chosen.
        params: its numbers.
    """
    replicas, count = len(f.forms), look(e, f, r, i, wants, decodes)
    if count == 0 or looks == TURN:
        turn = f.fleet[e].turn if f.fleet[e].source < 0 else f.fleet[e].handed
        return kth(e, f, r, i, turn % max(count, 1), decodes)
    best, least, equal, shown = -1, np.inf, 0, f.choices.shape[1]
    if wants & TWICE:
        ask_first(e, f, r, i, decodes, score, params)
    if looks != ALL:
        draw_others(e, f, r, i, decodes)
        for c in range(shown):
            q = f.choices[i, c]
            if takes(e, f, r, q, i, decodes):
                value = score(r.requests[i], f.sites[e * replicas + q], params)
                if best < 0 or value < least:
                    best, least = q, value
        if best >= 0:
            return best
    for q in range(replicas):
        f.scores[q] = np.inf
        if takes(e, f, r, q, i, decodes):
            f.scores[q] = score(r.requests[i], f.sites[e * replicas + q], params)
            if f.scores[q] < least or equal == 0:
                best, least, equal = q, f.scores[q], 1
            elif f.scores[q] == least:
                equal += 1
    if equal > 1 and not wants & FIRST:
        k = int(f.ties[i] * equal)
        for q in range(best, replicas):
            if f.scores[q] == least and takes(e, f, r, q, i, decodes):
                if k == 0:
                    return q
                k -= 1
    return best
