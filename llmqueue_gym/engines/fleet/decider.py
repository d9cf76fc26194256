"""Whether a prompt is read where it is to be decoded, as little of it is missing there.

The replica that would decode a request is chosen first. Where fewer than `local_below` tokens of the prompt are not in
its cache it reads them itself; else the request goes to one that reads prompts, and who decodes it is chosen anew when
it is read. An agent is asked twice in that case: where the request decodes, and then where it is read.

Source: llm-d inference scheduler, commit 520af478: the decider of its profile handler for prefill and decode.
"""

from llmqueue_gym._jit import part_kernel
from llmqueue_gym.engines.batching.sharing import cached_tokens
from llmqueue_gym.engines.fleet.choice import choose
from llmqueue_gym.engines.fleet.sites import look, takes


@part_kernel
def uncached(request):
    """Return the tokens of a prompt that are to be computed where nothing is cached."""
    return request.prompt + request.generated - request.computed


@part_kernel
def missing_tokens(e, f, r, i, q):
    """Return how many tokens of request i replica q of run e would have to compute."""
    g = e * len(f.forms) + q
    request, state = r.requests[i], r.state[g]
    if not state.caching:
        return uncached(request)
    return uncached(request) - cached_tokens(r.cells, state, request, r.truth[i].path, f.rules[q].block_size)


@part_kernel
def may_stay(e, f, r, i, course):
    """Whether request i could be read where it is to be decoded, at one of the replicas of run e that take it."""
    return course.local_below > 0 and little_is_missing(e, f, r, i, course)


@part_kernel
def little_is_missing(e, f, r, i, course):
    """Do the work of `may_stay` where there is some."""
    if uncached(r.requests[i]) < course.local_below:
        return True
    for q in range(len(f.forms)):
        if r.state[e * len(f.forms) + q].caching and takes(e, f, r, q, i, True):
            if missing_tokens(e, f, r, i, q) < course.local_below:
                return True
    return False


@part_kernel
def is_read_there(e, f, r, i, q, course):
    """Whether request i is read where it decodes, at replica q of run e: little is missing there, or nobody reads."""
    return missing_tokens(e, f, r, i, q) < course.local_below or look(e, f, r, i, course.wants, False) == 0


@part_kernel
def asks_again(e, f, r, q, course):
    """Note whether the request in question, which an agent sends to replica q, is to be read elsewhere; return that."""
    fleet = f.fleet[e]
    first = not fleet.elsewhere and may_stay(e, f, r, fleet.subject, course)
    fleet.elsewhere = first and not is_read_there(e, f, r, fleet.subject, q, course)
    return fleet.elsewhere


@part_kernel
def route(e, f, r, i, course, score, params):
    """Return the replica of run e that a router sends request i to, which is the one in question.

    Args:
        e: the run.
        f: `FleetTables`.
        r: `ReplicaTables`.
        i: row of the request.
        course: `COURSE` record.
        score: compiled function of the router; the least is chosen.
        params: its numbers.
    """
    decodes = may_stay(e, f, r, i, course)
    while True:
        q = choose(e, f, r, i, course.looks, course.wants, decodes, score, params)
        if not decodes or is_read_there(e, f, r, i, q, course):
            return q
        decodes = False
