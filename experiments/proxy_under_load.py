"""Does the exported proxy lose or mix up answers under load, does its memory stay flat, are its priorities as ranked?

    python experiments/proxy_under_load.py --streams 1000 --rounds 5

A thousand streams at a time go through the proxy of `sjf` to a server without a model (`fake_openai.py`) that serves 64
at a time. One in ten goes away, half of them in the midst of their answer and half after 0.3 s wherever they are. In
one round the server is killed and started again. Every piece of an answer says whose it is and counts up.

What has to come out, set before it was run: every stream that did not go away is whole, or is told that the engine
broke off, which only those may be that were at the engine when it was killed; no piece is somebody else's, missing or
twice; a smaller rank never has a larger number, and nobody leaves the window before a smaller rank that waits
there; the memory of the proxy after the last round is at most 5 % more than after the second.
"""

import argparse
import asyncio
import collections
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11

from llmqueue_gym.evaluation.results import result, write_json
from llmqueue_gym.export import export

RESULT = Path(__file__).parent / "results" / "proxy_under_load.json"
SEATS = 64  # at the engine, and in the window where there is one
SHORTEST, LONGEST, PAUSE = 4, 24, 0.05  # pieces of an answer, and s before each
CANCELLED = 10  # one stream in so many goes away
DOWN = 0.5  # s for which the engine is away
FLAT = 1.05


@dataclass
class Stream:
    """One request and what became of it.

    Attributes:
        name: of the request.
        n: pieces of its answer.
        leaves: "": stays; "midway": goes away after two pieces; "soon": after 0.3 s.
        end: whole, cancelled, told (that the engine broke off), or lost.
        mixed: pieces that are somebody else's, missing or twice.
    """

    name: str
    n: int
    leaves: str = ""
    end: str = "lost"
    mixed: int = 0
    pieces: list[str] = field(default_factory=list)


@dataclass
class Server:
    """A process that listens at a port."""

    command: list[str]
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen([sys.executable, *self.command])
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"{self.command[0]} does not start")

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    @property
    def memory(self) -> float:
        """Its resident memory, MiB."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def behind_a_proxy(folder: Path, window: int | None) -> Iterator[tuple[Server, Server, Path]]:
    """Export a proxy into a folder and run it before an engine; gives the engine, the proxy, and its log."""
    made, log = export("sjf", "priority-proxy", folder / "proxy"), folder / "log.jsonl"
    here, there = free_port(), free_port()
    fake = Path(__file__).with_name("fake_openai.py")
    engine = Server([str(fake), "--port", str(there), "--seats", str(SEATS)], there)
    options = ["--backend", f"http://127.0.0.1:{there}", "--engine", "vllm", "--port", str(here), "--log", str(log)]
    options += ["--window", str(window)] if window else []
    proxy = Server([str(made / "llmqueue_proxy.py"), *options], here)
    try:
        engine.start()
        proxy.start()
        yield engine, proxy, log
    finally:
        proxy.kill()
        engine.kill()


async def play(port: int, stream: Stream) -> None:
    """Send one request, and look at every piece of its answer."""
    body = json.dumps({"model": "fake", "stream": True, "max_tokens": stream.n, "pause": PAUSE, "prompt": "x"}).encode()
    headers = [("host", "localhost"), ("content-length", str(len(body))), ("x-request-id", stream.name)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = h11.Connection(h11.CLIENT)
    try:
        writer.write(connection.send(h11.Request(method="POST", target="/v1/completions", headers=headers)))
        writer.write(connection.send(h11.Data(data=body)))
        writer.write(connection.send(h11.EndOfMessage()))
        limit = 0.3 if stream.leaves == "soon" else None
        await asyncio.wait_for(_read(reader, connection, stream), limit)
    except (OSError, TimeoutError, h11.RemoteProtocolError):  # the last where an answer is cut
        stream.end = "cancelled" if stream.leaves and stream.end == "lost" else stream.end
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader, connection: Any, stream: Stream) -> None:
    rest, status = b"", 0
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(2**16))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            *lines, rest = (rest + bytes(event.data)).split(b"\n")
            for line in lines:
                _look_at(line, stream)
            if stream.leaves == "midway" and len(stream.pieces) >= 2:
                stream.end = "cancelled"
                return
        elif isinstance(event, h11.EndOfMessage):
            whole = stream.end == "whole" and len(stream.pieces) == stream.n
            stream.end = "told" if status == 502 else "whole" if status == 200 and whole else "lost"
            return


def _look_at(line: bytes, stream: Stream) -> None:
    if line == b"data: [DONE]":
        stream.end = "whole"
    elif line.startswith(b'data: {"error"'):
        stream.end = "told"
    elif line.startswith(b"data: "):
        piece = json.loads(line[6:])["choices"][0]["delta"]["content"].strip()
        stream.mixed += piece != f"{stream.name}:{len(stream.pieces)}"
        stream.pieces.append(piece)


async def one_round(port: int, k: int, n: int, engine: Server | None) -> list[Stream]:
    """Play n streams at once; the engine, if one is given, is killed meanwhile and started again."""
    rng = random.Random(k)
    streams = [Stream(f"r{k}-{i}", rng.randint(SHORTEST, LONGEST)) for i in range(n)]
    for i, stream in enumerate(streams[::CANCELLED]):
        stream.leaves = "midway" if i % 2 else "soon"
    playing = [asyncio.create_task(play(port, stream)) for stream in streams]
    if engine is not None:
        while sum(stream.end == "whole" for stream in streams) < n // 10:  # well under way
            await asyncio.sleep(0.01)
        engine.kill()
        await asyncio.sleep(DOWN)
        await asyncio.to_thread(engine.start)
    await asyncio.gather(*playing)
    return streams


def inversions(lines: list[dict[str, Any]]) -> int:
    """Return how many left the window while a smaller rank waited there."""
    count = 0
    for one in lines:
        if one["sent"] is not None:
            count += any(
                other["queued"] < one["sent"] < (other["sent"] or other["end"])
                and other["predicted"] < one["predicted"]
                for other in lines
                if other["queued"] is not None
            )
    return count


def trial(streams: int, rounds: int, window: int | None, restart: int) -> dict[str, Any]:
    """Return what came of some rounds of streams; in round `restart` the engine is killed."""
    with tempfile.TemporaryDirectory() as folder, behind_a_proxy(Path(folder), window) as (engine, proxy, log):
        memory, ends, mixed, told = [], collections.Counter[str](), 0, []
        start = time.perf_counter()
        for k in range(rounds):
            played = asyncio.run(one_round(proxy.port, k, streams, engine if k == restart else None))
            ends.update(stream.end for stream in played)
            mixed += sum(stream.mixed for stream in played)
            told.append(sum(stream.end == "told" for stream in played))
            memory.append(round(proxy.memory, 1))
        elapsed = time.perf_counter() - start
        for _ in range(100):  # those who went away last may not be written down yet
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            if len(lines) == streams * rounds:
                break
            time.sleep(0.05)
    sent = sorted((line for line in lines if line["sent"] is not None), key=lambda line: line["rank"])
    out_of_order = sum(
        (one["rank"] == other["rank"]) != (one["priority"] == other["priority"]) or one["priority"] > other["priority"]
        for one, other in itertools.pairwise(sent)
    )
    return {
        "streams": streams,
        "rounds": rounds,
        "window": window,
        "ends": dict(ends),
        "told that the engine broke off, by round": told,
        "pieces mixed up": mixed,
        "lines of the log": len(lines),
        "priorities not as ranked": out_of_order,
        "left the window while a smaller rank waited": inversions(lines) if window else None,
        "memory after each round, MiB": memory,
        "seconds": round(elapsed, 1),
    }


def holds(found: dict[str, Any], restart: int) -> dict[str, bool]:
    """Return what had to come out, and whether it did."""
    memory, told = found["memory after each round, MiB"], found["told that the engine broke off, by round"]
    return {
        "no answer lost": found["ends"].get("lost", 0) == 0,
        "no answer mixed up": found["pieces mixed up"] == 0,
        "only those at the engine broken off": all(
            n <= (found["window"] or found["streams"]) if k == restart else n == 0 for k, n in enumerate(told)
        ),
        "all written down": found["lines of the log"] == found["streams"] * found["rounds"],
        "priorities as ranked": found["priorities not as ranked"] == 0,
        "window in order": not found["left the window while a smaller rank waited"],
        "memory flat": memory[-1] <= FLAT * memory[min(1, len(memory) - 1)],
    }


def main() -> None:
    """Run, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default=str(RESULT))
    given = parser.parse_args()
    stored = {}
    for name, window in (("window of 64", SEATS), ("no window", None)):
        restart = given.rounds // 2
        found = trial(given.streams, given.rounds, window, restart)
        stored[name] = {**found, "holds": holds(found, restart)}
        print(name, json.dumps(stored[name], indent=1), flush=True)
    write_json(given.out, result(stored, seeds=range(given.rounds)))


if __name__ == "__main__":
    main()
