"""Several models to choose from, slow and obvious: one event at a time, with lists of calls."""

from types import SimpleNamespace

import numpy as np


class Slow:
    """Calls that a choice policy's plain functions send to models, as `systems.choice` has it.

    Attributes:
        completions: `(n,)`, s.
        kept: `(n,)`, the model whose answer was kept.
        spent: `(n,)`, USD.
        given_up: `(n,)`, models that were asked and given up.
    """

    def __init__(self, drawn, system, policy, params):
        self.truth, self.work, self.system, self.policy, self.params = drawn.truth, drawn.work, system, policy, params
        n, m = drawn.truth["tokens"].shape
        self.models, self.arrivals = range(m), drawn.work["arrival"].tolist()
        self.completions, self.kept = np.full(n, np.nan), np.full(n, -1)
        self.spent, self.given_up = np.zeros(n), np.zeros(n, int)
        self.lines = [[] for _ in self.models]  # calls that wait
        self.at_work = [{} for _ in self.models]  # call -> when it began
        self.asked, self.answers = [[] for _ in range(n)], [[] for _ in range(n)]
        self.heard = {}  # (kind, model) -> list of what users said
        self.now, self.arrived = 0.0, 0
        self.play()

    def time_at(self, m, tokens):
        return self.system.served[m].ttft + tokens * self.system.served[m].tpot

    def expected(self, i, m):
        return self.time_at(m, float(self.work["predicted"][i]) * self.system.served[m].wordy)

    def pay_prompt(self, i, m):
        self.spent[i] += self.truth["prompts"][i] * self.system.served[m].read / 1e6

    def pay_output(self, i, m, tokens):
        self.spent[i] += tokens * self.system.served[m].write / 1e6

    def fill(self, m):
        while self.lines[m] and len(self.at_work[m]) < self.system.served[m].seats:
            i = self.lines[m].pop(0)
            self.at_work[m][i] = self.now
            self.pay_prompt(i, m)

    def shown(self, i, m):
        """What a rule sees of a model."""
        one, row = self.system.served[m], self.truth
        tokens = float(self.work["predicted"][i]) * one.wordy
        wait = 0.0
        if len(self.at_work[m]) == one.seats:
            left = [max(self.expected(k, m) - (self.now - began), 0.0) for k, began in self.at_work[m].items()]
            wait = (sum(left) + sum(self.expected(k, m) for k in self.lines[m])) / one.seats
        said = self.heard.get((int(self.work["klass"][i]), m), [])
        return SimpleNamespace(
            index=m, strength=m, models=len(self.models), quality=row["quality"][i, m], tokens=tokens, wait=wait,
            price=(row["prompts"][i] * one.read + tokens * one.write) / 1e6, service=self.time_at(m, tokens),
            asked=int(m in self.asked[i]), trials=len(said), reward=float(np.mean(said)) if said else 0.0,
        )  # fmt: skip

    def call(self, i):
        """What a rule sees of a call."""
        seats = sum(one.seats for one in self.system.served)
        best = self.best(i)
        return SimpleNamespace(
            prompt=self.truth["prompts"][i], win=self.truth["win"][i], luck=self.truth["luck"][i], calls=i,
            asked=len(self.asked[i]), klass=int(self.work["klass"][i]), allowed=self.system.budget,
            verified=0.0 if best is None else self.truth["verified"][i, best],
            spent=self.spent.sum() / max(self.arrived - 1, 1), load=sum(map(len, self.at_work)) / seats,
        )  # fmt: skip

    def best(self, i):
        found = None
        for m in self.answers[i]:
            if found is None or self.truth["verified"][i, m] > self.truth["verified"][i, found]:
                found = m
        return found

    def next_model(self, i):
        free = [m for m in self.models if m not in self.asked[i]]
        return min(free, key=lambda m: self.policy.score(self.call(i), self.shown(i, m), self.params))

    def ask(self, i, m):
        self.asked[i].append(m)
        self.lines[m].append(i)
        self.fill(m)

    def leave(self, i):
        self.completions[i], self.kept[i] = self.now, self.best(i)
        said = self.truth["feedback"][i, self.kept[i]]
        if said >= 0:
            self.heard.setdefault((int(self.work["klass"][i]), self.kept[i]), []).append(said)

    def give_up(self, i):
        for m in self.models:
            if i in self.lines[m]:
                self.lines[m].remove(i)
                self.given_up[i] += 1
            elif i in self.at_work[m]:
                began, one = self.at_work[m].pop(i), self.system.served[m]
                written = (self.now - began - one.ttft) / one.tpot
                self.pay_output(i, m, min(max(written, 0.0), self.truth["tokens"][i, m]))
                self.given_up[i] += 1
                self.fill(m)

    def take(self, i, m):
        """Take an answer."""
        self.at_work[m].pop(i)
        self.pay_output(i, m, self.truth["tokens"][i, m])
        self.fill(m)
        self.answers[i].append(m)
        good = self.truth["verified"][i, self.best(i)] >= self.system.passes
        together = min(self.policy.at_once, len(self.models))
        if together > 1 and good:
            self.give_up(i)
            self.leave(i)
        elif len(self.answers[i]) == len(self.models):
            self.leave(i)
        elif len(self.answers[i]) == len(self.asked[i]):
            m = self.next_model(i)
            again = self.policy.again
            if again is not None and again(self.call(i), self.shown(i, m), self.params):
                self.ask(i, m)
            else:
                self.leave(i)

    def play(self):
        while np.isnan(self.completions).any():
            ends = [
                (began + self.time_at(m, self.truth["tokens"][i, m]), i, m)
                for m in self.models
                for i, began in self.at_work[m].items()
            ]
            soonest = min(ends, default=(np.inf, 0, 0))
            if self.arrived < len(self.arrivals) and self.arrivals[self.arrived] < soonest[0]:
                self.now, i = self.arrivals[self.arrived], self.arrived
                self.arrived += 1
                for _ in range(min(self.policy.at_once, len(self.models))):
                    self.ask(i, self.next_model(i))
            else:
                self.now = soonest[0]
                self.take(*soonest[1:])
