"""A slow, obvious replica that is stepped one iteration at a time, for `reference_fleet`. Plain lists.

The rules are those of `engines.batching.rules`, with their numbers there in brackets; of the orders first come first
served, ranks that are looked at on arrival, merged queues, and ranks by the accounts of `engines.batching.accounts`.
`tests.test_fleet_reference` holds it against `reference_serving`, which is checked against the real scheduler. Besides,
requests may come with a cache from elsewhere: it stays theirs while they wait, and all of them give it up where the
head has no room and nothing runs, or where whoever runs alone has none.
"""

import math
from types import SimpleNamespace

from llmqueue_gym.policies.control.base import DRAINING, ON
from llmqueue_gym.requests import PREFILL, REQUEST, ROOM

NEVER = math.inf


class Request(SimpleNamespace):
    """A request: the columns of its row, and what comes of it."""

    def __init__(self, row, output):
        super().__init__(**{name: row[name].item() for name in REQUEST.names if name != ROOM})
        self.row, self.output = self.place, int(output)
        self.scheduled = self.first_token = self.completion = NEVER
        self.kept, self.done = 0, False
        self.source = self.target = self.flight = None
        self.site = -1

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other

    def arrive(self, now):
        """Let its client send it now."""
        self.arrival = self.last_token = self.last_scheduled = now

    @property
    def known(self):
        return self.prompt + self.generated


class Replica:
    """A replica.

    Args:
        member: `systems.members.Member`.
        order: `ServingPolicy`.
        index: of the replica in its fleet.
    """

    def __init__(self, member, order, index=0):
        self.rules, self.profile, self.role, self.index, self.order = (
            member.rules, member.profile, member.role, index, order,
        )  # fmt: skip
        self.params = order.params_for(profile=member.profile, rules=member.rules)
        self.inbox, self.waiting, self.running, self.free = [], [], [], member.rules.blocks
        self.awaited, self.inbound, self.leaving = [], [], []  # from and to elsewhere
        self.ends, self.clock, self.step_time, self.iterations, self.busy = NEVER, 0.0, 0.0, 0, 0.0
        self.power, self.full, self.flight = ON, False, None
        self.home, self.becomes, self.since, self.on_time = self.role, -1, 0.0, 0.0
        self.left, self.batch_time = 0, 0.0  # requests, for good or for elsewhere; and request-seconds in its batch
        self.keeps, self.first_place, self.come, self.reason = False, 0, 0, ""
        self.chosen, self.barren, self.made, self.received = {}, 0, 0, {}

    # Blocks.

    def need(self, tokens):
        """Return the blocks for so many tokens."""
        return -(-tokens // self.rules.block_size)

    def give(self, request, tokens):
        more = max(self.need(tokens) - request.blocks, 0)
        request.blocks += more
        self.free -= more
        assert self.free >= 0

    def release(self, request):
        self.free += request.blocks
        request.blocks = 0

    def holds(self, request):
        """Whether it could hold a request to its end."""
        longest, cut = self.rules.longest, self.rules.longest == self.rules.max_model_len
        if not self.rules.chunked and request.prompt > self.rules.token_budget:
            return False
        return request.known < longest if cut else request.prompt + request.output <= longest

    # Requests come and go.

    @property
    def on(self):
        """Whether it takes requests, where they fit."""
        return self.power == ON

    def outstanding(self):
        """Return the requests that were sent here and have not left, those on their way here too."""
        return self.inbox + self.waiting + self.running + self.awaited + self.inbound

    def take_in(self, request, now, keeps=False):
        request.site, request.ready = self.index, now
        request.goes_on = self.role == PREFILL and not keeps
        request.place = self.come
        self.come += 1
        self.keeps = self.keeps or keeps
        self.inbox.append(request)

    def system(self):
        """Return what an order may read of the replica."""
        told = SimpleNamespace(clock=self.clock, step_time=self.step_time, free=self.free, blocks=self.rules.blocks)
        told.running, told.waiting, told.iterations = len(self.running), len(self.waiting), self.iterations
        told.mean_step_time = self.busy / self.iterations if self.iterations else 0.0
        return told

    def rank(self, request):
        return self.order.rank(request, self.system(), self.params)

    def owner(self, request):
        """Return whose account pays for a request."""
        return request.klass if self.order.owners == "class" else request.tenant

    def charge(self, request, tokens):
        """Charge the owner of a request."""
        k, shares = self.owner(request), self.order.shares
        self.received[k] = self.received.get(k, 0.0) + tokens / (shares[k] if k < len(shares) else 1.0)

    def tell(self, request):
        """Let a request know what its owner has received."""
        request.received = self.received.get(self.owner(request), 0.0)

    def lift(self, request):
        """Lift the account of who sends a request, if nothing of his waits, to the least of those who have some."""
        waits = {self.owner(one): self.received.get(self.owner(one), 0.0) for one in self.waiting}
        k = self.owner(request)
        if self.order.lifts and waits and k not in waits:
            self.received[k] = max(self.received.get(k, 0.0), min(waits.values()))
        self.tell(request)

    def wait(self, request):
        """Queue a request, in order of rank and then of place."""
        if self.order.rank is not None:
            request.rank = self.rank(request)
        self.waiting.append(request)
        self.waiting.sort(key=lambda one: (one.rank, one.place))

    def way(self):
        return self.order.preemption or self.rules.preemption

    def preempt(self, victim):
        """Send a running request back to the queue [9]."""
        self.running.remove(victim)
        self.budget += self.chosen.pop(victim.row, (victim, 0))[1]
        if self.way() == "recompute":
            victim.computed = 0
        elif self.way() == "swap":
            self.moved += victim.blocks
        self.release(victim)
        victim.preemptions += 1
        self.victims += 1
        if self.order.rank is None:
            self.first_place -= 1
            victim.place = self.first_place
        self.wait(victim)

    # One iteration.

    def begin(self, now):
        """Begin an iteration, if none is under way and there is anything to do."""
        serves = self.power in (ON, DRAINING)
        while serves and self.ends == NEVER and not self.reason and (self.inbox or self.waiting or self.running):
            self.clock = now
            while self.inbox:
                if self.order.keeps_accounts:
                    self.lift(self.inbox[0])
                self.wait(self.inbox.pop(0))
            if self.order.keeps_accounts:
                for one in self.running + self.waiting:
                    self.tell(one)
            self.schedule()
            if not self.chosen and self.victims == 0:
                return
            time, moves = self.time(), self.moved * self.profile.kv_bytes_per_token * self.rules.block_size
            moves /= self.rules.bandwidth
            longer = max(0.0, moves - time) if self.rules.overlapped else moves
            self.dt = time + longer if self.moved else time
            self.ends = now + self.dt
            if self.ends > now:
                return
            self.end()

    def schedule(self):
        """Choose the tokens of an iteration: `chosen` maps the row of a request to it and its tokens."""
        rules = self.rules
        self.budget, self.chosen, self.moved, self.victims, self.admitted = rules.token_budget, {}, 0, 0, 0
        alone = len(self.running) + len(self.waiting) == 1
        capped = rules.long_prefill_threshold and (rules.threshold_alone or not alone)
        self.limit = rules.long_prefill_threshold if capped else rules.token_budget
        if self.order.merged:
            self.serve_in_order_of_rank()
            if not self.chosen and self.keeps and self.clear_queue():
                self.serve_in_order_of_rank()
            return
        self.go_on_with_running()
        whole = not rules.request_level or not self.running
        if not (rules.pause and self.victims) and whole:
            self.admit_waiting()

    def go_on_with_running(self):
        asked = []
        while self.budget > 0 and any(one not in asked for one in self.running):  # [4]
            asker = next(one for one in self.running if one not in asked)
            asked.append(asker)
            tokens = self.wanted(asker)
            if asker.done or tokens <= 0:
                continue
            while self.need(asker.computed + tokens + self.rules.lookahead) - asker.blocks > self.free:
                if self.keeps and len(self.running) == 1 and self.clear_queue():
                    continue
                victim = self.victim()
                self.preempt(victim)
                if victim is asker:
                    break
            if asker in self.running:
                self.choose(asker, tokens)
            elif self.rules.priority_stops or (self.rules.asker_stops and self.order.rank is None):  # [8]
                break

    def wanted(self, request):
        tokens = min(request.known - request.computed, self.limit, self.budget)
        return min(tokens, self.rules.longest - request.computed - 1)

    def choose(self, request, tokens):
        self.give(request, request.computed + tokens + self.rules.lookahead)
        self.chosen[request.row] = (request, tokens)
        self.budget -= tokens

    def victim(self):
        """Return the running request that is preempted [7]."""
        if self.order.rank is None:
            return self.running[-1]
        value = self.order.victim or self.order.rank
        return max(self.running, key=lambda one: (value(one, self.system(), self.params), one.arrival))

    def first_chunk(self, request):
        tokens = min(request.known - request.computed, self.limit)
        if tokens > self.budget:
            return self.budget if self.rules.chunked else 0
        return tokens

    def room(self, request, tokens):
        """Return the tokens that it takes blocks for on admission, and those that admission asks for [13]."""
        rules = self.rules
        if rules.allocation == "longest":
            taken = rules.longest - 1 + rules.lookahead
        elif rules.allocation == "known":
            taken = request.known
        else:
            taken = request.computed + tokens + rules.lookahead
        return taken, max(taken, request.known + rules.lookahead) if rules.reserve_known else taken

    def watermark(self):
        return self.rules.spare_blocks if self.running or self.rules.watermark_always else 0

    def admit_waiting(self):
        while self.waiting and self.budget > 0:  # [10]
            if self.order.keeps_accounts:
                for one in self.waiting:
                    self.tell(one)
                    one.rank = self.rank(one)
                self.waiting.sort(key=lambda one: (one.rank, one.place))
            head = self.waiting[0]
            tokens = self.first_chunk(head)  # [12]
            asked = self.need(self.room(head, tokens)[1]) - head.blocks + self.watermark()  # [13 to 15]
            if len(self.running) < self.rules.max_seqs and tokens > 0 and asked <= self.free:
                self.admit(head, tokens)
                if self.order.keeps_accounts and head.preemptions == head.generated == 0:
                    self.charge(head, head.prompt)
            elif not (self.keeps and not self.running and self.clear_queue()):
                return

    def admit(self, request, tokens):
        """Move a request from the queue to the running list [16]."""
        if request.computed > 0 and request.blocks == 0 and self.way() != "free":  # it was swapped out
            self.moved += self.need(request.computed)
        self.give(request, self.room(request, tokens)[0])
        self.waiting.remove(request)
        self.running.append(request)
        request.decodes = request.generated > 0 and request.computed == request.known - 1
        self.chosen[request.row] = (request, tokens)
        self.budget -= tokens
        self.admitted += 1

    def clear_queue(self):
        """Let all in the queue give up the caches that they came with; return whether there were any."""
        holders = [one for one in self.waiting if one.blocks > 0]
        for one in holders:
            self.release(one)
            one.computed = 0
        return bool(holders)

    def serve_in_order_of_rank(self):
        """Fill the batch from one queue of those that run and those that wait."""
        order = self.running + self.waiting
        for one in order:
            one.rank = self.rank(one)
        order.sort(key=lambda one: (one.rank, one.place))
        seats = self.rules.max_seqs
        while order and seats > 0 and self.budget > 0:
            request = order.pop(0)
            waits = request in self.waiting
            tokens = self.first_chunk(request) if waits else self.wanted(request)
            if tokens <= 0:
                break
            if waits:
                need = self.need(self.room(request, tokens)[1])
                if self.running:
                    need += self.rules.spare_blocks
            else:
                need = self.need(request.computed + tokens + self.rules.lookahead)
            while need - request.blocks > self.free and (self.order.displaces or not waits):
                victim = self.last_holder(request)
                if victim is None:
                    break
                self.preempt(victim)
            if need - request.blocks > self.free:
                if waits and not self.order.displaces:
                    continue
                break
            if waits:
                self.admit(request, tokens)
            else:
                self.choose(request, tokens)
            seats -= 1
        while not self.order.keeps or self.free < self.order.spare:
            victim = self.last_holder(None)
            if victim is None:
                break
            self.preempt(victim)

    def last_holder(self, asker):
        """Return the running request of largest value that holds blocks and is not in the batch."""
        value = self.order.victim or self.order.rank
        held = [one for one in self.running if one is not asker and one.row not in self.chosen and one.blocks > 0]
        return max(held, key=lambda one: value(one, self.system(), self.params), default=None)

    def time(self):
        """Return the time of the batch by the form "roofline", s."""
        if not self.chosen:
            return 0.0
        tokens, pairs, context = 0, 0.0, 0.0
        for request, new in self.chosen.values():
            tokens += new
            if request.decodes:
                context += request.computed + 1
            else:
                pairs += new * (request.computed + 0.5 * new)
        floor, base, token, pair, read = self.profile.numbers.tolist()
        return max(floor, base + token * tokens) + pair * pairs + read * context

    def end(self):
        """End the iteration; return how many left, and who had a first token and may go on elsewhere."""
        start, now = self.clock, self.ends
        self.clock, self.ends = now, NEVER
        self.iterations += 1
        self.busy += self.dt
        self.batch_time += len(self.chosen) * self.dt
        if self.chosen:
            self.step_time = self.dt
        self.barren += 1
        made = self.made
        left, read = 0, []
        for request in list(self.running):
            if request.row not in self.chosen:
                continue
            request.computed += self.chosen[request.row][1]
            request.last_scheduled = now
            if request.scheduled == NEVER:
                request.scheduled = start
            if request.computed < request.known:
                continue
            request.generated += 1
            if self.order.keeps_accounts:
                self.charge(request, 2)
            request.last_token, reads, request.decodes = now, not request.decodes, True
            self.made += 1
            if request.first_token == NEVER:
                request.first_token = now
            # It may have more already, where it comes from a replica that allows more.
            if request.generated >= min(request.output, self.rules.longest - request.prompt):
                request.done = True
                if not self.rules.request_level:
                    left += self.leave(request)
            elif self.role == PREFILL and (reads or request.goes_on):  # who comes back may lack its last token alone
                read.append(request)
        if self.rules.request_level and all(one.done for one in self.running):
            left += sum(self.leave(one) for one in list(self.running))
        if self.order.progress is not None and self.chosen:
            for one in self.running + self.waiting:
                one.note = self.order.progress(one, self.system(), self.params)
        self.chosen = {}
        self.barren = 0 if self.made > made else self.barren
        self.reason = "livelock" if self.barren > self.rules.patience else ""
        return left, read

    def vanish(self, now):
        """Be gone, and return the requests that were here; those that wait for the rest of their batch are done."""
        self.clock = max(self.clock, now)
        for request in [one for one in self.running if one.done]:
            self.leave(request)
        lost = self.running + self.waiting + self.inbox
        self.left += len(lost)
        for request in lost:
            request.computed = request.blocks = 0
        self.running, self.waiting, self.inbox, self.chosen = [], [], [], {}
        self.free, self.ends = self.rules.blocks, NEVER
        return lost

    def leave(self, request):
        """Let a request go for good."""
        self.running.remove(request)
        self.release(request)
        request.completion = self.clock
        self.left += 1
        return 1
