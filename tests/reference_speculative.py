"""Speculative decoding, slow and obvious: one event at a time, with lists of requests."""

import numpy as np


class Slow:
    """Requests that draft `rule(predicted, age)` tokens and are verified, as `systems.speculative` has it.

    Attributes:
        completions: `(n,)`, s.
        starts: `(n,)`, s, when each got its seat.
        steps: of the target model.
        accepted: draft tokens.
    """

    def __init__(self, drawn, system, rule):
        self.drawn, self.system, self.rule = drawn, system, rule
        n = len(drawn.sizes)
        self.completions, self.starts, self.steps, self.accepted = np.full(n, np.nan), np.full(n, np.nan), 0, 0
        self.age, self.shape = [0] * n, list(system.law_of_acceptance.shape)
        self.play()

    def time_of(self, members, tokens):
        """The time of a step of these requests with so many tokens of each: a roofline."""
        floor, base, token, _, context = self.system.cost_profile.numbers
        keys = sum(self.system.prompt + self.age[i] + k for i, k in zip(members, tokens, strict=True))
        return max(floor, base + token * sum(tokens)) + context * keys

    def play(self):
        arrivals, n, now = self.drawn.work["arrival"].tolist(), len(self.age), 0.0
        coming, waiting, ready, drafted = list(range(n)), [], [], []  # (request, draft) in the last
        drafting, verifying = None, None  # (end, [(request, draft), ...])
        seated = []  # in the order in which they sat down
        while np.isnan(self.completions).any():
            while len(seated) < self.system.seats and waiting:
                seated.append(waiting.pop(0))
                self.starts[seated[-1]] = now
                ready.append(seated[-1])
            alone = not self.system.tandem
            if ready and drafting is None and not (alone and verifying):
                told = [(i, self.rule(self.drawn.work["predicted"][i], self.age[i])) for i in sorted(ready)]
                ready, writers = [], [i for i, g in told if g > 0]
                longest = max(g for _, g in told)
                time = longest * self.system.draft * self.time_of(writers, [1] * len(writers)) if writers else 0.0
                if alone:
                    members = [i for i, _ in told]
                    time += self.time_of(members, [g + 1 for _, g in told])
                    verifying, self.steps = (now + time, told), self.steps + 1
                else:
                    drafted += [(i, g) for i, g in told if g == 0]
                    if writers:
                        drafting = now + time, [(i, g) for i, g in told if g > 0]
            if drafted and verifying is None:
                time = self.time_of([i for i, _ in drafted], [g + 1 for _, g in drafted])
                verifying, drafted, self.steps = (now + time, drafted), [], self.steps + 1
            ends = [batch[0] for batch in (drafting, verifying) if batch]
            now = min(ends + ([arrivals[coming[0]]] if coming else []))
            if drafting and drafting[0] <= now:
                drafted, drafting = drafted + drafting[1], None
            if verifying and verifying[0] <= now:
                for i, g in verifying[1]:
                    self.give(i, g, now)
                    if np.isnan(self.completions[i]):
                        ready.append(i)
                    else:
                        seated.remove(i)
                verifying = None
            while coming and arrivals[coming[0]] <= now:
                waiting.append(coming.pop(0))

    def give(self, i, g, now):
        """Give request i what is accepted of g drafts, and one token more."""
        truth, right = self.drawn.truth, 0
        luck = truth["luck"][truth["first"][i] : truth["first"][i + 1]]
        while right < g:
            chance = truth["acceptance"][i] * self.shape[min(right, len(self.shape) - 1)]
            if luck[(self.age[i] + right) % len(luck)] >= chance:
                break
            right += 1
        self.accepted += right
        self.age[i] += right + 1
        if self.age[i] >= self.drawn.sizes[i]:
            self.completions[i] = now
