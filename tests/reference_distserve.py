"""The rules of DistServe's simulator in plain Python, worker by worker, as slow as is obvious; times in ms.

Source: LLMServe/DistServe 82831f1, simdistserve (Zhong et al., DistServe, OSDI 2024). An instance is a ring of pipeline
stages, each a worker with two queues. `without` names rules that are left out, to see what they are worth.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field
from itertools import count

CONTEXT = 50_000  # tokens of context in a batch of decodes
FEW = 95


@dataclass(eq=False)
class Request:
    """One request; `made` is -1 until its prompt is read, then the tokens after the first."""

    id: int
    arrival: float
    prompt: int
    output: int
    made: int = -1
    left: int = 0  # of the prompt
    batch: int = -1  # of stage 0 that it was in
    first: float = float("nan")
    done: float = float("nan")

    @property
    def context(self):
        return self.prompt + max(0, self.made)


@dataclass(eq=False)
class Worker:
    """One stage of an instance."""

    id: int
    stage: int
    stages: int
    prefills: bool  # of an instance that reads prompts
    prompts: deque = field(default_factory=deque)
    decodes: deque = field(default_factory=deque)
    reading: int = 0  # prompts in its batch
    busy: bool = False
    woken: bool = False
    next: "Worker" = None
    first: "Worker" = None


class DistServe:
    """A cluster that serves a list of requests."""

    def __init__(self, config, coefficients, without=()):
        """`config` and `coefficients` as the header of a log has them."""
        self.config, self.without = config, set(without)
        self.prefill = coefficients["prefill"]
        self.few, self.many = (coefficients["decode"][f"decoding_{name}bs"] for name in ("small", "large"))
        self.alone = config["backend"] == "vllm"
        self.workers, self.order, self.events, self.now, self.batches = [], count(), [], 0.0, count()
        self.readers = [self.instance(config["pp_prefill"], True) for _ in range(config["n_prefill"])]
        self.decoders = (
            [] if self.alone else [self.instance(config["pp_decode"], False) for _ in range(config["n_decode"])]
        )

    def instance(self, stages, prefills):
        ring = [Worker(len(self.workers) + k, k, stages, prefills) for k in range(stages)]
        for k, worker in enumerate(ring):
            worker.next, worker.first = ring[(k + 1) % stages], ring[0]
        self.workers += ring
        return ring[0]

    def at(self, time, action):
        heapq.heappush(self.events, (time, next(self.order), action))

    def run(self, requests):
        """Serve (arrival, prompt, output) in order of arrival; return the requests."""
        made = [Request(i, *row, left=row[1]) for i, row in enumerate(requests)]
        for request in made:
            self.at(request.arrival, lambda request=request: self.arrive(request))
        while self.events:
            self.now, _, action = heapq.heappop(self.events)
            action()
        return made

    def wake(self, worker):
        if not worker.busy and not worker.woken:
            worker.woken = True
            self.at(self.now, lambda: self.loop(worker))

    def arrive(self, request):
        """Send a request to the least crowded reader."""
        worker = min(self.readers, key=lambda w: w.reading + len(w.prompts))
        worker.prompts.append(request)
        self.wake(worker)

    def loop(self, worker):
        """Begin the next batch of a worker, if there is one."""
        worker.busy = worker.woken = False
        worker.reading = 0
        if worker.prompts:
            batch = self.take_prompts(worker)
            duration = self.prefill_time(worker, *batch)
            end = self.end_prefill
        elif worker.decodes:
            batch = (self.take_decodes(worker.decodes, self.config["decode_max_tokens"]),)
            duration = self.decode_time(worker, *batch)
            end = self.end_decode
        else:
            return
        worker.busy = True
        self.at(self.now + duration, lambda: (end(worker, *batch), self.loop(worker)))

    def take_prompts(self, worker):
        """Take (request, tokens) for a batch of prompts, and the decodes that join it."""
        queue, budget = worker.prompts, self.config["prefill_max_tokens"]
        chosen, decodes, taken = [], [], 0
        if worker.stage > 0:
            number = queue[0].batch
            while queue and queue[0].batch == number:
                chosen.append((queue[0], queue.popleft().piece))
        elif self.config["chunked"]:
            twice = 1 if "counted twice" in self.without else 2
            while queue:
                piece = min(queue[0].left, budget - twice * taken)
                if piece <= 0:
                    break
                chosen.append((queue.popleft(), piece))
                taken += piece
            decodes = self.take_decodes(worker.decodes, budget - taken)
        else:
            while queue and queue[0].prompt <= budget - taken:
                taken += queue[0].prompt
                chosen.append((queue[0], queue.popleft().prompt))
        if worker.stage == 0:
            number = next(self.batches)
            for request, piece in chosen:
                request.batch, request.piece = number, piece
                request.left -= piece
        worker.reading = len(chosen)
        return chosen, decodes

    def take_decodes(self, queue, most):
        """Take decodes from the front of a queue."""
        chosen, context = [], 0
        while queue and len(chosen) < most and context + queue[0].context + 1 <= self.context_limit:
            context += queue[0].context + 1
            chosen.append(queue.popleft())
        return chosen

    @property
    def context_limit(self):
        return float("inf") if "context limit" in self.without else CONTEXT

    def prefill_time(self, worker, chosen, decodes):
        """Return the ms of a batch of prompts."""
        a, b, c = self.prefill
        pieces = [piece for _, piece in chosen]
        time = a + b * sum(pieces) + c * sum(piece * piece for piece in pieces)
        time = time * (1 / worker.stages) + worker.stages
        if worker.stage == 0 and "host" not in self.without:
            time += 2 + 1e-4 * sum(request.context for request in [r for r, _ in chosen] + decodes)
        if decodes and "free decodes" in self.without:
            a, b, c = self.few if len(decodes) < FEW else self.many
            time += b * sum(request.context + 1 for request in decodes) + c * len(decodes)
        return time

    def decode_time(self, worker, decodes):
        """Return the ms of a batch of decodes."""
        a, b, c = self.few if len(decodes) < FEW else self.many
        time = (a + b * sum(request.context + 1 for request in decodes) + c * len(decodes)) * (1 / worker.stages)
        if worker.stage == 0 and "host" not in self.without:
            time += 2 + 1e-4 * sum(request.context for request in decodes)
        return time

    def end_prefill(self, worker, chosen, decodes):
        """Send the requests of a batch of prompts on."""
        worker.reading = 0
        for request, _ in chosen:
            if worker.stage < worker.stages - 1 or request.left > 0:
                worker.next.prompts.append(request)
                self.wake(worker.next)
            else:
                request.made, request.first = 0, self.now
                if request.output == 0:
                    request.done = self.now
                    continue
                to = worker.first if self.alone else min(self.decoders, key=lambda w: len(w.decodes))
                to.decodes.append(request)
                self.wake(to)
        if decodes:
            self.end_decode(worker, decodes)

    def end_decode(self, worker, decodes):
        """Give every request of a batch its token, or send it to the next stage."""
        last = worker.stage == worker.stages - 1
        for request in decodes:
            if last:
                request.made += 1
                if request.made == request.output:
                    request.done = self.now
                    continue
            worker.next.decodes.append(request)
            self.wake(worker.next)
