"""Do the radix cache and the orders of the queue do what SGLang's do, step by step?

Replays logs of SGLang's RadixCache and SchedulePolicy (one JSON value a line: a header, the requests, one list per
step), driven by a small loop that admits, computes and ends requests, and compares every field of every step. Prints a
line per log, `identical (n steps)` or the first difference, and exits 1 if any log differs, 2 if a file is no such log.

    python experiments/fidelity/sglang.py LOG...

Logs are of sglang 0.5.23: the tree on one GPU, without a host cache, and one namespace.
"""

import argparse
import gzip
import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym.engines.batching.cache import PATH
from llmqueue_gym.engines.batching.radix import insert, lock, match, unlock
from llmqueue_gym.engines.batching.radix_leaves import evict
from llmqueue_gym.engines.batching.radix_order import POLICIES, put_in_order
from llmqueue_gym.engines.batching.radix_tables import EVICTABLE, LEAVES, POSTPONED, PROTECTED
from llmqueue_gym.engines.batching.rule_sets import rule_set
from llmqueue_gym.errors import BadInput
from llmqueue_gym.requests import SEGMENT, Contexts, Requests, never_refreshed, request_table
from llmqueue_gym.systems.replica_tables import loaded
from llmqueue_gym.systems.serve import as_drawn

FIELDS = ("step", "number", "waiting", "head", "queue", "matched", "admitted", "prompts", "finished", "held", "state")
SHOWN = 24  # ids of the head of the queue
OUTPUT = 1 << 16  # the output of request r is segment OUTPUT + r
CONFIG = {  # what a configuration says, and what it may say
    "policy": lambda value: value in POLICIES,
    "eviction": lambda value: value in ("lru", "lfu"),
    "priority_scheduling": lambda value: isinstance(value, bool),
    "low_first": lambda value: isinstance(value, bool),
    **dict.fromkeys(
        ("capacity", "page_size", "max_running", "max_prefill_tokens", "decode_per_step"),
        lambda value: isinstance(value, int) and 0 < value < 1 << 31,
    ),
}


def main() -> int:
    """Compare every log given; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logs", nargs="+", metavar="LOG", help="decision log, .jsonl or .jsonl.gz")
    status = 0
    for log in parser.parse_args().logs:
        try:
            same, words = compare(Path(log))
            status = max(status, 0 if same else 1)
        except (BadInput, OSError) as error:
            status, words = 2, f"error: {error}"
        print(f"{log}: {words}", flush=True)
    return status


def compare(log: Path) -> tuple[bool, str]:
    """Return whether the steps here are those of a log, and how to say so."""
    config, requests, steps, whole = read(log)
    replay = Replay(config, requests)
    ours = replay.steps()
    for n, theirs in enumerate(steps):
        mine = next(ours, None)
        if mine is None:
            return False, f"step {n}: all requests have left here, the log goes on to step {len(steps) - 1}"
        if len(mine) != len(theirs):
            return False, f"step {n}: {len(mine)} fields here, {len(theirs)} in the log"
        names = FIELDS if len(mine) == len(FIELDS) else [name for name in FIELDS if name != "held"]
        for name, here, real in zip(names, mine, theirs, strict=True):
            if here != real:
                return False, f"step {n}, field {name}: {brief(here)} here, {brief(real)} in the log"
    if not whole and next(ours, None) is not None:
        return False, f"step {len(steps)}: the log has ended, requests are left here"
    return True, f"identical ({len(steps)} steps)"


def brief(value: Any) -> str:
    """Return a value in at most 100 characters."""
    words = json.dumps(value)
    return words if len(words) <= 100 else f"{words[:97]}..."


def read(log: Path) -> tuple[dict[str, Any], list[list[Any]], list[list[Any]], bool]:
    """Return the configuration, the requests and the steps of a log, and whether it says itself that these are all.

    Raises:
        BadInput: it is no such log.
    """
    try:
        with gzip.open(log, "rt") if log.suffix == ".gz" else log.open() as text:
            header, *rest = [json.loads(line) for line in text if line.strip()]
    except (ValueError, EOFError, zlib.error):
        raise BadInput("not a log of SGLang: a line is not JSON, or there is none") from None
    if not isinstance(header, dict) or header.get("type") != "header" or not isinstance(header.get("config"), dict):
        raise BadInput("not a log of SGLang: the first line is no header")
    for key, good in CONFIG.items():
        if key not in header["config"]:
            raise BadInput(f"not a log of SGLang: its header says nothing of {key}")
        if not good(header["config"][key]):
            raise BadInput(f"{key}={header['config'][key]!r} is not replayed")
    lines = [line for line in rest if isinstance(line, list)]
    requests = [line for line in lines if line[:1] == ["req"]]
    steps = [line for line in lines if line[:1] == ["step"]]
    if len(requests) + len(steps) < len(lines) or not requests or not all(map(well_formed, requests)):
        raise BadInput("not a log of SGLang: a line is not as it should be, or there is no request")
    said = [line.get("steps") for line in rest if isinstance(line, dict) and line.get("type") == "summary"]
    return header["config"], sorted(requests, key=lambda line: line[2]), steps, said == [len(steps)]


def well_formed(line: list[Any]) -> bool:
    """Whether a line is a request: id, step of arrival, segments, output tokens and priority."""
    if len(line) != 6 or not isinstance(line[3], list):
        return False
    numbers = [*line[1:3], line[4]]
    for segment in line[3]:
        numbers += segment if isinstance(segment, list) and len(segment) == 3 else [None]
    whole = all(isinstance(number, int) and 0 <= number < 1 << 31 for number in numbers)
    return whole and isinstance(line[5], int) and line[4] > 0 and sum(length for *_, length in line[3]) > 0


@dataclass
class Admitted:
    """A request that runs: the last node of its text, tokens matched, room held, tokens inserted, tokens made."""

    row: int
    node: int
    matched: int
    room: int
    inserted: int = 0
    made: int = 0


class Replay:
    """The loop of the logs around the kernels: SGLang's scheduler reduced to tokens, and nothing takes time."""

    def __init__(self, config: dict[str, Any], requests: list[list[Any]]):
        _, names, arrivals, segments, outputs, priorities = zip(*requests, strict=True)
        n, self.config, self.names, self.outputs = len(names), config, names, np.array(outputs, np.int64)
        pieces = np.array([tuple(piece) for pieces in segments for piece in pieces], SEGMENT)
        first = np.concatenate([[0], np.cumsum([len(pieces) for pieces in segments])])
        prompts = np.array([sum(length for _, _, length in pieces) for pieces in segments])
        table = request_table(np.array(arrivals, float), prompts, priority=np.array(priorities))
        table["upper"] = self.outputs
        contexts = Contexts(pieces, first, np.array(names, np.int64) + OUTPUT)
        page, tokens = config["page_size"], int(prompts.sum() + self.outputs.sum())
        blocks = max(min(config["capacity"], tokens) // page, 1)
        cached = f"block_size={page},blocks={blocks},eviction={config['eviction']},queue_order=lpm,max_seqs=1"
        drawn = as_drawn(Requests(table, self.outputs, never_refreshed(n), contexts))
        replica = loaded(drawn, rule_set(f"sglang:{cached}"))
        self.table, self.truth, self.cells = replica.requests, replica.truth, replica.cells
        self.tree = int(replica.state["tree"][0])
        self.cache = self.cells, self.tree
        self.queue, self.waiting, self.arrived = np.zeros(len(names), np.int64), 0, 0
        self.running: list[Admitted] = []
        self.free = config["capacity"]

    def steps(self) -> Iterator[list[Any]]:
        """Yield a line of the log per step, until all requests have left."""
        step = 0
        while self.arrived < len(self.names) or self.waiting or self.running:
            self.arrive(step)
            ordered = self.order()
            admitted, inserted = self.admit()
            finished = self.decode()
            room = [self.free, *(int(self.cells[self.tree + cell]) for cell in (EVICTABLE, PROTECTED, LEAVES))]
            yield ["step", step, *ordered[:4], admitted, inserted, finished, *ordered[4:], room]
            step += 1

    def text(self, row: int) -> tuple[Any, ...]:
        """Return how kernels are told of the text of a request, in the tree."""
        return *self.cache, int(self.truth["path"][row]) + PATH

    def arrive(self, step: int) -> None:
        """Let those who come by a step join the end of the queue."""
        while self.arrived < len(self.names) and self.table["arrival"][self.arrived] <= step:
            self.queue[self.waiting] = self.arrived
            self.waiting += 1
            self.arrived += 1

    def order(self) -> list[Any]:
        """Put the queue in order; returns its length, head, and checks of all ids and matches, and who is held back."""
        if self.waiting == 0:
            return [None] * 4
        how = POLICIES[self.config["policy"]], self.config["priority_scheduling"], self.config["low_first"]
        among = *self.cache, self.table, self.truth, self.queue, self.waiting
        looked = put_in_order(*among, *how)
        rows = self.queue[: self.waiting]
        ids = [self.names[row] for row in rows]
        told = [self.waiting, ids[:SHOWN], check(ids), check(self.table["cached"][rows].tolist())]
        return (
            [*told, sorted(self.names[row] for row in rows if self.cells[self.truth["path"][row] + POSTPONED])]
            if looked
            else told
        )

    def admit(self) -> tuple[list[Any], list[Any]]:
        """Admit from the head of the queue, and insert the prompts; returns what was done for each."""
        budget, new, told = self.config["max_prefill_tokens"], [], []
        while len(new) < self.waiting and len(self.running) + len(new) < self.config["max_running"] and budget > 0:
            row = int(self.queue[len(new)])
            prompt = int(self.table["prompt"][row])
            matched, node = map(int, match(*self.text(row), prompt - 1))
            self.table["cached"][row] = matched
            need = prompt - matched
            if new and need > budget:
                break
            lock(*self.cache, node)
            wanted = need + int(self.outputs[row])
            if self.free + int(self.cells[self.tree + EVICTABLE]) < wanted:
                unlock(*self.cache, node)
                told.append([self.names[row], matched, -1, 0])
                break
            asked = max(wanted - self.free, 0)
            evicted = int(evict(*self.cache, asked)) if asked else 0
            self.free += evicted - wanted
            budget -= need
            told.append([self.names[row], matched, asked, evicted])
            new.append(Admitted(row, node, matched, wanted))
        self.waiting -= len(new)
        self.queue[: self.waiting] = self.queue[len(new) : len(new) + self.waiting].copy()
        self.running += new
        return told, [self.keep(request) for request in new]

    def keep(self, request: Admitted) -> list[int]:
        """Insert a prompt that was computed, and lock it."""
        prompt = int(self.table["prompt"][request.row])
        inserted, known, node = map(int, insert(*self.text(request.row), prompt, 0))
        twice = max(0, known - request.matched)  # computed, though the tree has it by now
        self.free += twice
        match(*self.text(request.row), inserted)
        unlock(*self.cache, request.node)
        lock(*self.cache, node)
        request.node, request.inserted = node, inserted
        request.room -= twice + inserted - max(known, request.matched)
        return [self.names[request.row], inserted, known]

    def decode(self) -> list[list[int]]:
        """Let all who run make tokens, and insert the texts of those who have all."""
        told, left = [], []
        for request in self.running:
            row = request.row
            request.made += self.config["decode_per_step"]
            if request.made < self.outputs[row]:
                left.append(request)
                continue
            length = int(self.table["prompt"][row] + self.outputs[row]) - 1
            inserted, known, _ = map(int, insert(*self.text(row), length, request.inserted))
            self.free += request.room - (inserted - known)
            unlock(*self.cache, request.node)
            told.append([self.names[row], inserted, known])
        self.running = left
        return told


def check(numbers: list[int]) -> int:
    """Return the checksum of numbers."""
    return zlib.crc32(",".join(map(str, numbers)).encode())


if __name__ == "__main__":
    sys.exit(main())
