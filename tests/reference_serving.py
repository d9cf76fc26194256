"""A slow, obvious simulator of the replica of Vidur, to hold the compiled engine against. Plain lists and dicts.

Checked against runs of Vidur (commit 7d47513): iterations and restarts equal, times within 1e-6 s. No half-prefilled
request is preempted in them, so that trap is the rules alone.
"""

import math

import numpy as np
from reference_vllm import Stuck


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
