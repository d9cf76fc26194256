"""Routing read off a finished run: what every replica looked like when a request came, and which one a router takes.

It holds where an iteration takes a constant time whatever is in it, prompts are read in one, and memory is never short:
then the state of a replica at any time follows from when its requests were scheduled and done.
"""

import math
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import numpy as np

from llmqueue_gym.policies.reading import columns_read

BLOCK = 16


def luck_of(drawn, index):
    """Return the number of a request and a replica, given the one drawn for the request."""

    def stirred(x):
        for shift in (16, 15):
            x = ((x ^ (x >> shift)) * 0x45D9F3B) % 2**31
        return x ^ (x >> 16)

    number = int(drawn * 2**53)
    return stirred((stirred((number ^ (number >> 31)) % 2**31) + (index + 1) * 0x1E3779B9) % 2**31) / 2**31


@dataclass
class Books:
    """A finished run on replicas of constant iterations.

    Attributes:
        run: the run.
        replicas: how many.
        seconds: of an iteration.
        blocks: of a replica.
        staleness: s between reports.
        ties: drawn numbers `(n,)`.
        shared: tokens that every prompt with the same text begins with `(n,)`, where replicas cache them; they never
            forget.
    """

    run: object
    replicas: int
    seconds: float
    blocks: int
    staleness: float
    ties: np.ndarray
    shared: np.ndarray | None = None

    def at(self, q, when, before):
        """Return the requests at replica q at a time, of those before a row: who runs, and who waits."""
        jobs, outcome = self.run.jobs, self.run.outcome
        here = [
            i
            for i in range(before)
            if jobs["site"][i] == q and jobs["arrival"][i] <= when and not outcome["completion"][i] <= when
        ]
        running = [i for i in here if outcome["scheduled"][i] < when]
        return running, [i for i in here if i not in running]

    def progress(self, i, when):
        """Return the tokens of request i that are computed, those generated, and its blocks."""
        passes = math.floor((when - self.run.outcome["scheduled"][i]) / self.seconds)
        prompt, hits = int(self.run.jobs["prompt"][i]), self.hits(self.run.jobs["site"][i], i, math.inf)
        return (prompt + passes - 1 if passes else hits), passes, -(-(prompt + passes) // BLOCK)

    def hits(self, q, i, when):
        """Return the tokens of request i that are in whole blocks of who was scheduled before at replica q."""
        if self.shared is None:
            return 0
        jobs, outcome = self.run.jobs[:i], self.run.outcome[:i]
        alike = (jobs["site"] == q) & (jobs["prefix"] == self.run.jobs["prefix"][i]) & (outcome["scheduled"] < when)
        return int(self.shared[i]) // BLOCK * BLOCK if alike.any() else 0

    def twice(self, running):
        """Return the blocks that are counted too often where requests that run share them."""
        if self.shared is None:
            return 0
        texts = self.run.jobs["prefix"]
        return sum(int(self.shared[k]) // BLOCK for j, k in enumerate(running) if texts[k] in texts[running[:j]])

    def site(self, q, i):
        """Return what the router sees of replica q when request i comes."""
        jobs = self.run.jobs
        prompt, predicted = jobs["prompt"], jobs["first_predicted"]
        now = jobs["arrival"][i]
        when = now if self.staleness == 0 else math.floor(now / self.staleness) * self.staleness
        # At the time of a report whoever comes then is not there yet.
        last = int(np.searchsorted(jobs["arrival"], when, side="right")) if self.staleness else i
        running, waiting = self.at(q, when, last)
        seen = SimpleNamespace(index=q, clock=now, reported=when, running=len(running), waiting=len(waiting))
        states = [self.progress(k, when) for k in running]
        seen.blocks = self.blocks
        seen.free = self.blocks - sum(blocks for _, _, blocks in states) + self.twice(running)
        seen.pending = float(sum(prompt[k] for k in waiting))
        seen.pending += sum(prompt[k] - held for k, (held, made, _) in zip(running, states, strict=True) if made == 0)
        seen.context = float(sum(computed for computed, _, _ in states))
        seen.work = float(sum(max(predicted[k], 1.0) for k in waiting))
        seen.work += sum(max(predicted[k] - made, 1.0) for k, (_, made, _) in zip(running, states, strict=True))
        seen.wanted = sum(-(-int(prompt[k]) // BLOCK) for k in waiting)
        # Any replica's iterations take as long, but for those that have not had one.
        began = [k for k in range(last) if jobs["site"][k] == q and self.run.outcome["scheduled"][k] <= when]
        seen.step_time = self.seconds if any(self._ended(k, when) for k in began) else 0.0
        there = [k for part in self.at(q, now, i) for k in part]
        seen.reading = len(waiting) + sum(made == 0 for _, made, _ in states)
        seen.idle = len(waiting)
        seen.promised = len(there)
        seen.reserved = sum(-(-int(prompt[k] + max(predicted[k], 1)) // BLOCK) for k in there)
        seen.outstanding, seen.tokens = len(there), float(sum(prompt[k] for k in there))
        sent = [k for k in range(i) if jobs["site"][k] == q]
        seen.sent = float(sum(prompt[k] - self.hits(q, k, math.inf) for k in sent))
        seen.since = sum(jobs["arrival"][k] > when for k in sent) if self.staleness else 0
        seen.cached, seen.known = float(self.hits(q, i, now)), float(self.hits(q, i, math.inf))
        seen.luck = luck_of(self.ties[i], q)
        return seen

    def _ended(self, k, when):
        return self.run.outcome["scheduled"][k] + self.seconds <= when


def shown(seen):
    """Add to sites what they say of each other, and return them."""
    counts = [site.outstanding for site in seen]
    for site in seen:
        site.sites, site.total, site.most, site.least = len(seen), sum(counts), max(counts), min(counts)
        site.asked, site.lowest, site.highest = 0, 0.0, 0.0
    return seen


@cache
def asked_twice(score):
    """Whether a score depends on how the others stand."""
    return bool(columns_read(score, ("lowest", "highest"), 1) & {"lowest", "highest"})


def choose(policy, params, request, seen, tie=0.0, choices=(), turn=0):
    """Return the index of the replica that a router takes, by the words of `policies.routing.base`."""
    if policy.looks == "turn":
        return seen[turn % len(seen)].index
    if asked_twice(policy.score):
        first = [policy.score(request, site, params) for site in seen]
        for site in seen:
            site.asked, site.lowest, site.highest = 1, min(first), max(first)
    looked = [site for q in choices for site in seen if site.index == q] if policy.looks == "sample" else seen
    scores = [policy.score(request, site, params) for site in looked]
    least = [site.index for site, score in zip(looked, scores, strict=True) if score == min(scores)]
    if policy.looks == "sample" or policy.ties == "first":
        return least[0]
    return least[int(tie * len(least))]
