"""splitwise-sim's rules in plain Python, task by task, as slow as is obvious.

Source: Mutinifni/splitwise-sim 8f99e7d (Patel et al., Splitwise, ISCA 2024). A request is two tasks: its prompt, which
makes the first token, and the rest of its tokens; the two may run on different machines. `without` names rules that are
left out, to see what they are worth.
"""

import heapq
import math
from bisect import bisect_right
from dataclasses import dataclass, field

SEATS, BUDGET, STARVED, PENDING = 512, 2048, 4, 8192
LINK = 200 * 2**30  # bytes/s
AGAIN = 1.0  # s until a transfer that found no room is tried again
DAY = 86_400.0


@dataclass(eq=False)
class Request:
    """One request; `prompt` and `tokens` are its two tasks."""

    id: int
    arrival: float
    prompt_tokens: int
    output: int
    prompt: "Task" = None
    tokens: "Task" = None
    at: tuple = ()
    started: float = math.nan
    first: float = math.nan
    done: float = math.nan

    def __post_init__(self):
        self.prompt = Task(self, True, self.prompt_tokens, self.prompt_tokens + 1, 1)
        self.tokens = Task(self, False, 1, self.output - 1, self.output - 1)


@dataclass(eq=False)
class Task:
    """What a machine batches: `size` tokens of the budget, `need` tokens of memory, `left` tokens to make."""

    request: Request
    is_prompt: bool
    size: int
    need: int
    left: int
    preemptions: int = 0
    holds: bool = False  # whether it has its memory


@dataclass(eq=False)
class Machine:
    """A machine: its queue of tasks, its batch, and what the router sees of it."""

    id: int
    prompt_s: list
    token_s: list
    memory: int
    scheduled: int = 0
    pending: int = 0
    home: list = None
    batch: list = field(default_factory=list)
    queue: list = field(default_factory=list)
    prompts: list = field(default_factory=list)
    blocked: list = field(default_factory=list)
    requests: list = field(default_factory=list)  # by arrival, each with its tasks to come
    tokens: int = 0  # of the last batch
    end: object = None
    step: float = 0.0
    steps: int = 0
    paused: bool = False


class Event:
    """Something that happens at a time; events of one time come as a binary heap has them."""

    def __init__(self, time, action):
        self.time, self.action = time, action

    def __lt__(self, other):
        return self.time < other.time


class Splitwise:
    """A cluster that serves a list of requests."""

    def __init__(self, machines, scheduler, kv_bytes, weights, memory, without=()):
        """Machines are (knots of prompts, knots of tokens, tag) in order; bytes for the rest."""
        self.kv, self.limit, self.scheduler, self.without = kv_bytes, memory, scheduler, set(without)
        self.machines = [Machine(i, p, t, weights, weights) for i, (p, t, _) in enumerate(machines)]
        self.pools = {"prompt": [], "mixed": [], "token": []}
        for machine, (_, _, tag) in zip(self.machines, machines, strict=True):
            if scheduler == "mixed_pool":
                machine.home = self.pools[tag]
                machine.home.append(machine)
        self.now, self.events, self.waiting_flows, self.retries, self.stalls, self.preempted = 0.0, [], [], 0, 0, 0

    def at(self, time, action):
        event = Event(time, action)
        heapq.heappush(self.events, event)
        return event

    def run(self, requests):
        """Serve (arrival, prompt, output) in order of arrival; return the requests."""
        made = [Request(i, *row) for i, row in enumerate(requests)]
        for request in made:
            self.at(request.arrival, lambda request=request: self.arrive(request))
        while self.events and self.now < DAY:
            event = heapq.heappop(self.events)
            if event.action is not None:
                self.now = event.time
                event.action()
        return made

    # Routing.

    def arrive(self, request):
        p, t = self.route(request)
        request.at = (p, t)
        self.deliver(p, request.prompt)
        if p is t:
            self.deliver(t, request.tokens)

    def route(self, request):
        prompt, whole = request.prompt_tokens, request.prompt.need + request.tokens.need
        if self.scheduler == "token_jsq":
            p = least(self.machines, "pending")
            p.pending += prompt + 1
            return p, p
        pools = self.pools

        def free_for_prompt(pool):
            m = least(pool, "pending")
            return None if m is None or (m.queue and m.pending + prompt > PENDING) else m

        def free_for_tokens(pool):
            m = least(pool, "scheduled")
            return None if m is None or m.scheduled + whole * self.kv >= self.limit else m

        p = free_for_prompt(pools["prompt"]) or free_for_prompt(pools["mixed"])
        t = free_for_tokens(pools["token"]) or free_for_tokens(pools["mixed"])
        if "borrowing" not in self.without:
            if p is None and pools["token"]:
                p = self.borrow("token", "pending")
            if t is None and pools["prompt"]:
                t = self.borrow("prompt", "scheduled")
        if p is None or t is None:
            p = t = least(pools["prompt"] + pools["mixed"] + pools["token"], "pending")
        p.scheduled += request.prompt.need * self.kv
        t.scheduled += (whole if t is not p else request.tokens.need) * self.kv
        p.pending += prompt
        t.pending += 1
        return p, t

    def borrow(self, pool, column):
        machine = least(self.pools[pool], column)
        self.pools[pool].remove(machine)
        self.pools["mixed"].append(machine)
        return machine

    # Transfers.

    def send(self, request):
        _, t = request.at
        if t.memory + request.prompt.need * self.kv > self.limit:
            self.retries += 1
            if "retry" in self.without:
                self.waiting_flows.append(request)
            else:
                self.at(self.now + AGAIN, lambda: self.send(request))
            return
        t.memory += request.prompt.need * self.kv
        self.at(self.now + request.prompt_tokens * self.kv / LINK, lambda: self.received(request))

    def received(self, request):
        p, t = request.at
        self.free(p, request.prompt.need)
        self.deliver(t, request.tokens)
        if not p.queue:
            return
        if not p.batch:
            if self.room(p, p.queue[0].need):
                self.start(p)
        elif len(p.batch) < SEATS and p.tokens < BUDGET:
            self.pause(p)

    def free(self, machine, tokens):
        machine.memory -= tokens * self.kv
        machine.scheduled -= tokens * self.kv
        if "retry" in self.without:
            flows, self.waiting_flows = self.waiting_flows, []
            for request in flows:
                self.send(request)

    def room(self, machine, tokens):
        return machine.memory + tokens * self.kv <= self.limit

    # A machine.

    def deliver(self, m, task):
        request = task.request
        for entry in m.requests:
            if entry[0] is request:
                entry[1].append(task)
                break
        else:
            place = bisect_right([r.arrival for r, _ in m.requests], request.arrival)
            m.requests.insert(place, (request, [task]))
        self.insert(m, task)
        if task.is_prompt:
            m.prompts.append(task)
        if not m.batch:
            if self.room(m, task.need):
                self.start(m)
            return
        fits = len(m.batch) < SEATS and m.tokens + task.size <= BUDGET
        decodes = sum(not other.is_prompt for other in m.batch)
        if (
            fits
            or (task.is_prompt and decodes and m.tokens - decodes + task.size <= BUDGET)
            or "long prompts" in self.without
        ):
            self.pause(m)

    def insert(self, m, task):
        key = (task.preemptions, task.request.arrival)
        low, high = 0, len(m.queue)
        if "unsorted" in self.without:
            m.queue.sort(key=lambda other: (other.preemptions, other.request.arrival))
        while low < high:
            middle = (low + high) // 2
            other = m.queue[middle]
            if key < (other.preemptions, other.request.arrival):
                high = middle
            else:
                low = middle + 1
        m.queue.insert(low, task)

    def start(self, m):
        chosen = self.select(m)
        for task in [task for task in m.batch if task not in chosen]:
            m.batch.remove(task)
            self.insert(m, task)
            m.blocked.append(task)
            self.preempted += 1
        for task in chosen:
            if task not in m.batch:
                m.queue.remove(task)
                for line in (m.prompts, m.blocked):
                    if task in line:
                        line.remove(task)
                m.batch.append(task)
        for _, tasks in m.requests:
            if tasks[0] not in m.batch:
                tasks[0].preemptions += 1
        m.end = None
        if not m.batch:
            if not m.requests and m in self.pools["mixed"]:
                self.pools["mixed"].remove(m)
                m.home.append(m)
            elif m.requests:
                self.stalls += 1
            return
        prompts = [task for task in m.batch if task.is_prompt]
        m.step = self.duration(m, prompts)
        m.steps = 1 if prompts or "blocks" in self.without else min(task.left for task in m.batch)
        m.paused = False
        for task in m.batch:
            if not task.holds:
                task.holds = True
                m.memory += task.need * self.kv
                if task.is_prompt:
                    task.request.started = self.now
        m.end = self.at(self.now + m.step * m.steps, lambda: self.finish(m))

    def duration(self, m, prompts):
        tokens = sum(task.size for task in m.batch)
        if not prompts:
            return line(m.token_s, len(m.batch))
        time = line(m.prompt_s, tokens)
        return time if len(prompts) == len(m.batch) or "mixed factor" in self.without else 1.1 * time

    def pause(self, m):
        if m.paused or any(task.is_prompt for task in m.batch):
            return
        begun = m.end.time - m.step * m.steps
        passed = self.now - begun
        m.steps = int(passed // m.step) + 1
        m.end.action = None
        m.end = self.at(self.now + (m.step * m.steps - passed), lambda: self.finish(m))
        m.paused = True

    def select(self, m):
        chosen, tokens, need, has = [], 0, 0, set()

        def fits(task):
            return not chosen or tokens + task.size <= BUDGET

        def taken(task):
            return task.holds or self.room(m, need + task.need)

        def choose(task):
            nonlocal tokens, need
            chosen.append(task)
            has.add(task.request)
            tokens += task.size
            if not task.holds:
                need += task.need

        for task in m.queue if "starved" not in self.without else ():
            if len(chosen) == SEATS or task.preemptions < STARVED or not fits(task):
                break
            if task.request not in has and taken(task):
                choose(task)
        for task in m.prompts:
            if len(chosen) == SEATS or not fits(task):
                break
            if task.request in has:
                continue
            if not taken(task):
                break
            choose(task)
        for held in (m.blocked, m.batch):
            for task in held:
                if len(chosen) == SEATS or not fits(task):
                    break
                if task.request not in has:
                    choose(task)
        for request, tasks in m.requests:
            if len(chosen) == SEATS:
                break
            if request in has:
                continue
            if not fits(tasks[0]) or not taken(tasks[0]):
                break
            choose(tasks[0])
        m.tokens = tokens
        return chosen

    def finish(self, m):
        ended = []
        for task in m.batch:
            task.left -= 1 if task.is_prompt else m.steps
            if task.left <= 0:
                ended.append(task)
        for task in ended:
            request = task.request
            m.batch.remove(task)
            entry = next(entry for entry in m.requests if entry[0] is request)
            entry[1].remove(task)
            if not entry[1]:
                m.requests.remove(entry)
            if task.is_prompt:
                request.first = self.now
                m.pending -= request.prompt_tokens
                if request.at[0] is not request.at[1]:
                    self.send(request)
            else:
                request.done = self.now
                m.pending -= 1
                self.free(m, request.prompt.need + request.tokens.need)
        self.start(m)


def least(machines, column):
    """Return the first of least, None of none."""
    return min(machines, key=lambda machine: getattr(machine, column), default=None)


def line(knots, x):
    """Read a value off straight lines between knots, the end ones extended."""
    tokens, values = knots
    i = min(max(sum(token < x for token in tokens), 1), len(tokens) - 1)
    slope = (values[i] - values[i - 1]) / (tokens[i] - tokens[i - 1])
    return slope * (x - tokens[i - 1]) + values[i - 1]
