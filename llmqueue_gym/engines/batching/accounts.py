"""What each tenant, or each class, has been given: policies that are fair to them read it as `request.received`.

An account grows by 1 for each token of a prompt, when a request is first admitted, and by 2 for each output token, both
divided by the share of who owns it. Whoever comes back after a time in which none of his requests waited is lifted to
the least of those who have some in the queue, so that nobody saves up. Admission takes one request after another, the
next one by the accounts as they are then.

Source: Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024 (VTC); Ying1123/VTC-artifact, which lifts
nobody where the queue is empty, as here.
"""

from llmqueue_gym._jit import inner_kernel, part_kernel
from llmqueue_gym.engines.batching.pool import clear_queue
from llmqueue_gym.engines.batching.queue import precedes, row_at
from llmqueue_gym.engines.batching.tables import CLASSES
from llmqueue_gym.engines.batching.waiting_pass import admit, may_join

PER_PROMPT_TOKEN, PER_OUTPUT_TOKEN = 1.0, 2.0


@inner_kernel
def account(e, r, conduct, i):
    """Return the `NOTES` record that holds the account of who owns request i."""
    owner = r.requests[i].klass if conduct.accounts == CLASSES else r.requests[i].tenant
    return r.notes[e, min(max(owner, 0), r.notes.shape[1] - 1)]


@part_kernel
def open_account(e, r, conduct, i):
    """Lift the account of who owns request i, which comes now, if nothing of his waits; tell the request."""
    own, least, waits = account(e, r, conduct, i), 0.0, False
    for k in range(r.system[e].waiting):
        j = row_at(e, r, k)
        if conduct.accounts == CLASSES:
            waits = waits or r.requests[j].klass == r.requests[i].klass
        else:
            waits = waits or r.requests[j].tenant == r.requests[i].tenant
        other = account(e, r, conduct, j).received
        if k == 0 or other < least:
            least = other
    if conduct.lifts and not waits and own.received < least:
        own.received = least
    r.requests[i].received = own.received


@part_kernel
def tell_accounts(e, r, conduct):
    """Let every request in system know what its owner has received."""
    system = r.system[e]
    for k in range(system.running):
        i = r.running[e, k]
        r.requests[i].received = account(e, r, conduct, i).received
    for k in range(system.waiting):
        i = row_at(e, r, k)
        r.requests[i].received = account(e, r, conduct, i).received


@inner_kernel
def charge_prompt(e, r, conduct, i):
    """Charge the prompt of request i, which has been admitted, if that is the first time, here and elsewhere."""
    request = r.requests[i]
    if request.preemptions == 0 and request.generated == 0:
        own = account(e, r, conduct, i)
        own.received += PER_PROMPT_TOKEN * request.prompt / own.share


@part_kernel
def charge_outputs(e, r, conduct):
    """Charge the output tokens that the iteration which is scheduled delivers."""
    for k in range(r.system[e].running):
        i = r.running[e, k]
        request = r.requests[i]
        if request.scheduled > 0 and request.computed + request.scheduled == request.prompt + request.generated:
            own = account(e, r, conduct, i)
            own.received += PER_OUTPUT_TOKEN / own.share


@part_kernel
def schedule_fairly(e, r, rules, conduct, rank, length, params):
    """Admit requests, each time the one of least rank, until it does not fit [10 to 16]; charge their prompts.

    Args:
        e: row of the run.
        r: `ReplicaTables`.
        rules: `RULES` record.
        conduct: `CONDUCT` record.
        rank: rank function.
        length: length function.
        params: parameters of both.
    """
    system, state, requests = r.system[e], r.state[e], r.requests
    while system.waiting > 0 and state.budget > 0:
        best = 0
        for k in range(system.waiting):
            i = row_at(e, r, k)
            request = requests[i]
            request.received = account(e, r, conduct, i).received
            request.rank = rank(request, system, params)
            if precedes(request, requests[row_at(e, r, best)]):
                best = k
        i = row_at(e, r, best)
        if may_join(e, r, rules, conduct, length, params, i):
            admit(e, r, rules, conduct, length, params, best)
            charge_prompt(e, r, conduct, i)
            continue
        # Caches kept in the queue could block it for ever.
        holds = system.running == 0 and (rules.keep_head or state.keeps)
        if not (holds and clear_queue(e, r, rules)):
            break
