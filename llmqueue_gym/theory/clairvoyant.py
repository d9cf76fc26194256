"""A floor for the mean end-to-end latency on one replica: no policy has less, whatever it knows, preempts or cuts.

Let an iteration take at least max(floor, base + token N) + pair P + context C, as in `engines.batching.cost`. A request
of P prompt and L output tokens is in the iteration that gives each of its L outputs, and in those for its prompt.

Alone: C_i >= a_i + the time of those iterations, were nobody else there.

Charges: what does not grow with the batch, F = floor or base, is paid by the requests in it, by one of three keys: by
heads over the seats, by tokens over the budget, or by tokens held over the tokens that fit in memory. Each request also
pays for its own tokens (where F = base) and its own attention. As no batch has more than all seats, tokens or memory,
the payments of an iteration come to at most its duration. Whatever the policy, request i has paid at least w_i when it
leaves. So payments are a preemptive schedule of one server of speed 1 with work w_i, and

* sum C_i is at least that of SRPT with work w_i (Schrage, 1968);
* sum C_i >= sum (M_i + D_i), where M_i is the mean time of the payments of i, and D_i how long before C_i they come on
  average: what is paid for an output token is paid before the iterations of all later ones. The sum of M_i is least
  where the request of least w_i is always served (Goemans, 1997: mean busy times in order of weight over work).

A preempted request may compute tokens anew instead of decoding; each output is charged with the cheaper of the two.
The floor of the mean is the largest of these means, over F and the three keys.
"""

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym._jit import kernel
from llmqueue_gym.errors import BadInput, NotApplicable

KEYS = ("seats", "tokens", "memory")


@dataclass(frozen=True)
class Floor:
    """A lower bound and what it is the largest of.

    Attributes:
        mean: end-to-end latency, s, of runs in which every request completes.
        parts: the bounds by name: "alone", and "floor by seats" and so on: what is shared, and the key it is shared by.
    """

    mean: float
    parts: dict[str, float]


def latency_floor(requests: np.ndarray, outputs: np.ndarray, profile: Any, rules: Any, replicas: int = 1) -> Floor:
    """Return a lower bound of the mean end-to-end latency of any policy on these requests.

    Several replicas pay no faster than one server of their speeds together.

    Args:
        requests: `REQUEST` rows `(n,)`, sorted by arrival, as they were before the run.
        outputs: true output tokens `(n,)`.
        profile: cost profile, of the form "roofline", "experts" or "phases".
        rules: rule set; those of a policy's own are included with `dataclasses.replace`.
        replicas: of this profile and these rules.

    Raises:
        NotApplicable: a cost profile by tables, which have no bound from below for all batches; a rule set that goes
            beyond its seats, tokens or memory, as Splitwise's and DistServe's do.
    """
    if len(requests) == 0:
        raise BadInput("a floor needs at least one request")
    rules = rules.on(profile.kv_tokens, profile.gpu)
    if rules.batching != "passes":
        raise NotApplicable(
            f"rule set {rules.name!r} (batching={rules.batching}) goes beyond its seats, tokens or memory, for which "
            "no floor is known"
        )
    numbers, limits = roofline_below(profile), _limits(rules)
    arrivals = np.ascontiguousarray(requests["arrival"], np.float64)
    prompts = np.ascontiguousarray(requests["prompt"], np.int64)
    # A request ends where the model's or the memory's length does.
    outputs = np.maximum(1, np.minimum(np.asarray(outputs, np.int64), rules.longest - prompts))
    parts = {"alone": float(times_alone(prompts, outputs, numbers, limits).mean())}
    for shared, name in enumerate(("floor", "base")):
        for key, keyed in enumerate(KEYS):
            work, ahead = charges(prompts, outputs, numbers, limits, shared, key)
            if not work.min() > 0:
                continue
            srpt = busy_server(arrivals, work / replicas, True)[0]
            busy = busy_server(arrivals, work / replicas, False)[1] + ahead.mean()
            parts[f"{name} by {keyed}"] = float(max(srpt, busy))
    return Floor(max(parts.values()), parts)


def roofline_below(profile: Any) -> np.ndarray:
    """Return floor, base, token, pair and context `(5,)`, s, of a roofline that is nowhere above a profile's times."""
    x = profile.numbers
    if profile.form == "roofline":
        return np.asarray(x, np.float64)
    if profile.form == "experts":  # what a single token reads
        read = x[0] + x[1] * x[2]
        return np.array([read, x[3] * read, *x[4:]])
    if profile.form == "phases":  # the smaller number of each kind; prompts cut to pieces have no squares to speak of
        base = min(x[0], x[4], x[7]) + x[10]
        return np.array([base, base, min(x[1], x[6], x[9]) + x[11], 0.0, min(x[5], x[8])])
    raise NotApplicable(
        f"profile {profile.name!r} has form {profile.form!r}: floors need 'roofline' or 'phases', or 'experts'"
    )


def _limits(rules: Any) -> np.ndarray:
    """Return what the kernels need of a rule set `(9,)`, float64; columns as named below."""
    chunk = rules.token_budget if rules.chunked else 1 << 40
    if rules.chunked and rules.long_prefill_threshold and rules.threshold_alone:
        chunk = min(chunk, rules.long_prefill_threshold)
    lookahead = rules.lookahead if rules.allocation == "chunk" else 0
    reserved = rules.longest - 1 + rules.lookahead if rules.allocation == "longest" else 0
    seats = (rules.max_seqs, rules.token_budget, rules.blocks * rules.block_size)
    row = (*seats, chunk, rules.block_size, lookahead, reserved, rules.keep_head, rules.forget_unread)
    return np.array(row, np.float64)


# Columns of limits; the first three are what the keys share: seats, tokens of an iteration, tokens of memory.
CHUNK, BLOCK, LOOKAHEAD, RESERVED, KEEPS_HEAD, FORGETS = 3, 4, 5, 6, 7, 8


@kernel
def share(key, limits, heads, tokens, held):
    """Return the share of an iteration's fixed time that a request pays by a key."""
    if key == 0:
        return heads / limits[0]
    if key == 1:
        return tokens / limits[1]
    blocks = np.ceil((max(held, limits[RESERVED]) + limits[LOOKAHEAD]) / limits[BLOCK])
    return blocks * limits[BLOCK] / limits[2]


@kernel
def recomputing(x, numbers, limits, floor, base, token):
    """Return the least time, s, of the tokens that are computed at least, if some of x had been given up."""
    again = 2.0 if limits[KEEPS_HEAD] > 0 else x
    return max(floor, base + token * again) + numbers[3] * (x * x - (x - again) * (x - again)) / 2


@kernel
def token_time(x, numbers, limits):
    """Return the least time, s, from one output token of a request to the next, which makes x tokens computed."""
    floor, base, token, _, context = numbers
    fixed = max(floor, base + token)
    if limits[FORGETS] > 0:
        return fixed
    return min(fixed + context * x, recomputing(x, numbers, limits, floor, base, token))


@kernel
def token_charge(x, numbers, limits, shared, key):
    """Return the least that a request pays, s, for an output token after the first, which makes x tokens computed."""
    per_token = numbers[2] if shared == 1 else 0.0
    fixed = numbers[shared] * share(key, limits, 1.0, 1.0, x)
    if limits[FORGETS] > 0:
        return fixed + per_token
    return fixed + min(per_token + numbers[4] * x, recomputing(x, numbers, limits, 0.0, 0.0, per_token))


@kernel
def prompt_time(prompt, numbers, limits):
    """Return the least time, s, to compute a prompt."""
    chunks = np.ceil(prompt / limits[CHUNK])
    attention = 0.0 if limits[FORGETS] > 0 else numbers[3] * prompt * prompt / 2
    return max(chunks * numbers[0], chunks * numbers[1] + numbers[2] * prompt) + attention


@kernel
def prompt_charge(prompt, numbers, limits, shared, key):
    """Return the least that a request pays for its prompt, s."""
    chunks = np.ceil(prompt / limits[CHUNK])
    shares = 0.0
    if key == 2:
        for k in range(int(chunks)):  # before the last k chunks at most so much of the prompt was left
            shares += share(key, limits, 1.0, 0.0, prompt - k * limits[CHUNK])
    else:
        shares = share(key, limits, chunks, float(prompt), 0.0)
    attention = 0.0 if limits[FORGETS] > 0 else numbers[3] * prompt * prompt / 2
    return numbers[shared] * shares + (numbers[2] * prompt if shared == 1 else 0.0) + attention


@kernel
def times_alone(prompts, outputs, numbers, limits):
    """Return the least time of each request on an empty replica `(n,)`, s."""
    times = np.zeros(len(prompts))
    for i in range(len(prompts)):
        times[i] = prompt_time(float(prompts[i]), numbers, limits)
        for g in range(1, outputs[i]):
            times[i] += token_time(float(prompts[i] + g), numbers, limits)
    return times


@kernel
def charges(prompts, outputs, numbers, limits, shared, key):
    """Return what each request pays in all, and how long before it leaves it pays on average; `(n,)` each, s.

    With `shared` 0 they share the floor, with 1 the base, and are charged for tokens; `key` is an index into `KEYS`.
    """
    n = len(prompts)
    work, ahead = np.zeros(n), np.zeros(n)
    shortest = max(numbers[0], numbers[1] + numbers[2])  # s, an iteration
    for i in range(n):
        prompt = float(prompts[i])
        paid, before, moment = 0.0, 0.0, 0.0  # before: least time from this token to the last
        for g in range(outputs[i] - 1, -1, -1):
            if g > 0:
                charge = token_charge(prompt + g, numbers, limits, shared, key)
                took = token_time(prompt + g, numbers, limits)
            else:
                charge, took = prompt_charge(prompt, numbers, limits, shared, key), 0.0
            paid += charge
            # Nobody pays faster than time passes, and what is paid in an iteration is paid evenly.
            moment += charge * (before + max(charge, shortest) / 2)
            before += took
        work[i] = paid
        if paid > 0:
            ahead[i] = moment / paid
    return work, ahead


@kernel
def busy_server(arrivals, work, by_remaining):
    """Serve one after another, preemptively, by least remaining work (SRPT) or by least work.

    Returns:
        means of completion - arrival, and of mean service time - arrival, s.
    """
    n = len(arrivals)
    left = work.copy()
    queue = [(0.0, 0)]
    queue.pop()
    clock, i, completion, service = 0.0, 0, 0.0, 0.0
    while i < n or len(queue) > 0:
        if len(queue) == 0:
            clock = max(clock, arrivals[i])
        while i < n and arrivals[i] <= clock:
            heapq.heappush(queue, (work[i], i))
            i += 1
        j = queue[0][1]
        stop = clock + left[j]
        if i < n and arrivals[i] < stop:
            stop = arrivals[i]
        took = stop - clock
        ends = stop == clock + left[j]
        service += took * ((clock + stop) / 2 - arrivals[j]) / work[j]
        left[j] -= took
        clock = stop
        if ends:
            heapq.heappop(queue)
            completion += clock - arrivals[j]
        elif by_remaining:
            heapq.heapreplace(queue, (left[j], j))  # it only gets smaller, so it stays the least until others arrive
    return completion / n, service / n
