"""A slow, obvious simulator of a fleet, to hold the compiled engine against: one event after another, plain lists.

Written from the docstrings of `engines.fleet.agenda`, `engines.fleet.transfers`, `engines.fleet.migration`,
`systems.fleet` and `requests.SITE`. At one instant: iterations end, replica by replica; whoever was read there is
handed over; transfers that waited begin where there is room; what was noted happens; who is to move goes; replicas
report; the controller is asked, see `reference_steering`; requests arrive and wait at the router, whose first ones are
sent somewhere as far as somebody takes them; iterations begin.

Routers and orders are the plain functions of the policies, called on what has the names of the records' columns.
"""

import heapq
import math
from types import SimpleNamespace

from reference_replica import Replica, Request
from reference_routing import luck_of
from reference_steering import MOVED, RETRIED, RETURNS, VANISHES, Steering

from llmqueue_gym.policies.control.base import DRAINING, OFF, ON, STARTING
from llmqueue_gym.requests import DECODE, PREFILL

NEVER = math.inf


class Fleet:
    """Replicas, a router, and what is between them.

    Args:
        system: `systems.fleet.Fleet`.
        router: `RoutingPolicy`.
        unit: what a controller is told of one replica.
    """

    def __init__(self, system, router, unit=None):
        self.system, self.router, self.taker = system, router, system.taker
        self.replicas = [Replica(member, system.discipline, q) for q, member in enumerate(system.members)]
        self.sites = [SimpleNamespace(index=q, role=r.role) for q, r in enumerate(self.replicas)]
        self.latency, self.byte_time = system.plan.latency, system.plan.byte_time
        self.now, self.heap, self.noted, self.turns, self.hand_turns, self.moves = -NEVER, [], 0, 0, 0, 0
        self.held = []  # requests that wait at the router
        self.next_look = system.migrate_every or NEVER  # for requests that might move
        self.to_move = {}  # by replica who is to go, and where
        self.arrived, self.arrived_tokens = 0, 0
        self.steering = Steering(self, unit)
        self.reason = "going"

    def run(self, drawn):
        """Serve what was drawn, and return the requests."""
        work, truth = drawn.work, drawn.truth
        self.requests = [Request(row, output) for row, output in zip(work, truth["sizes"], strict=True)]
        self.choices, self.ties = truth["choices"].copy(), truth["ties"]
        self.coming = [request for request in self.requests if request.arrival < NEVER]
        self.later = self.requests[len(self.coming) :]  # of clients who wait
        self.horizon = min(self.system.bound_rules.horizon, self.system.cut_off * float(work["arrival"][-1]))
        if not math.isfinite(self.system.cut_off):
            self.horizon = self.system.bound_rules.horizon
        self.reports = 0  # so many were made
        for time, q in truth.get("vanishing", ()):
            self.note(time, VANISHES, self.vanish, self.replicas[q])
        while self.reason == "going":
            self.moment()
        return self.requests

    def next_report(self):
        return self.reports * self.system.staleness if self.system.staleness > 0 else NEVER

    def moment(self):
        """Let all happen that happens at the next instant."""
        ends = [replica.ends for replica in self.replicas]
        other = [self.coming[0].arrival if self.coming else NEVER, self.heap[0][0] if self.heap else NEVER]
        over = all(request.completion < NEVER for request in self.requests)
        other += [NEVER, NEVER] if over else [self.next_look, self.steering.next_tick]
        now = min(ends + other)
        if any(replica.reason for replica in self.replicas):
            self.reason = "livelock"
            return
        if over or now == NEVER:
            self.reason = "drained" if over else "stuck"
            return
        self.now = now = min(now, self.next_report(), self.horizon)
        read = []
        for replica in self.replicas:
            if replica.ends == now:
                gone, read_here = replica.end()
                read += [(replica, request) for request in read_here]
                for _ in range(min(gone, len(self.later))):
                    follower = self.later.pop(0)
                    follower.arrive(now)
                    self.coming.append(follower)
        for replica, request in read:
            self.hand_over(replica, request)
        if now == self.horizon:
            for replica in self.replicas:  # what has begun ends
                if replica.ends < NEVER:
                    self.now = max(self.now, replica.ends)
                    replica.end()
            over = all(request.completion < NEVER for request in self.requests)
            self.reason = "drained" if over else "horizon"
            return
        self.begin_transfers()
        self.happen()
        self.steering.switch_off()
        self.migrate()
        self.happen()
        if self.next_report() <= now:
            self.report()
            self.reports += 1
        self.steering.tick()
        while self.coming and self.coming[0].arrival <= now:
            self.held.append(self.coming.pop(0))
            self.arrived += 1
            self.arrived_tokens += self.held[-1].prompt
        self.held.sort(key=lambda request: request.row)
        while self.held and self.has_place(self.held[0]):
            self.send(self.held.pop(0))
        for replica in self.replicas:
            replica.begin(now)
        self.begin_transfers()

    def happen(self):
        """Let what was noted happen that is due."""
        while self.heap and self.heap[0][0] <= self.now:
            _, kind, order, happen, subject = heapq.heappop(self.heap)
            if kind in (VANISHES, RETURNS) or subject.flight == order:  # else it was broken off
                happen(subject)

    # What moves.

    def note(self, time, kind, happen, request):
        heapq.heappush(self.heap, (time, kind, self.noted, happen, request))
        self.noted += 1
        return self.noted - 1

    def stays(self, request):
        """Whether a request is read where it is to be decoded."""
        return request.prompt + request.generated - request.computed < self.system.local_below

    def has_place(self, request):
        """Whether a request can be sent somewhere now: somebody takes it, or nobody of the right role ever will."""
        stays = self.stays(request)
        for replica in self.replicas:
            replica.full = self.system.hold and len(replica.outstanding()) >= replica.rules.max_seqs
        able = [one for one in self.replicas if one.holds(request)]
        if any(self.takes(replica, request, stays) for replica in able):
            return True
        later = any(one.power in (ON, STARTING) for one in able)
        return later and all(one.role == (PREFILL if stays else DECODE) for one in able)

    def send(self, request):
        """Let the router send a request somewhere."""
        q = self.choose(request, self.router, self.stays(request), self.turns)
        self.turns += 1
        self.replicas[q].take_in(request, self.now)

    def hand_over(self, source, request):
        """Let a request that was read at a replica go on elsewhere, or there."""
        for replica in self.replicas:
            replica.full = False
        q = self.choose(request, self.taker, True, self.hand_turns, source.index)
        self.hand_turns += 1
        request.goes_on = False
        if q != source.index:
            self.move(source, request, self.replicas[q])

    def move(self, source, request, target):
        """Let a request leave a replica for another."""
        source.running.remove(request)
        source.left += 1
        source.leaving.append(request)
        request.kept, request.blocks = request.blocks, 0
        request.source, request.target = source, target
        if self.system.retry > 0:
            self.try_again(request)
            return
        target.awaited.append(request)
        self.begin_transfers([target])

    def try_again(self, request):
        """Begin a transfer if there is room, or else note when that is tried next."""
        waiting = request.target.awaited
        if request in waiting:
            waiting.remove(request)
        if not self.transfer(request):
            waiting.append(request)
            request.flight = self.note(self.now + self.system.retry, RETRIED, self.try_again, request)

    def begin_transfers(self, targets=None):
        """Begin the transfers that wait for room, in order, as far as there is room."""
        for target in targets or self.replicas:
            while self.system.retry == 0 and target.awaited and self.transfer(target.awaited[0]):
                target.awaited.pop(0)

    def transfer(self, request):
        """Let a request move to its target; return whether there is room."""
        source, target = request.source, request.target
        if target.need(request.computed + 1) > target.free:
            return False
        target.inbound.append(request)
        target.give(request, request.computed + 1)
        size, link = request.computed * source.profile.kv_bytes_per_token, (source.index, target.index)
        time = (1.0 - self.system.overlap) * size * self.byte_time[link] + self.latency[link]
        request.flight = self.note(self.now + time, MOVED, self.arrive_from_elsewhere, request)
        self.moves += 1
        return True

    def arrive_from_elsewhere(self, request):
        source, target = request.source, request.target
        source.free += request.kept
        source.leaving.remove(request)
        target.inbound.remove(request)
        request.kept = 0
        target.take_in(request, self.now, keeps=True)
        self.begin_transfers([source])

    # Who moves to be better off.

    def freeness(self, replica, blocks=0, requests=0):
        """Return the freeness of a replica with so many blocks and requests more."""
        queue = replica.waiting + replica.inbox
        here = len(replica.running) + len(queue) + requests
        wanted = sum(max(replica.need(one.known) - one.blocks, 0) for one in queue)
        return (replica.free - wanted - blocks) / here if here else NEVER

    def pair_up(self):
        """Note of the replicas of least and most freeness, and of the next ones inwards, who is to move."""
        free = {one: self.freeness(one) for one in self.replicas if one.on and one.role != PREFILL}
        for _ in range(len(self.replicas) // 2):
            source, target = min(free, key=free.get, default=None), max(free, key=free.get, default=None)
            if source is target:
                return
            gap = free.pop(target) - free.pop(source)
            decoding = [one for one in source.running if one.decodes]
            if not decoding or source in self.to_move or not target.holds(decoding[-1]):
                continue
            last = decoding[-1]
            there = self.freeness(target, target.need(last.computed + 1), 1)
            after = there - self.freeness(source, -last.blocks, -1)
            if there >= self.system.migrate_floor and 0 <= after < gap:
                self.to_move[source] = last, target

    def migrate(self):
        """Look for who might move, if it is time, and let those go whose iteration has ended."""
        if self.next_look <= self.now:
            self.next_look += self.system.migrate_every
            self.pair_up()
        for source in [one for one in self.replicas if one in self.to_move and one.ends == NEVER]:
            request, target = self.to_move.pop(source)
            takes = target.on and target.role != PREFILL and target.holds(request)
            if request in source.running and request.decodes and takes:
                self.hand_turns += 1
                self.move(source, request, target)

    def vanish(self, gone):
        """Let a replica be gone at once; its requests begin anew elsewhere, and another one starts if it is wanted."""
        if gone.power == OFF:
            return
        wanted, role = gone.power != DRAINING or gone.becomes >= 0, gone.home if gone.becomes < 0 else gone.becomes
        left = gone.left
        lost = gone.vanish(self.now)
        for _ in range(min(gone.left - len(lost) - left, len(self.later))):
            follower = self.later.pop(0)
            follower.arrive(self.now)
            self.coming.append(follower)
        self.to_move.pop(gone, None)
        for request in self.requests:
            ends = request.source, request.target
            if gone in ends and (request in ends[0].leaving):
                if request in request.target.awaited:
                    request.target.awaited.remove(request)
                else:
                    request.target.inbound.remove(request)
                request.source.leaving.remove(request)
                if request.source is not gone:
                    request.source.free += request.kept
                if request.target is not gone:
                    request.target.free += request.blocks
                request.computed = request.blocks = request.kept = 0
                request.flight = None
                lost.append(request)
        for request in sorted(lost, key=self.requests.index):  # in order of arrival
            self.note(self.now, RETURNS, self.held.append, request)
        self.steering.turn_off(gone)
        self.begin_transfers()
        if wanted:
            self.steering.begin_start(gone, role, self.system.start_up)

    # What the router sees.

    def takes(self, replica, request, decodes):
        """Whether a replica takes a request: it has room for it to its end, and the role is right."""
        if not replica.on or replica.full or replica.role == (PREFILL if decodes else DECODE):
            return False
        return replica.holds(request)

    def report(self):
        for site, replica in zip(self.sites, self.replicas, strict=True):
            here = replica.running + replica.waiting + replica.inbox
            site.reported, site.running, site.waiting = self.now, len(replica.running), len(here) - len(replica.running)
            site.free, site.blocks, site.step_time = replica.free, replica.rules.blocks, replica.step_time
            site.pending = site.work = site.context = 0.0
            for request in here:
                left = request.prompt + request.generated - request.computed - (request.generated > 0)
                site.pending += max(left, 0)
                site.work += max(request.predicted - request.generated, 1.0)
                site.context += request.computed

    def sample(self, request, taking):
        """The replicas that a request is shown: those drawn, others by chance in place of those that take it not."""
        shown, tie = self.choices[request.row], self.ties[request.row]
        for place, q in enumerate(shown.tolist()):
            others = [p for p in taking if p not in shown]
            if q not in taking and others:
                shown[place] = min(others, key=lambda p: luck_of(tie, p))
        return [q for q in shown.tolist() if q in taking]

    def choose(self, request, router, decodes, turn, source=None):
        """Return the replica that a router sends a request to, which is at a source if it was read there."""
        if self.system.staleness == 0:
            self.report()
        taking = [q for q, replica in enumerate(self.replicas) if self.takes(replica, request, decodes)]
        if not taking:  # one that starts, or else one of another role
            able = [replica for replica in self.replicas if replica.holds(request)]
            reads = decodes and source is not None
            later = [q.index for q in able if q.power == STARTING and not (reads and q.role == PREFILL)]
            others = [source] if source is not None else [replica.index for replica in able if replica.on]
            return [*later, *others][0]
        if router.looks == "turn":
            return taking[turn % len(taking)]
        outstanding = [self.replicas[q].outstanding() for q in taking]
        for q in taking:
            site, there = self.sites[q], self.replicas[q].outstanding()
            site.clock, site.sites, site.all = self.now, len(taking), sum(map(len, outstanding))
            site.most, site.least = max(map(len, outstanding)), min(map(len, outstanding))
            site.outstanding, site.tokens = len(there), sum(other.prompt for other in there)
        params = router.params_for(profile=self.replicas[0].profile, rules=self.replicas[0].rules)
        scores = {q: router.score(request, self.sites[q], params) for q in taking}
        if router.looks == "sample":
            shown = self.sample(request, taking)
            if shown:
                return min(shown, key=lambda q: scores[q])  # the first of the least
        least = [q for q in taking if scores[q] == min(scores.values())]
        tied = len(least) > 1 and router.ties == "random"
        return least[int(self.ties[request.row] * len(least))] if tied else least[0]
