"""Does the exported proxy lose or mix up answers under load, does its memory stay flat, are its priorities as ranked?

    python experiments/proxy_under_load.py --streams 1000 --rounds 5
    python experiments/proxy_under_load.py --streams 1000 --rounds 5 --vllm .venv-engines-0.33.0/bin/python

A thousand streams at a time go through the proxy of `sjf` to a server without a model (`fake_openai.py`, or vLLM's own,
which `make test-engines` installs) that serves 64 at a time. One in ten goes away, half of them in the midst of their
answer and half after 0.3 s wherever they are. In one round the server is killed and started again. Every word of an
answer says whose it is and counts up.

What has to come out, set before it was run: every stream that did not go away is whole, or is told that the engine
broke off, which only those may be that were at the engine when it was killed; no word is somebody else's, missing or
twice; a smaller rank never has a larger number, nobody leaves the window before a smaller rank that waits there, and
nobody gets a seat of vLLM's before a smaller number that waits in its queue; the memory of the proxy after the last
round is at most 5 % more than after the second.
"""

import argparse
import asyncio
import collections
import itertools
import json
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11
from servers import PAUSE, Server, lines_of, proxied

from llmqueue_gym.evaluation.results import result, write_json

SEATS = 64  # at the engine, and in the window where there is one
RESULTS = Path(__file__).parent / "results"
SHORTEST, LONGEST = 4, 24  # words of an answer
CANCELLED = 10  # one stream in so many goes away
DOWN = 0.5  # s for which the engine is away
FLAT = 1.05


@dataclass
class Stream:
    """One request and what became of it.

    Attributes:
        name: of the request.
        asks: its prompt, which the words of the answer repeat.
        n: words of its answer.
        leaves: "": stays; "midway": goes away after two words; "soon": after 0.3 s.
        end: whole, cancelled, told (that the engine broke off), or lost.
        mixed: words that are somebody else's, missing or twice.
        words: that came.
    """

    name: str
    asks: str
    n: int
    leaves: str = ""
    end: str = "lost"
    mixed: int = 0
    words: list[str] = field(default_factory=list)


async def play(port: int, stream: Stream) -> None:
    """Send one request, and look at every piece of its answer."""
    asked = {"model": "fake", "stream": True, "max_tokens": stream.n, "prompt": stream.asks}
    body = json.dumps({**asked, "pause": PAUSE}).encode()  # vLLM's server takes no notice of the pause
    headers = [("host", "localhost"), ("content-type", "application/json"), ("x-request-id", stream.name)]
    headers.append(("content-length", str(len(body))))
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
            if stream.leaves == "midway" and len(stream.words) >= 2:
                stream.end = "cancelled"
                return
        elif isinstance(event, h11.EndOfMessage):
            whole = stream.end == "whole" and len(stream.words) == stream.n
            stream.end = "told" if status == 502 else "whole" if status == 200 and whole else "lost"
            return


def _look_at(line: bytes, stream: Stream) -> None:
    if line == b"data: [DONE]":
        stream.end = "whole"
    elif line.startswith(b'data: {"error"'):
        stream.end = "told"
    elif line.startswith(b"data: "):
        choice = json.loads(line[6:])["choices"][0]
        for word in (choice["text"] if "text" in choice else choice["delta"]["content"]).split():
            stream.mixed += word != f"{stream.asks}:{len(stream.words)}"
            stream.words.append(word)


async def one_round(port: int, k: int, n: int, engine: Server | None, names: bool) -> list[Stream]:
    """Play n streams at once; the engine, if one is given, is killed meanwhile and started again.

    Where `names`, they ask for the names that vLLM's made-up model knows, else for those of the requests.
    """
    rng = random.Random(k)
    streams = [Stream(f"r{k}-{i}", f"n{i}" if names else f"r{k}-{i}", rng.randint(SHORTEST, LONGEST)) for i in range(n)]
    for i, stream in enumerate(streams[::CANCELLED]):
        stream.leaves = "midway" if i % 2 else "soon"
    playing = [asyncio.create_task(play(port, stream)) for stream in streams]
    if engine is not None:
        while sum(stream.end == "whole" for stream in streams) < n // 10:  # well under way
            if all(one.done() for one in playing):
                break  # nothing comes through
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


def overtaken(notes: list[dict[str, Any]]) -> dict[str, int]:
    """Return how many got a seat at the engine while others waited there, and how many before a smaller priority."""
    waiting, seats, before = dict[str, int](), 0, 0
    for note in notes:
        if note["what"] == "began":
            waiting.clear()  # who waited at the engine that was killed
        elif note["what"] == "queued":
            waiting[note["id"]] = note["priority"]
        else:
            own = waiting.pop(note["id"], None)
            if note["what"] == "seated" and own is not None and waiting:
                seats += 1
                before += min(waiting.values()) < own
    return {"seats taken while others waited": seats, "before a smaller priority": before}


def trial(
    streams: int, rounds: int, window: int | None, restart: int, seats: int = SEATS, vllm: str | None = None
) -> dict[str, Any]:
    """Return what came of some rounds of streams; in round `restart` the engine is killed."""
    with tempfile.TemporaryDirectory() as folder, proxied(Path(folder), seats, window, vllm, streams) as one:
        memory, ends, mixed, told = [], collections.Counter[str](), 0, []
        start = time.perf_counter()
        for k in range(rounds):
            engine = one.engine if k == restart else None
            played = asyncio.run(one_round(one.proxy.port, k, streams, engine, bool(vllm)))
            ends.update(stream.end for stream in played)
            mixed += sum(stream.mixed for stream in played)
            told.append(sum(stream.end == "told" for stream in played))
            memory.append(round(one.proxy.memory, 1))
        elapsed = time.perf_counter() - start
        lines, notes = one.logged(streams * rounds), lines_of(one.notes)
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
        "words mixed up": mixed,
        "lines of the log": len(lines),
        "priorities not as ranked": out_of_order,
        "left the window while a smaller rank waited": inversions(lines) if window else None,
        "at the engine": overtaken(notes) if notes else None,
        "memory after each round, MiB": memory,
        "seconds": round(elapsed, 1),
    }


def holds(found: dict[str, Any], restart: int) -> dict[str, bool]:
    """Return what had to come out, and whether it did."""
    memory, told = found["memory after each round, MiB"], found["told that the engine broke off, by round"]
    return {
        "no answer lost": found["ends"].get("lost", 0) == 0,
        "no answer mixed up": found["words mixed up"] == 0,
        "only those at the engine broken off": all(
            n <= (found["window"] or found["streams"]) if k == restart else n == 0 for k, n in enumerate(told)
        ),
        "all written down": found["lines of the log"] == found["streams"] * found["rounds"],
        "priorities as ranked": found["priorities not as ranked"] == 0,
        "window in order": not found["left the window while a smaller rank waited"],
        "engine in order": not (found["at the engine"] or {}).get("before a smaller priority"),
        "memory flat": memory[-1] <= FLAT * memory[min(1, len(memory) - 1)],
    }


def main() -> None:
    """Run, print and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vllm", metavar="PYTHON", help="of an environment with vLLM, whose server is then behind")
    parser.add_argument("--out")
    given = parser.parse_args()
    stored = {}
    for name, window in (("window of 64", SEATS), ("no window", None)):
        restart = given.rounds // 2
        found = trial(given.streams, given.rounds, window, restart, vllm=given.vllm)
        stored[name] = {**found, "holds": holds(found, restart)}
        print(name, json.dumps(stored[name], indent=1), flush=True)
    file = RESULTS / f"proxy_under_load{'_vllm' if given.vllm else ''}.json"
    write_json(given.out or str(file), result(stored, seeds=range(given.rounds)))


if __name__ == "__main__":
    main()
