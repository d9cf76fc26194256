"""A slow, obvious replica under the rule set sglang: plain lists over the tree of `reference_radix`; a step takes 1 s.

Whole prompts in batches of their own, else a token for every request that runs. Iterations are given in the fields of
`evaluation.watch.Iteration`.
"""

from reference_radix import ReferenceOrder, ReferenceTree


class ReferenceSglang:
    """One replica of `blocks` pages; a request is a dict of id, arrival, tokens with the output, prompt and output."""

    def __init__(self, blocks, page=1, queue="fcfs", by_hits=False, seats=8, budget=10**6):
        self.tree, self.page, self.blocks = ReferenceTree(page, by_hits), page, blocks
        self.order, self.seats, self.budget = ReferenceOrder(self.tree, queue), seats, budget
        self.vacant, self.clock, self.waiting, self.running, self.blocked = blocks, 0.0, [], [], False

    def pages(self, tokens):
        return -(-tokens // self.page)

    def free(self):
        return self.vacant + self.tree.tokens(locked=False) // self.page

    def take(self, one, tokens):
        """Give a request own blocks for so many tokens; the tree gives up leaves where too few are vacant."""
        need = self.pages(tokens) - one["shared"] - one["own"]
        if need > self.vacant:
            self.vacant += self.tree.evict((need - self.vacant) * self.page) // self.page
        self.vacant -= need
        one["own"] += need

    def keep(self, one):
        """Let the tree have what was computed."""
        tokens = one["tokens"][: one["computed"]]
        inserted, known = self.tree.insert(tokens, one["inserted"])
        _, node = self.tree.match(tokens)
        self.tree.lock(one["node"], -1)
        self.tree.lock(node, 1)
        self.vacant += max(0, known // self.page - one["shared"])
        one["own"] -= inserted // self.page - one["shared"]
        one |= {"node": node, "shared": inserted // self.page, "inserted": inserted}
        self.blocked = False

    def release(self, one):
        self.tree.lock(one["node"], -1)
        self.vacant += one["own"]
        one |= {"node": self.tree.root, "shared": 0, "own": 0}
        self.blocked = False

    def admit(self):
        """Admit from the head of the queue; returns (request, tokens, hits)."""
        admitted, budget = [], self.budget
        if not self.waiting or self.blocked:
            return []
        # As in SGLang, by what is known of a request: its prompt and its output so far.
        shown = [{**one, "tokens": one["tokens"][: one["prompt"] + one["made"]]} for one in self.waiting]
        self.order(shown)
        self.waiting = [next(one for one in self.waiting if one["id"] == seen["id"]) for seen in shown]
        while self.waiting and budget > 0:
            one = self.waiting[0]
            known = one["prompt"] + one["made"]
            if len(self.running) < self.seats:
                hits, node = self.tree.match(one["tokens"][: known - 1])
                idle, at = 0, node
                while at is not self.tree.root and at.lock == 0:
                    idle, at = idle + len(at.key), at.parent
                need = known - hits
                if need <= budget and self.pages(known) <= self.free() + (hits - idle) // self.page:
                    self.tree.lock(node, 1)
                    one |= {"node": node, "shared": hits // self.page, "own": 0, "inserted": 0, "computed": hits}
                    one["reads"] = not (one["made"] and need == 1)
                    self.take(one, known)
                    budget -= need
                    admitted.append((one, need, hits))
                    self.running.append(self.waiting.pop(0))
                    continue
            self.blocked = not admitted
            break
        return admitted

    def decode(self):
        """Make room for a token of each; returns those that have it, and those preempted for it."""
        scheduled, preempted = [], []
        for one in list(self.running):
            if one not in self.running:
                continue
            while self.pages(one["computed"] + 1) - one["shared"] - one["own"] > self.free():
                victim = self.running.pop()
                self.release(victim)
                victim["computed"] = 0
                self.waiting.insert(0, victim)
                preempted.append(victim)
                if victim is one:
                    break
            if one in self.running:
                self.take(one, one["computed"] + 1)
                scheduled.append(one)
        return scheduled, preempted

    def run(self, requests):
        """Yield the iterations of requests, sorted by arrival."""
        coming = [dict(one, made=0, computed=0, shared=0, own=0, inserted=0, node=self.tree.root) for one in requests]
        while coming or self.waiting or self.running:
            if not self.waiting and not self.running:
                self.clock = max(self.clock, coming[0]["arrival"])
            added = []
            while coming and coming[0]["arrival"] <= self.clock:
                added.append(coming.pop(0))
                self.waiting.append(added[-1])
            admitted, preempted = self.admit(), []
            computing = [(one, tokens) for one, tokens, _ in admitted]
            if not admitted:
                scheduled, preempted = self.decode()
                computing = [(one, 1) for one in scheduled]
            told = {
                "clock": self.clock,
                "added": [one["id"] for one in added],
                "scheduled": [(one["id"], tokens) for one, tokens in computing],
                "admitted": [(one["id"], hits) for one, _, hits in admitted],
                "preempted": [one["id"] for one in preempted],
                "running": [one["id"] for one in self.running],
                "waiting": [one["id"] for one in self.waiting],
                "free": self.free(),
            }
            self.clock += 1.0 if computing else 0.0
            finished = []
            for one, tokens in computing:
                one["computed"] += tokens
                one["made"] += 1
                if one["reads"]:
                    self.keep(one)
                one["reads"] = False
                if one["made"] == one["output"]:
                    self.keep(one)
                    self.release(one)
                    finished.append(one)
            self.running = [one for one in self.running if one not in finished]
            yield told | {"finished": [one["id"] for one in finished], "free_after": self.free()}
