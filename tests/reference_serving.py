"""Slow, obvious simulators of LLM serving schedulers, to hold the compiled engine against. Plain lists and dicts.

Written from rules in words only; numbers in comments ("rule 7") count the statements on vLLM's v1 scheduler.

`VllmReference`: checked against decision logs of the real scheduler classes, 0.33.0 and 0.19.1, without prefix caching
or async scheduling: all twelve fields of every call are equal. The logs hold no idle gap, no priority tie to the last,
no `long_prefill_token_threshold` or `max_num_active_seqs` and no request cut by `max_model_len`: rules alone there.
`VidurReference`: checked against runs of Vidur (commit 7d47513): iterations and restarts equal, times within 1e-6 s.
No half-prefilled request is preempted in them, so that trap is the rules alone too.
`random_case` draws inputs for the first. Its times are multiples of 1/512 s, so every sum is exact and ties are ties.
"""

import math
import zlib

import numpy as np


class Stuck(RuntimeError):
    """The simulated scheduler would never end."""


def linear_cost(c0, c1):
    """Time of a call in s, as in the logs."""
    return lambda tokens: c0 + c1 * tokens


def name(request):
    """The id as the logs' engine knew it; strings of six digits sort like the numbers."""
    return f"{request['id']:06d}"


def checksum(requests):
    return zlib.crc32(",".join(map(name, requests)).encode())


class VllmReference:
    """vLLM's v1 scheduler without prefix caching, two-step scheduling and whatever else the rules leave out.

    Args:
        config: the keys of a decision log's header; the ones that only its generator reads are ignored.
        version: "0.33.0" or "0.19.1".
        cost: tokens of a call -> duration in s.

    Raises:
        ValueError: a configuration the real engine refuses to start with, or one that is not covered here.
    """

    def __init__(self, config, version, cost):
        uncovered = config.get("enable_prefix_caching") or config.get("async_scheduling")
        if uncovered or version not in ("0.33.0", "0.19.1"):
            raise ValueError(f"prefix caching, async scheduling or version {version}: not covered")
        if not config["enable_chunked_prefill"] and config["max_num_batched_tokens"] < config["max_model_len"]:
            raise ValueError("without chunked prefill the budget must be at least max_model_len")
        self.config, self.version, self.cost = config, version, cost

    def run(self, requests, max_calls=200_000):
        """Serve requests until none is left.

        Args:
            requests: tuples (id, arrival in s, prompt, out, priority); equal arrivals join in the order given.
            max_calls: more calls of schedule() than this raise `Stuck`.

        Returns:
            list of calls, each a tuple (i, t, add, s, adm, p, fb, fin, fa, run, wait, tok), the log's fields.

        Raises:
            ValueError: a request that is empty, too long or larger than the pool.
            Stuck: it would go round for ever; `calls` holds the calls so far. The rules allow that: under "priority"
                two requests of equal priority and arrival may take turns evicting one another (rule 7).
        """
        pool = self.config["num_blocks"] - 1  # block 0 is the null block
        for _, _, prompt, out, _ in requests:
            if not (1 <= prompt < self.config["max_model_len"] and out >= 1):
                raise ValueError(f"prompt {prompt}, out {out}, max_model_len {self.config['max_model_len']}")
            if self.blocks_for(min(prompt + out, self.config["max_model_len"]) - 1) > pool:  # rule 17
                raise ValueError(f"prompt {prompt}, out {out} never fits {pool} blocks")
        coming = [
            dict(id=i, arrival=t, prompt=p, out=o, priority=k, sampled=0, computed=0, blocks=0, preempted=False)
            for i, t, p, o, k in sorted(requests, key=lambda request: request[1])
        ]
        self.running, self.waiting, self.free = [], [], pool
        self.calls = calls = []
        now, seen = 0.0, set()
        while coming or self.running or self.waiting:
            state = tuple((r["id"], r["sampled"], r["computed"], r["blocks"]) for r in self.running + self.waiting)
            if len(calls) == max_calls or (not coming and state in seen):
                raise Stuck(f"call {len(calls)}: too many, or a state that was there before")
            if not coming:
                seen.add(state)
            if not (self.running or self.waiting):
                now = max(now, coming[0]["arrival"])
            added = []
            while coming and coming[0]["arrival"] <= now:  # rule 1
                added.append(coming.pop(0))
                self.wait(added[-1])
            scheduled, admitted, preempted = self.schedule()
            free, run, wait = self.free, checksum(self.running), checksum(self.waiting)
            finished = self.update(scheduled)
            add, tokens = [r["id"] for r in added], sum(n for _, n in scheduled)
            chosen = [r["id"] if n == 1 else [r["id"], n] for r, n in scheduled]
            call = (len(calls), round(now, 9), add, chosen, admitted, preempted, free, finished, self.free)
            calls.append((*call, run, wait, tokens))  # the time is rounded where it is written, not where it adds up
            now += self.cost(tokens) if tokens else 0.0  # a schedule of nothing is not computed
        return calls

    def wait(self, request, front=False):
        """Queue a request."""
        self.waiting.insert(0 if front else len(self.waiting), request)
        if self.config["policy"] == "priority":  # rule 11
            self.waiting.sort(key=lambda r: (r["priority"], r["arrival"], name(r)))

    def blocks_for(self, tokens):
        return math.ceil(tokens / self.config["block_size"])

    def schedule(self):
        """Choose the tokens of one call: ([(request, tokens)], [[id, computed, resumed]], [preempted id])."""
        config = self.config
        priority, new_version = config["policy"] == "priority", self.version == "0.33.0"
        budget = config["max_num_batched_tokens"]  # rule 3
        alone = new_version and len(self.running) + len(self.waiting) == 1  # rule 5
        threshold = math.inf if alone else config["long_prefill_token_threshold"] or math.inf
        scheduled, admitted, preempted, asked = [], [], [], []

        while budget > 0 and any(r not in asked for r in self.running):  # rule 4
            asker = next(r for r in self.running if r not in asked)
            asked.append(asker)
            n = asker["prompt"] + asker["sampled"] - asker["computed"]  # rule 2
            n = min(n, threshold, budget, config["max_model_len"] - asker["computed"] - 1)
            if n == 0:
                continue
            while True:
                need = max(0, self.blocks_for(asker["computed"] + n) - asker["blocks"])  # rule 6
                if need <= self.free:
                    self.free -= need
                    asker["blocks"] += need
                    scheduled.append((asker, n))
                    budget -= n
                    break
                victim = self.running[-1]  # rule 7
                if priority:
                    victim = max(self.running, key=lambda r: (r["priority"], r["arrival"]))  # the first of equals
                budget += sum(tokens for r, tokens in scheduled if r is victim)
                scheduled = [entry for entry in scheduled if entry[0] is not victim]
                self.running.remove(victim)
                self.free += victim["blocks"]  # rule 9
                victim.update(blocks=0, computed=0, preempted=True)
                self.wait(victim, front=True)
                preempted.append(victim["id"])
                if victim is asker:
                    break
            if asker not in self.running and not (priority and new_version):  # rule 8
                break

        seats = config["max_num_active_seqs"] or config["max_num_seqs"]
        while not preempted and self.waiting and budget > 0 and len(self.running) < seats:  # rule 10
            head = self.waiting[0]
            known = head["prompt"] + head["sampled"]
            n = min(known, threshold)  # rule 12
            if n > budget and not config["enable_chunked_prefill"]:
                break
            n = min(n, budget)
            guarded = new_version and self.running  # rule 15
            watermark = int(config["watermark"] * config["num_blocks"]) if guarded else 0
            if config["scheduler_reserve_full_isl"] and self.blocks_for(known) + watermark > self.free:  # rule 13
                break
            if self.blocks_for(n) + watermark > self.free:  # rule 14
                break
            self.waiting.pop(0)
            self.running.append(head)  # rule 16
            head["blocks"] = self.blocks_for(n)
            self.free -= head["blocks"]
            budget -= n
            scheduled.append((head, n))
            admitted.append([head["id"], 0, int(head["preempted"])])
            head["preempted"] = False

        for request, n in scheduled:
            request["computed"] += n  # rule 17
        return scheduled, admitted, preempted

    def update(self, scheduled):
        """Sample the tokens of one call and release what finished; ids of those."""
        finished = []
        for request, _ in scheduled:
            if request["computed"] == request["prompt"] + request["sampled"]:  # rule 17
                request["sampled"] += 1
                known = request["prompt"] + request["sampled"]
                if request["sampled"] == request["out"] or known == self.config["max_model_len"]:  # rule 18
                    self.running.remove(request)
                    self.free += request["blocks"]
                    finished.append(request["id"])
        return finished


def random_case(rng):
    """Draw a configuration and requests for `VllmReference` that crowd a small pool.

    Args:
        rng: `random.Random`.

    Returns:
        (config, requests): the keys of a log's header, "c0" and "c1" in s among them, and "version"; and tuples
        (id, arrival in s, prompt, out, priority) in order of arrival, ids from 0. One in a hundred ends in `Stuck`.
    """
    block_size = rng.choice([1, 2, 4, 16, 32, rng.randint(1, 32)])
    longest = rng.choice([rng.randint(2, 16), rng.randint(16, 96), rng.randint(96, 320)])  # max_model_len, tokens
    least = math.ceil(longest / block_size)  # blocks that one request of this length takes
    spare = rng.choice([0, rng.randint(0, 3), rng.randint(0, least), rng.randint(0, least), rng.randint(0, 9 * least)])
    chunked = rng.random() < 0.6
    budget = rng.choice([rng.randint(1, 8), rng.randint(2, 2 * longest), rng.randint(2, 2 * longest), 4096])
    seats = rng.choice([rng.randint(1, 8), rng.randint(8, 64), 64])
    config = dict(
        num_blocks=1 + least + spare,
        block_size=block_size,
        max_num_batched_tokens=budget if chunked else max(budget, longest),
        max_num_seqs=seats,
        max_model_len=longest,
        enable_chunked_prefill=chunked,
        policy=rng.choice(["fcfs", "priority"]),
        long_prefill_token_threshold=rng.choice([0, 0, rng.randint(1, 8), rng.randint(1, longest)]),
        watermark=rng.choice([0.0, rng.uniform(0.0, 0.1), 0.1]),
        scheduler_reserve_full_isl=rng.random() < 0.5,
        max_num_active_seqs=rng.choice([None, None, None, rng.randint(1, seats)]),
        **dict(enable_prefix_caching=False, async_scheduling=False, c0=1 / 64, c1=1 / 512),
        version=rng.choice(["0.33.0", "0.19.1"]),
    )
    gap = rng.choice([0, 4, 40, longest, 4 * longest])  # ticks of 1/512 s between arrivals, at most
    lull = rng.choice([0.0, 0.05])  # share of arrivals that come long after the one before
    levels = rng.choice([1, 2, 5])  # of priority
    most_prompt = rng.choice([max(1, longest // 4), longest - 1, rng.randint(1, longest - 1)])
    most_out = rng.choice([max(1, longest // 4), longest, rng.randint(1, longest)])  # many are cut by max_model_len
    tick, requests = 0, []
    for i in range(rng.choice([rng.randint(1, 5), rng.randint(5, 20), rng.randint(10, 40)])):
        if rng.random() < lull:
            tick += 20_000
        elif rng.random() < 0.6:  # else a tie with the one before
            tick += rng.randint(0, gap)
        requests.append((i, tick / 512, rng.randint(1, most_prompt), rng.randint(1, most_out), rng.randrange(levels)))
    return config, requests


def formula_cost(w0, a, b, c2, c3):
    """Time in s of a batch from coefficients in ms; chunks are (tokens done, new tokens), decodes tokens done."""

    def cost(chunks, decodes):
        tokens = sum(new for _, new in chunks) + len(decodes)
        pairs = sum(new * (done + new / 2) for done, new in chunks)
        return (max(w0, a + b * tokens) + c2 * pairs + c3 * sum(decodes)) / 1000

    return cost


def table_cost(path):
    """Time in s of a batch from an npz file of tables in ms per layer; arguments as in `formula_cost`."""
    table = dict(np.load(path))
    linear, decode = table["linear_plus_allreduce_ms_per_layer"], table["decode_ms_per_layer"]
    first, later = table["prefill_kv0_ms_per_layer"], table["prefill_chunk_le512_ms_per_layer"]

    def cost(chunks, decodes):
        tokens = sum(new for _, new in chunks) + len(decodes)
        time = linear[math.ceil(tokens / 8) - 1]
        if decodes:
            page = math.ceil(sum(decodes) // len(decodes) / 64)  # the mean is cut to an integer first
            time += decode[len(decodes) - 1, page] * (1.1 if len(decodes) > 1 else 1.0)
        if chunks:
            pages = sum(math.ceil(done / 64) for done, _ in chunks)
            side = round(math.sqrt(sum(new**2 for _, new in chunks)))
            whole = first[side - 1] if pages == 0 else later[pages, side - 1]
            time += whole * (1.1 if len(chunks) > 1 else 1.0)
        return float(time * int(table["num_layers"]) / 1000)

    return cost


class VidurReference:
    """Vidur's replica with one of two schedulers: 16 tokens a block, at most 128 requests, watermark 1%.

    Args:
        scheduler: "vllm" (prefill first, as vLLM's v0) or "sarathi" (chunks of 512).
        num_blocks: KV blocks of the pool.
        cost: (chunks, decodes) -> s, see `formula_cost`.
    """

    def __init__(self, scheduler, num_blocks, cost):
        self.form_batch = {"vllm": self.vllm, "sarathi": self.sarathi}[scheduler]
        self.num_blocks, self.cost = num_blocks, cost

    def run(self, requests, max_iterations=1_000_000):
        """Serve requests, tuples (id, arrival in s, prompt, out), until none is left.

        Returns:
            (rows, iterations): rows maps an id to (scheduled, first_token, completion, restarts), s.

        Raises:
            Stuck: a request that never fits, or more iterations than `max_iterations`.
        """
        coming = [
            dict(id=i, arrival=t, pre=p, dec=o, done=0, blocks=0, scheduled=None, first=None, restarts=0)
            for i, t, p, o in sorted(requests, key=lambda request: request[1])
        ]
        self.queue, self.running, self.free = [], [], self.num_blocks
        rows, now, iterations = {}, 0.0, 0
        while coming or self.queue or self.running:
            while coming and coming[0]["arrival"] <= now:
                self.queue.append(coming.pop(0))
            batch = self.form_batch()  # takes its requests out of the queue and the running list
            if iterations == max_iterations or not (batch or coming):
                raise Stuck(f"{len(self.queue)} requests wait, iteration {iterations}: too many, or never room")
            if not batch:
                now = coming[0]["arrival"]
                continue
            iterations += 1
            chunks = [(r["done"], new) for r, new in batch if r["done"] < r["pre"]]
            decodes = [r["done"] for r, _ in batch if r["done"] >= r["pre"]]
            start, now = now, now + self.cost(chunks, decodes)
            for r, new in batch:
                r["scheduled"] = start if r["scheduled"] is None else r["scheduled"]
                r["done"] += new
                if r["done"] == r["pre"]:  # the last prefill chunk yields a token as well
                    r["done"] += 1
                    r["first"] = now if r["first"] is None else r["first"]
                if r["done"] == r["pre"] + r["dec"]:
                    self.free += r["blocks"]
                    rows[r["id"]] = (r["scheduled"], r["first"], now, r["restarts"])
                else:
                    self.running.append(r)
        return rows, iterations

    def fits(self, r):
        if r["blocks"]:
            return self.free >= 1
        return self.free - math.ceil(r["pre"] / 16) >= int(0.01 * self.num_blocks)

    def allocate(self, r):
        blocks = math.ceil(r["pre"] / 16) if not r["blocks"] else int(r["done"] > r["blocks"] * 16)
        r["blocks"] += blocks
        self.free -= blocks

    def make_room(self, asker):
        """Preempt until a block is free; False if the asker itself had to go."""
        while not self.fits(asker):
            victim = self.running.pop() if self.running else asker
            # The trap: the prompt a half-prefilled victim has not read yet comes back as tokens to decode.
            victim["pre"], victim["dec"] = victim["done"], victim["pre"] + victim["dec"] - victim["done"]
            victim["restarts"] += 1
            self.free += victim["blocks"]
            victim.update(done=0, blocks=0)
            self.queue.insert(0, victim)
            if victim is asker:
                return False
        self.allocate(asker)
        return True

    def room_for_head(self, batch):
        """The head of the queue fits, and the replica holds fewer than its cap of 128 requests."""
        return self.queue and self.fits(self.queue[0]) and len(batch) + len(self.running) < 128

    def vllm(self):
        batch = []
        while self.room_for_head(batch):
            longest = max([new for _, new in batch] + [self.queue[0]["pre"]])
            if (len(batch) + 1) * longest > 4096:
                break
            head = self.queue.pop(0)
            self.allocate(head)
            batch.append((head, head["pre"]))
        if batch:
            return batch
        self.running.sort(key=lambda r: r["arrival"])
        while self.running and len(batch) < 128:
            asker = self.running.pop(0)
            if self.make_room(asker):
                batch.append((asker, 1))
        return batch

    def sarathi(self):
        batch, prefills, skipped = [], [], []

        def chunk(r):
            return min(r["pre"] - r["done"], 512 - sum(new for _, new in batch))

        while self.running and len(batch) < 128:
            asker = self.running.pop(0)
            if asker["done"] < asker["pre"]:  # once passed it is no victim any more
                prefills.append(asker)
            elif self.make_room(asker):
                batch.append((asker, 1))
        for r in prefills:
            if chunk(r):
                batch.append((r, chunk(r)))
            else:
                skipped.append(r)
        self.running = sorted(skipped + self.running, key=lambda r: r["arrival"])
        while self.room_for_head(batch) and chunk(self.queue[0]):
            head = self.queue.pop(0)
            self.allocate(head)
            batch.append((head, chunk(head)))
        return batch
