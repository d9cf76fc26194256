"""The command line of a fuzzer: it plays numbered runs, and prints which broke a promise and how the others ended."""

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from llmqueue_gym.evaluation import result, write_json

TOLD = 1000  # runs after which it says how far it is, where nobody looks at the screen
SECONDS = 600  # of computing, after which a run counts as one without end; most take milliseconds, others compile


def main(words: str, play: Callable[[int, int], str], out: Path | None = None) -> int:
    """Play the runs and print what they were, of those so far where it is interrupted; return the exit status.

    Args:
        words: what the fuzzer asks, for its help.
        play: plays run `number` of a seed and returns what it was; raises AssertionError where it breaks a promise.
        out: where what came out is kept with `--store`.
    """
    parser = argparse.ArgumentParser(description=words)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="that play runs side by side")
    parser.add_argument("--only", type=int, help="play this one alone, and show where it breaks")
    if out is not None:
        parser.add_argument("--store", action="store_true", help=f"keep what came out in {out.parent.name}/{out.name}")
    told = parser.parse_args()
    for which in (signal.SIGINT, signal.SIGTERM):
        signal.signal(which, signal.default_int_handler)
    ends, broken, start = Counter[str](), list[str](), time.monotonic()
    numbers = range(told.first, told.first + told.runs) if told.only is None else [told.only]
    try:
        for number, end, fault in played(
            partial(play_one, play, told.seed, told.only is not None), numbers, told.processes
        ):
            if fault:
                broken.append(f"--seed {told.seed} --only {number}: {fault}")
                print(broken[-1], flush=True)
            else:
                ends[end] += 1
            if sys.stderr.isatty():
                print(f"\r{number:,}", end="\r", file=sys.stderr)
            elif (sum(ends.values()) + len(broken)) % TOLD == 0:
                print(f"{number:,} in {time.monotonic() - start:.0f} s", flush=True)
    except KeyboardInterrupt:
        pass
    for end, count in ends.most_common():
        print(f"{count:8,} {end}")
    runs = sum(ends.values()) + len(broken)
    print(f"{len(broken)} of {runs:,} runs broke a promise, {time.monotonic() - start:.0f} s")
    if out is not None and told.store:
        write_json(out, result({"runs": runs, "ends": dict(ends), "broken": broken}, seeds=[told.seed]))
    return 1 if broken else 0


def played(
    one: Callable[[int], tuple[int, str, str]], numbers: Iterable[int], processes: int
) -> Iterator[tuple[int, str, str]]:
    """Yield what `one` returns of each number, in order; processes have what is compiled by now."""
    if processes == 1:
        yield from map(one, numbers)
        return
    with ProcessPoolExecutor(processes, get_context("fork")) as pool:
        yield from pool.map(one, numbers, chunksize=100)


def play_one(play: Callable[[int, int], str], seed: int, shows: bool, number: int) -> tuple[int, str, str]:
    """Play one run; return its number, how it ended, and which promise it broke, "" for none, shown where it breaks."""
    over = threading.Event()
    threading.Thread(target=guard, args=(over, f"--seed {seed} --only {number}"), daemon=True).start()
    try:
        return number, play(number, seed), ""
    except AssertionError as error:
        if shows:
            traceback.print_exc()
        return number, "", " ".join(str(error).split())[:400]
    finally:
        over.set()


def guard(over: threading.Event, which: str) -> None:
    """End the process with a word if a run is not over after so long; compiled code looks at no signal."""
    start = time.process_time()
    while not over.wait(10.0):
        if time.process_time() - start > SECONDS:
            print(f"{which}: no end in {SECONDS} s", flush=True)
            os._exit(1)
