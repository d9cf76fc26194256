"""A slow, obvious simulator of vLLM's scheduler, to hold the compiled engine against. Plain lists and dicts.

Written from rules in words only; numbers in comments ("rule 7") count the statements on vLLM's v1 scheduler.

Checked against decision logs of the real scheduler classes, 0.33.0 and 0.19.1: all twelve fields of every call are
equal. The logs hold no idle gap, no priority tie to the last, no `long_prefill_token_threshold` or
`max_num_active_seqs`, no request cut by `max_model_len`, and prefix caching and the asynchronous scheduler only by
themselves and under first come first served: rules alone there.
`random_case` draws inputs. Its times are multiples of 1/512 s, so every sum is exact and ties are ties.
"""

import math
import zlib

OUTPUT = 65536  # text of the output of request 0, as in the logs


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


class Pool:
    """Blocks with identities: what is free, in order of eviction, and which block holds which prefix.

    Args:
        count: blocks that can be used.
        size: tokens a block.
        unhashed_first: whether released blocks without identity go to the front of the queue (rule 22; not in 0.19.1).
    """

    def __init__(self, count, size, unhashed_first):
        self.size, self.unhashed_first = size, unhashed_first
        self.queue = [dict(prefix=None, users=0) for _ in range(count)]
        self.cached = {}  # identity of a prefix -> blocks that hold its last tokens, the first cached first (rule 23)
        self.prefixes = {}  # (identity of the prefix before, tokens) -> identity

    def identity(self, tokens, i):
        """Name the tokens up to the end of block i (rule 19)."""
        before = self.identity(tokens, i - 1) if i > 0 else None
        return self.prefixes.setdefault(
            (before, tuple(tokens[i * self.size : (i + 1) * self.size])), len(self.prefixes)
        )

    def hits(self, tokens):
        """Return the longest run of cached blocks that leaves a token to compute."""
        found, before = [], None
        for i in range((len(tokens) - 1) // self.size):
            before = self.prefixes.get((before, tuple(tokens[i * self.size : (i + 1) * self.size])))
            if before is None or before not in self.cached:
                break
            found.append(self.cached[before][0])
        return found

    def use(self, block):
        """Let one more request use a block (rule 21)."""
        if block["users"] == 0:
            self.queue = [other for other in self.queue if other is not block]
        block["users"] += 1

    def allocate(self, count):
        """Take blocks from the front of the queue; what they held is forgotten (rule 22)."""
        taken, self.queue = self.queue[:count], self.queue[count:]
        for block in taken:
            if block["prefix"] is not None:
                others = [other for other in self.cached.pop(block["prefix"]) if other is not block]
                if others:
                    self.cached[block["prefix"]] = others
            block.update(prefix=None, users=1)
        return taken

    def hash(self, blocks, tokens):
        """Give full blocks their identities (rule 20)."""
        for i, block in enumerate(blocks[: len(tokens) // self.size]):
            if block["prefix"] is None:
                block["prefix"] = self.identity(tokens, i)
                self.cached.setdefault(block["prefix"], []).append(block)

    def release(self, blocks):
        """Let one user less use each block, the last block first (rule 22)."""
        for block in reversed(blocks):
            block["users"] -= 1
            if block["users"] == 0:
                front = self.unhashed_first and block["prefix"] is None
                self.queue.insert(0 if front else len(self.queue), block)


class VllmReference:
    """vLLM's v1 scheduler.

    Args:
        config: the keys of a decision log's header; the ones that only its generator reads are ignored.
        version: "0.33.0" or "0.19.1".
        cost: tokens of a call -> duration in s.

    Raises:
        ValueError: a configuration the real engine refuses to start with, or a version that is not covered here.
    """

    def __init__(self, config, version, cost):
        if version not in ("0.33.0", "0.19.1"):
            raise ValueError(f"version {version}: not covered")
        if not config["enable_chunked_prefill"] and config["max_num_batched_tokens"] < config["max_model_len"]:
            raise ValueError("without chunked prefill the budget must be at least max_model_len")
        self.config, self.version, self.cost = config, version, cost
        self.caching, self.ahead = config["enable_prefix_caching"], config["async_scheduling"]
        self.ends_known = config.get("stop", "max_tokens") == "max_tokens"

    def run(self, requests, max_calls=200_000):
        """Serve requests until none is left.

        Args:
            requests: tuples (id, arrival in s, prompt, out, priority), and pieces (text, start, length) of the prompt
                where it shares any; equal arrivals join in the order given.
            max_calls: more calls of schedule() than this raise `Stuck`.

        Returns:
            list of calls, each a tuple (i, t, add, s, adm, p, fb, fin, fa, run, wait, tok), the log's fields.

        Raises:
            ValueError: a request that is empty, too long or larger than the pool.
            Stuck: it would go round for ever; `calls` holds the calls so far. The rules allow that: under "priority"
                two requests of equal priority and arrival may take turns evicting one another (rule 7).
        """
        size, usable = self.config["block_size"], self.config["num_blocks"] - 1  # block 0 is the null block
        for _, _, prompt, out, *_ in requests:
            if not (1 <= prompt < self.config["max_model_len"] and out >= 1):
                raise ValueError(f"prompt {prompt}, out {out}, max_model_len {self.config['max_model_len']}")
            if self.blocks_for(min(prompt + out, self.config["max_model_len"]) - 1) > usable:  # rule 17
                raise ValueError(f"prompt {prompt}, out {out} never fits {usable} blocks")
        self.coming = [self.request(*request) for request in sorted(requests, key=lambda request: request[1])]
        self.running, self.waiting = [], []
        self.pool = Pool(usable, size, self.version == "0.33.0")
        self.calls, self.begun = [], 0
        now, seen, in_flight = 0.0, set(), []
        while self.coming or self.running or self.waiting or in_flight:
            if not self.coming:
                state = self.state(in_flight)
                if state in seen:
                    raise Stuck(f"call {len(self.calls)}: a state that was there before")
                seen.add(state)
            if len(self.calls) == max_calls:
                raise Stuck(f"call {len(self.calls)}: too many")
            if not (self.running or self.waiting or in_flight):
                now = max(now, self.coming[0]["arrival"])
            if self.running or self.waiting or (self.coming and self.coming[0]["arrival"] <= now):
                call, scheduled = self.call(now)
                end = in_flight[-1]["end"] if in_flight else now  # one call computes after the other
                if call["tok"]:
                    end += self.cost(call["tok"])  # a schedule of nothing is not computed
                in_flight.append(dict(call=call, scheduled=scheduled, end=end))
                if self.ahead and call["tok"] and len(in_flight) == 1:  # rule 24
                    continue
            done = in_flight.pop(0)
            now = done["end"]
            done["call"]["fin"] = self.update(done["scheduled"])
            done["call"]["fa"] = len(self.pool.queue)
            self.calls.append(tuple(done["call"].values()))
        return self.calls

    def request(self, i, arrival, prompt, out, priority, pieces=None):
        """Return what is known of a request (rule 24: `q` are its placeholders)."""
        tokens = [(text, start + k) for text, start, n in pieces or [(-1 - i, 0, prompt)] for k in range(n)]
        fixed = dict(id=i, arrival=arrival, prompt=prompt, out=out, priority=priority)
        return fixed | dict(tokens=tokens, sampled=0, computed=0, blocks=[], preempted=False, q=0)

    def state(self, in_flight):
        """Return all that the future depends on."""
        listed = [(r["id"], r["sampled"], r["computed"], r["q"], len(r["blocks"])) for r in self.running + self.waiting]
        blocks = tuple((block["prefix"], block["users"]) for block in self.pool.queue)
        steps = tuple(tuple((r["id"], samples) for r, _, samples in step["scheduled"]) for step in in_flight)
        return tuple(listed), blocks, steps

    def call(self, now):
        """Let requests join and call schedule(); return the call, and what was scheduled."""
        added = []
        while self.coming and self.coming[0]["arrival"] <= now:  # rule 1
            added.append(self.coming.pop(0))
            self.wait(added[-1])
        scheduled, admitted, preempted = self.schedule()
        call = dict(i=self.begun, t=round(now, 9))  # rounded where it is written, not where it adds up
        self.begun += 1
        call |= dict(add=[r["id"] for r in added], s=[r["id"] if n == 1 else [r["id"], n] for r, n, _ in scheduled])
        call |= dict(adm=admitted, p=preempted, fb=len(self.pool.queue), fin=[], fa=0)
        call |= dict(run=checksum(self.running), wait=checksum(self.waiting), tok=sum(n for _, n, _ in scheduled))
        return call, scheduled

    def wait(self, request, front=False):
        """Queue a request."""
        self.waiting.insert(0 if front else len(self.waiting), request)
        if self.config["policy"] == "priority":  # rule 11
            self.waiting.sort(key=lambda r: (r["priority"], r["arrival"], name(r)))

    def blocks_for(self, tokens):
        return math.ceil(tokens / self.config["block_size"])

    def give(self, request, n):
        """Give a request the blocks for n more tokens, and full blocks their identities."""
        need = self.blocks_for(request["computed"] + n) - len(request["blocks"])
        request["blocks"] += self.pool.allocate(need)
        if self.caching:
            self.pool.hash(request["blocks"], request["tokens"][: request["computed"] + n])  # rule 20

    def preempt(self, victim):
        """Take a running request's blocks and queue it (rule 9)."""
        self.running.remove(victim)
        self.pool.release(victim["blocks"])
        victim.update(blocks=[], computed=0, preempted=True)
        self.wait(victim, front=True)

    def schedule(self):
        """Choose the tokens of one call: ([(request, tokens, samples)], [[id, computed, resumed]], [preempted id])."""
        config = self.config
        priority, new_version = config["policy"] == "priority", self.version == "0.33.0"
        budget = config["max_num_batched_tokens"]  # rule 3
        alone = new_version and len(self.running) + len(self.waiting) == 1  # rule 5
        threshold = math.inf if alone else config["long_prefill_token_threshold"] or math.inf
        scheduled, admitted, preempted, asked = [], [], [], []

        while budget > 0 and any(r not in asked for r in self.running):  # rule 4
            asker = next(r for r in self.running if r not in asked)
            asked.append(asker)
            last = asker["prompt"] + asker["out"]
            if self.ends_known and asker["q"] > 0 and asker["computed"] + 2 - asker["q"] >= last:  # rule 25
                continue
            n = len(asker["tokens"]) + asker["q"] - asker["computed"]  # rules 2, 24
            n = min(n, threshold, budget, config["max_model_len"] - asker["computed"] - 1)
            if n == 0:
                continue
            while True:
                need = self.blocks_for(asker["computed"] + n) - len(asker["blocks"])  # rule 6
                if need <= len(self.pool.queue):
                    self.give(asker, n)
                    scheduled.append((asker, n))
                    budget -= n
                    break
                victim = self.running[-1]  # rule 7
                if priority:
                    victim = max(self.running, key=lambda r: (r["priority"], r["arrival"]))  # the first of equals
                left_out = any(r is victim for r in asked[:-1]) and not any(r is victim for r, _ in scheduled)
                if priority and not new_version and left_out and victim is not asker:  # 0.19.1 then skips another
                    follower = self.running.index(asker) + 1
                    asked += [r for r in self.running[follower:] if r not in asked][:1]
                budget += sum(tokens for r, tokens in scheduled if r is victim)
                scheduled = [entry for entry in scheduled if entry[0] is not victim]
                self.preempt(victim)
                preempted.append(victim["id"])
                if victim is asker:
                    break
            if asker not in self.running and not (priority and new_version):  # rule 8
                break

        seats = config["max_num_active_seqs"] or config["max_num_seqs"]
        while not preempted and self.waiting and budget > 0 and len(self.running) < seats:  # rule 10
            head = self.waiting[0]
            hits = self.pool.hits(head["tokens"]) if self.caching else []  # rule 19
            evictable = sum(block["users"] == 0 for block in hits)  # rule 21
            known, cached = len(head["tokens"]), len(hits) * config["block_size"]
            n = min(known - cached, threshold)  # rule 12
            if n > budget and not config["enable_chunked_prefill"]:
                break
            n = min(n, budget)
            guarded = new_version and self.running  # rule 15
            watermark = int(config["watermark"] * config["num_blocks"]) if guarded else 0
            room = len(self.pool.queue) - watermark - evictable + len(hits)
            if config["scheduler_reserve_full_isl"] and self.blocks_for(known) > room:  # rule 13
                break
            if self.blocks_for(cached + n) > room:  # rule 14
                break
            self.waiting.pop(0)
            self.running.append(head)  # rule 16
            for block in hits:
                self.pool.use(block)
            head.update(blocks=hits, computed=cached)
            self.give(head, n)
            budget -= n
            scheduled.append((head, n))
            admitted.append([head["id"], cached, int(head["preempted"])])
            head["preempted"] = False

        chosen = []
        for request, n in scheduled:
            request["computed"] += n  # rule 17
            samples = request["computed"] == len(request["tokens"]) + request["q"]
            request["q"] += samples  # rule 24
            chosen.append((request, n, samples))
        return chosen, admitted, preempted

    def update(self, scheduled):
        """Sample the tokens of one call and release what finished; ids of those."""
        finished = []
        for request, _, samples in scheduled:
            if not samples or (request not in self.running and request not in self.waiting):  # rule 25
                continue
            request["tokens"].append((OUTPUT + request["id"], request["sampled"]))
            request["sampled"] += 1
            request["q"] -= 1
            if self.caching and any(r is request for r in self.running):  # rule 20: what is known and computed by now
                self.pool.hash(request["blocks"], request["tokens"][: request["computed"] - request["q"]])
            if (
                request["sampled"] == request["out"] or len(request["tokens"]) == self.config["max_model_len"]
            ):  # rule 18
                (self.running if request in self.running else self.waiting).remove(request)
                self.pool.release(request["blocks"])
                finished.append(request["id"])
        return finished


def random_case(rng):
    """Draw a configuration and requests for `VllmReference` that crowd a small pool.

    Args:
        rng: `random.Random`.

    Returns:
        (config, requests): the keys of a log's header, "c0" and "c1" in s among them, and "version"; and tuples
        (id, arrival in s, prompt, out, priority, pieces) in order of arrival, ids from 0. Some end in `Stuck`.
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
        enable_prefix_caching=rng.random() < 0.6,
        async_scheduling=rng.random() < 0.4,
        stop=rng.choice(["max_tokens", "max_tokens", "eos"]),
        c0=1 / 64,
        c1=1 / 512,
        version=rng.choice(["0.33.0", "0.19.1"]),
    )
    gap = rng.choice([0, 4, 40, longest, 4 * longest])  # ticks of 1/512 s between arrivals, at most
    lull = rng.choice([0.0, 0.05])  # share of arrivals that come long after the one before
    levels = rng.choice([1, 2, 5])  # of priority
    most_prompt = rng.choice([max(1, longest // 4), longest - 1, rng.randint(1, longest - 1)])
    most_out = rng.choice([max(1, longest // 4), longest, rng.randint(1, longest)])  # many are cut by max_model_len
    shared, talks = rng.choice([0.0, 0.5, 1.0]), rng.choice([0.0, 0.5])  # shares of prompts that begin as others do
    tick, requests = 0, []
    for i in range(rng.choice([rng.randint(1, 5), rng.randint(5, 20), rng.randint(10, 40)])):
        if rng.random() < lull:
            tick += 20_000
        elif rng.random() < 0.6:  # else a tie with the one before
            tick += rng.randint(0, gap)
        prompt, out = rng.randint(1, most_prompt), rng.randint(1, most_out)
        start = []
        if requests and rng.random() < talks:  # it goes on from the output of another
            other, _, _, length, _, pieces = rng.choice(requests)
            start = [*pieces, (OUTPUT + other, 0, rng.randint(1, length))]
        elif rng.random() < shared:
            start = [(5000 + rng.randrange(3), 0, rng.choice([longest // 4 + 1, rng.randint(1, longest)]))]
        requests.append((i, tick / 512, prompt, out, rng.randrange(levels), cut([*start, (1 + i, 0, prompt)], prompt)))
    return config, requests


def cut(pieces, tokens):
    """Return the first so many tokens of pieces (text, start, length)."""
    kept = []
    for text, start, length in pieces:
        if tokens > 0:
            kept.append((text, start, min(length, tokens)))
            tokens -= length
    return kept
