"""The benchmark run: its tracks one after another over the same processes, written as `bench.json` and `bench.html`."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench.crew import PROCESSES, RAY, gathered, progress
from llmqueue_gym.evaluation.bench.information import TRUTH
from llmqueue_gym.evaluation.bench.page import write_page
from llmqueue_gym.evaluation.bench.track import TRACKS, Settings, Track
from llmqueue_gym.evaluation.results import Result, result, write_json
from llmqueue_gym.policies.learned import stored
from llmqueue_gym.policies.learned.artefact import KINDS

ALL = "all"
SEEDS, JOBS, REQUESTS = 8, 40_000, 1000
MOST_WORKERS = 8


def bench(
    out: str | os.PathLike[str] = "results",
    track: str = ALL,
    seeds: int | None = None,
    jobs: int | None = None,
    requests: int | None = None,
    quick: bool = False,
    console: Console | None = None,
    data: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    only: Callable[[Any], bool] | None = None,
    backend: str = PROCESSES,
) -> Result:
    """Rank the policies and write `bench.json` and `bench.html`.

    Args:
        out: folder for the two files, made where it is missing.
        track: a name in `TRACKS`, or `all`.
        seeds: runs of each policy in each case, two or more; 8 unless told otherwise (quick: 4).
        jobs: jobs of a run of the track `mg1` at load 0.8, fewer below, more above; the track `servers`
            takes 0.3 to 0.6 times as many (quick: a tenth).
        requests: requests of a run of the track `llm` (quick: a tenth).
        quick: a short run whose numbers are rough.
        console: where progress is shown; None shows none.
        data: folder of the measured data.
        workers: processes; one per core, at most 8, unless told otherwise. The results do not depend on it.
        only: which cases to play; all unless told otherwise.
        backend: "processes" or "ray", see `crew.gathered`. The results do not depend on it.

    Raises:
        BadInput: a number is out of range, an unknown track or backend, Ray is not installed, or no case is left.
    """
    seeds = seeds or (4 if quick else SEEDS)
    jobs = jobs or (JOBS // 10 if quick else JOBS)
    requests = requests or (REQUESTS // 10 if quick else REQUESTS)
    if backend == RAY and workers is not None:
        raise BadInput(f"workers={workers}: Ray uses the CPUs of its cluster; leave workers out")
    workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    if seeds < 2 or jobs < 100 or requests < 100 or workers < 1:
        given = f"seeds={seeds}, jobs={jobs}, requests={requests}, workers={workers}"
        raise BadInput(f"{given}: at least 2, 100, 100 and 1 are needed")
    begin = time.perf_counter()
    played = tracks() if track == ALL else {track: TRACKS.make(track)}
    settings = Settings(seeds, jobs, requests, data, only)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with gathered(workers, backend) as crew, progress(console) as bar:
        numbers = {name: one.run(settings, crew, bar) for name, one in played.items()}
    whole = {"quick": quick, "seeds": seeds, "tracks": numbers, "seconds": round(time.perf_counter() - begin, 1)}
    final = result(whole, seeds=range(seeds))
    write_json(folder / "bench.json", final)
    write_page(folder / "bench.html", final)
    return final


def tracks() -> dict[str, Track]:
    """Return all tracks by name."""
    return {name: TRACKS.make(name) for name in TRACKS}


def show(found: Mapping[str, Any], console: Console) -> None:
    """Print a result on a terminal, track by track."""
    for name, numbers in found["tracks"].items():
        TRACKS.make(name).show(numbers, console)


def conclusion(found: Mapping[str, Any]) -> list[str]:
    """Return a few sentences: who won in each track, and where the best trained policy stands beside it."""
    words = []
    for name, numbers in found["tracks"].items():
        track = TRACKS.make(name)
        words.append(f"{track.title}: {track.headline(numbers)}.")
        ranking = numbers["ranking"]
        for block, rows in ranking.items() if isinstance(ranking, Mapping) else (("", ranking),):
            words += _trained(track.blocks.get(block, block), rows)
    return words


def _trained(block: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say where the best trained policy stands among those that are not told the truth; nothing where there is none."""
    honest = [row for row in rows if row["sees"] != TRUTH]
    trained = [row for row in honest if row["policy"].partition(",")[0] in stored(*KINDS)]
    by_hand = [row for row in honest if row not in trained]
    if not trained or not by_hand:
        return []
    best, other = trained[0], by_hand[0]
    scores = [
        f"{one['score']['mean']:.3f} ({one['score']['low']:.3f} to {one['score']['high']:.3f})" for one in (best, other)
    ]
    where = f"{block}: " if block else ""
    place = honest.index(best) + 1
    return [
        f"  {where}the best trained policy, {best['policy']}, is number {place} of {len(honest)} with a score of "
        f"{scores[0]}; the best by hand, {other['policy']}, has {scores[1]}."
    ]
