"""A floor for the mean end-to-end latency on replicas: no policy has less, whatever it knows, preempts or cuts.

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

Weights: sum v_i C_i >= sum v_i (M_i + D_i), and the sum of the v_i M_i is least where the request of most v_i / w_i is
always served (Goemans, 1997); SRPT is for equal weights alone.

Caches: let s_i be the most leading tokens that the context of i, its prompt and output, has in common with that of any
other request. No cache holds more of its prompt when it comes, so P_i - s_i tokens of it are computed, one at least,
each with attention to all before it. What is computed anew may be found in the cache but for one token. Of the blocks
that i holds, those of s_i may be another's, too, so it is charged for the memory of the rest alone.

Replicas: n of them pay no faster than one server of n times the speed. Where they differ, each is taken to be as good
in every number as the best of them is in that.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmqueue_gym._jit import kernel
from llmqueue_gym.columns import MOST_BUDGET, MOST_SEATS
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


def latency_floor(requests: np.ndarray, outputs: np.ndarray, profile: Any, rules: Any, **more: Any) -> Floor:
    """Return a lower bound of the mean end-to-end latency of any policy on these requests; see `fleet_floor`.

    Args:
        requests: `REQUEST` rows `(n,)`, sorted by arrival, as they were before the run.
        outputs: true output tokens `(n,)`.
        profile: cost profile, of the form "roofline", "experts" or "phases".
        rules: rule set; those of a policy's own are included with `dataclasses.replace`.
        more: as of `fleet_floor`.

    Raises:
        NotApplicable: a cost profile by tables, which have no bound from below for all batches; a rule set that goes
            beyond its seats, tokens or memory, as Splitwise's and DistServe's do.
    """
    return fleet_floor(requests, outputs, [(profile, rules)], **more)


def fleet_floor(
    requests: np.ndarray,
    outputs: np.ndarray,
    replicas: Sequence[tuple[Any, Any]],
    shared: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    free: bool = False,
) -> Floor:
    """Return a lower bound of the mean, weighted or not, of the end-to-end latencies of any policy on these requests.

    Args:
        requests: `REQUEST` rows `(n,)`, sorted by arrival, as they were before the run.
        outputs: true output tokens `(n,)`.
        replicas: the cost profile and the rule set of each.
        shared: leading tokens of prompt and output that another context has as well `(n,)`; see
            `workloads.contexts.shared_tokens`. None: nobody shares.
        weights: what each latency is multiplied by `(n,)`, positive; 1 unless told otherwise.
        free: whether policies may change seats and token budget, up to `columns.MOST_SEATS` and `MOST_BUDGET`, and how
            memory is allotted.

    Raises:
        NotApplicable: as in `latency_floor`.
    """
    n = len(requests)
    if n == 0:
        raise BadInput("a floor needs at least one request")
    bound = [(profile, rules.on(profile.kv_tokens, profile.gpu)) for profile, rules in replicas]
    for _, rules in bound:
        if rules.batching != "passes":
            raise NotApplicable(
                f"rule set {rules.name!r} (batching={rules.batching}) goes beyond its seats, tokens or memory, for "
                "which no floor is known"
            )
    numbers = np.min([roofline_below(profile) for profile, _ in bound], axis=0)
    limits = np.where(_MORE_IS_BETTER, *(pick([_limits(one) for _, one in bound], axis=0) for pick in (np.max, np.min)))
    if free:
        limits[:2] = np.maximum(limits[:2], (MOST_SEATS, MOST_BUDGET))
        limits[CHUNK], limits[[LOOKAHEAD, RESERVED]] = max(limits[CHUNK], MOST_BUDGET), 0
    arrivals = np.ascontiguousarray(requests["arrival"], np.float64)
    prompts = np.ascontiguousarray(requests["prompt"], np.int64)
    # A request ends where the model's or the memory's length does.
    longest = min(rules.longest for _, rules in bound)
    outputs = np.maximum(1, np.minimum(np.asarray(outputs, np.int64), longest - prompts))
    same = np.zeros(n, np.int64) if shared is None else np.asarray(shared, np.int64)
    weight = np.ones(n) if weights is None else np.ascontiguousarray(weights, np.float64)
    parts = {"alone": float((weight * times_alone(prompts, outputs, same, numbers, limits)).mean())}
    for fixed, name in enumerate(("floor", "base")):
        for key, keyed in enumerate(KEYS):
            work, ahead = charges(prompts, outputs, same, numbers, limits, fixed, key)
            if not work.min() > 0:
                continue
            busy = busy_server(arrivals, work / len(bound), weight, False)[1] + (weight * ahead).mean()
            srpt = busy_server(arrivals, work / len(bound), weight, True)[0] if weights is None else 0.0
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
    """Return what the kernels need of a rule set `(10,)`, float64; columns as named below."""
    chunk = rules.token_budget if rules.chunked else 1 << 40
    if rules.chunked and rules.long_prefill_threshold and rules.threshold_alone:
        chunk = min(chunk, rules.long_prefill_threshold)
    lookahead = rules.lookahead if rules.allocation == "chunk" else 0
    reserved = rules.longest - 1 + rules.lookahead if rules.allocation == "longest" else 0
    seats = (rules.max_seqs, rules.token_budget, rules.blocks * rules.block_size)
    caches = rules.caching != "none"
    row = (*seats, chunk, rules.block_size, lookahead, reserved, rules.keep_head, rules.forget_unread, caches)
    return np.array(row, np.float64)


# Columns of limits; the first three are what the keys share: seats, tokens of an iteration, tokens of memory.
CHUNK, BLOCK, LOOKAHEAD, RESERVED, KEEPS_HEAD, FORGETS, CACHES = 3, 4, 5, 6, 7, 8, 9
_MORE_IS_BETTER = np.isin(np.arange(10), (0, 1, 2, CHUNK, KEEPS_HEAD, FORGETS, CACHES))  # of the others, less


@kernel
def share(key, limits, heads, tokens, held, same):
    """Return the share of an iteration's fixed time that a request pays by a key; `same` of what it holds is shared."""
    if key == 0:
        return heads / limits[0]
    if key == 1:
        return tokens / limits[1]
    blocks = np.ceil((max(held, limits[RESERVED]) + limits[LOOKAHEAD]) / limits[BLOCK]) - np.floor(same / limits[BLOCK])
    return max(blocks, 0.0) * limits[BLOCK] / limits[2]


@kernel
def recomputing(x, numbers, limits, floor, base, token):
    """Return the least time, s, of the tokens that are computed at least, if some of x had been given up."""
    again = 1.0 if limits[CACHES] > 0 else 2.0 if limits[KEEPS_HEAD] > 0 else x
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
def token_charge(x, same, numbers, limits, shared, key):
    """Return the least that a request pays, s, for an output token after the first, which makes x tokens computed."""
    per_token = numbers[2] if shared == 1 else 0.0
    fixed = numbers[shared] * share(key, limits, 1.0, 1.0, x, same)
    if limits[FORGETS] > 0:
        return fixed + per_token
    return fixed + min(per_token + numbers[4] * x, recomputing(x, numbers, limits, 0.0, 0.0, per_token))


@kernel
def attention(prompt, hit, numbers, limits):
    """Return the least time, s, of attention for the tokens of a prompt that no cache holds."""
    return 0.0 if limits[FORGETS] > 0 else numbers[3] * (prompt * prompt - hit * hit) / 2


@kernel
def prompt_time(prompt, hit, numbers, limits):
    """Return the least time, s, to compute a prompt of which a cache holds `hit` tokens."""
    chunks = np.ceil((prompt - hit) / limits[CHUNK])
    return max(chunks * numbers[0], chunks * numbers[1] + numbers[2] * (prompt - hit)) + attention(
        prompt, hit, numbers, limits
    )


@kernel
def prompt_charge(prompt, hit, same, numbers, limits, shared, key):
    """Return the least that a request pays for its prompt, s."""
    chunks = np.ceil((prompt - hit) / limits[CHUNK])
    shares = 0.0
    if key == 2:
        for k in range(int(chunks)):  # before the last k chunks at most so much of the prompt was left
            shares += share(key, limits, 1.0, 0.0, prompt - k * limits[CHUNK], same)
    else:
        shares = share(key, limits, chunks, prompt - hit, 0.0, 0.0)
    own = numbers[2] * (prompt - hit) if shared == 1 else 0.0
    return numbers[shared] * shares + own + attention(prompt, hit, numbers, limits)


@kernel
def times_alone(prompts, outputs, same, numbers, limits):
    """Return the least time of each request on an empty replica `(n,)`, s."""
    times = np.zeros(len(prompts))
    for i in range(len(prompts)):
        times[i] = prompt_time(float(prompts[i]), float(min(same[i], prompts[i] - 1)), numbers, limits)
        for g in range(1, outputs[i]):
            times[i] += token_time(float(prompts[i] + g), numbers, limits)
    return times


@kernel
def charges(prompts, outputs, same, numbers, limits, shared, key):
    """Return what each request pays in all, and how long before it leaves it pays on average; `(n,)` each, s.

    With `shared` 0 they share the floor, with 1 the base, and are charged for tokens; `key` is an index into `KEYS`.
    """
    n = len(prompts)
    work, ahead = np.zeros(n), np.zeros(n)
    shortest = max(numbers[0], numbers[1] + numbers[2])  # s, an iteration
    for i in range(n):
        prompt, alike = float(prompts[i]), float(same[i])
        paid, before, moment = 0.0, 0.0, 0.0  # before: least time from this token to the last
        for g in range(outputs[i] - 1, -1, -1):
            if g > 0:
                charge = token_charge(prompt + g, alike, numbers, limits, shared, key)
                took = token_time(prompt + g, numbers, limits)
            else:
                charge, took = prompt_charge(prompt, min(alike, prompt - 1), alike, numbers, limits, shared, key), 0.0
            paid += charge
            # Nobody pays faster than time passes, and what is paid in an iteration is paid evenly.
            moment += charge * (before + max(charge, shortest) / 2)
            before += took
        work[i] = paid
        if paid > 0:
            ahead[i] = moment / paid
    return work, ahead


@kernel
def busy_server(arrivals, work, weights, by_remaining):
    """Serve one after another, preemptively, by least remaining work (SRPT) or by least work over weight.

    Returns:
        means of weight * (completion - arrival), and of weight * (mean service time - arrival), s.
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
            heapq.heappush(queue, (work[i] / weights[i], i))
            i += 1
        j = queue[0][1]
        stop = clock + left[j]
        if i < n and arrivals[i] < stop:
            stop = arrivals[i]
        took = stop - clock
        ends = stop == clock + left[j]
        service += weights[j] * took * ((clock + stop) / 2 - arrivals[j]) / work[j]
        left[j] -= took
        clock = stop
        if ends:
            heapq.heappop(queue)
            completion += weights[j] * (clock - arrivals[j])
        elif by_remaining:
            heapq.heapreplace(queue, (left[j], j))  # it only gets smaller, so it stays the least until others arrive
    return completion / n, service / n
