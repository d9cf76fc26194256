"""The benchmark: the boards at few seeds, with recorded work where it is at hand and with what theory knows beside.

It writes `bench.json` and `bench.html`. Pieces of work are one policy in one scenario with one seed, so the results do
not depend on how many processes do them.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from llmqueue_gym.boards.board import Board, boards, chosen
from llmqueue_gym.boards.entry import Entry, registered
from llmqueue_gym.boards.page import page
from llmqueue_gym.boards.play import BOUND, bound, bound_result, numbers, result
from llmqueue_gym.boards.ranked import Ranked
from llmqueue_gym.boards.recorded import told
from llmqueue_gym.boards.standings import interval
from llmqueue_gym.boards.terminal import show_ranking, show_winners
from llmqueue_gym.boards.workers import PROCESSES, RAY, Task, Work, progress, workers
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.results import Result, write_json
from llmqueue_gym.evaluation.results import result as with_provenance
from llmqueue_gym.evaluation.statistics import across_seeds
from llmqueue_gym.storage import write_text
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.known import FLOORS

Row = dict[str, Any]
ALL = "all"
SEEDS, QUICK_SEEDS = 4, 3
REQUESTS = 2000  # with more some policies that thrash take most of the time
QUICK_JOBS, QUICK_REQUESTS = 4000, 200
MOST_WORKERS = 8
ALSO = ("mean_response_time", "mean_wait", "served", "preemptions_per_job")  # without the warm-up
LEDE = "Who serves best when sizes are only predicted: every policy on every board, at few seeds, on the same jobs."


def bench(
    out: str | os.PathLike[str] = "results",
    track: str = ALL,
    seeds: int | None = None,
    jobs: int | None = None,
    requests: int | None = None,
    quick: bool = False,
    console: Console | None = None,
    data: str | os.PathLike[str] | None = None,
    count: int | None = None,
    backend: str = PROCESSES,
    given: str | None = None,
) -> tuple[Result, list[Ranked]]:
    """Rank the policies on every board and write `bench.json` and `bench.html`.

    Args:
        out: folder for the two files, made where it is missing.
        track: a name in `TRACKS`, or `all`.
        seeds: runs of each policy in each scenario, two or more; 4 unless told otherwise (quick: 3).
        jobs: jobs in the longest run of a board; its other runs are scaled alike. As the board says unless told
            otherwise (quick: 4000).
        requests: the same where jobs are requests; 2000 unless told otherwise (quick: 200).
        quick: a short run whose numbers are rough.
        console: where progress is shown; None shows none.
        data: folder of the recorded work.
        count: processes; one per core, at most 8, unless told otherwise. The results do not depend on it.
        backend: "processes" or "ray", see `workers`. The results do not depend on it.
        given: name of a board, or a file of boards, that is played in place of the tracks.

    Returns:
        what is written, and what the page shows.

    Raises:
        BadInput: a number is out of range, an unknown track, board or backend, or Ray is not installed.
    """
    seeds = seeds or (QUICK_SEEDS if quick else SEEDS)
    jobs, requests = jobs or (QUICK_JOBS if quick else None), requests or (QUICK_REQUESTS if quick else REQUESTS)
    if backend == RAY and count is not None:
        raise BadInput(f"workers={count}: Ray uses the CPUs of its cluster; leave workers out")
    count = count or min(os.cpu_count() or 1, MOST_WORKERS)
    if seeds < 2:
        raise BadInput(f"seeds={seeds}: at least 2 are needed for an interval")
    begin = time.perf_counter()
    if given is not None and track != ALL:
        raise BadInput(f"board {given!r} and track {track!r}: give one of them")
    found = boards(None if track == ALL else track, data) if given is None else chosen(given, data)
    played = [on.sized(seeds, requests if on.requests else jobs) for on in found.values()]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with workers(count, backend) as work, progress(console) as bar:
        ranked = play(played, work, bar)
    tracks: dict[str, Row] = {}
    for one in ranked:
        tracks.setdefault(one.on.track, {"title": one.on.heading, "boards": {}})["boards"][one.on.name] = _block(one)
    seconds = round(time.perf_counter() - begin, 1)
    final = with_provenance({"quick": quick, "seeds": seeds, "tracks": tracks, "seconds": seconds}, seeds=range(seeds))
    write_json(folder / "bench.json", final)
    write_text(folder / "bench.html", bench_page(final, ranked))
    return final, ranked


def play(played: list[Board], work: Work, bar: Progress) -> list[Ranked]:
    """Play everybody on some boards and return for each what was found."""
    pieces: list[Task] = [(Board._scenario, (on, name)) for on in played for name in on.fields]
    made = iter(work(pieces, bar, "scenarios and capacities"))
    places = {on.name: {name: next(made) for name in on.fields} for on in played}
    entries = {on.name: list(registered(on)) for on in played}
    for on in played:
        on.__dict__["scenarios"] = places[on.name]  # as they were built elsewhere
    tasks: list[tuple[tuple[Any, ...], Task]] = []
    for on in reversed(played):  # the last ones have the longest runs
        for name, scenario in places[on.name].items():
            tasks.append(((on.name, "known", name), (known, (scenario, entries[on.name]))))
            for seed in on.seeds:
                tasks.append(((on.name, BOUND, name, seed), (bound, (scenario, [seed]))))
                for entry in entries[on.name]:
                    task: Task = (numbers, (scenario, entry, [seed], on.view, ALSO, on.measured, on.objectives))
                    tasks.append(((on.name, entry.name, name, seed), task))
    tasks.sort(key=lambda one: one[0][1] != "known")  # theory takes its time
    done = dict(zip((key for key, _ in tasks), work([task for _, task in tasks], bar, "runs"), strict=True))
    return [_ranked(on, entries[on.name], done) for on in played]


def known(scenario: Scenario, entries: list[Entry]) -> dict[str, list[Row]]:
    """Return what theory knows of each policy in a scenario, without floors, which are said of all policies."""
    rows = {entry.name: scenario.known(entry.player) for entry in entries}
    return {name: [row for row in some if row["kind"] not in FLOORS] for name, some in rows.items()}


def _ranked(on: Board, entries: list[Entry], done: Mapping[tuple[Any, ...], Any]) -> Ranked:
    """Return a board with its results, what theory says beside them, and which recordings others stand in for."""
    results = {}
    for entry in entries:
        by_scenario = [[done[on.name, entry.name, name, seed] for seed in on.seeds] for name in on.fields]
        results[entry.name] = result(on, entry, [_by_seed(runs) for runs in by_scenario])
    floors = [[done[on.name, BOUND, name, seed][0] for seed in on.seeds] for name in on.fields]
    results[BOUND] = bound_result(on, floors)
    checks = [
        checked
        for name in on.fields
        for policy, some in done[on.name, "known", name].items()
        for row in some
        if (checked := _checked(row, results[policy]["scenarios"][name], name, policy))
    ]
    return Ranked(on, results, checks, [told(one) for one in on.recorded if one["path"] is None])


def _block(ranked: Ranked) -> Row:
    """Return what is written of a board."""
    on = ranked.on
    return {
        **{key: getattr(on, key) for key in ("title", "version", "base", "cost")},
        **{key: getattr(ranked, key) for key in ("headline", "sentences", "winners", "checks", "results")},
        "ranking": ranked.rows,
        "recordings": [{"file": one["path"] and one["file"], "told": told(one)} for one in on.recorded],
        "scenarios": {name: scenario.to_dict() for name, scenario in on.scenarios.items()},
    }


def _by_seed(runs: list[dict[str, list[float]]]) -> dict[str, list[float]]:
    return {key: [run[key][0] for run in runs] for key in runs[0] if all(key in run for run in runs)}


def _checked(row: Row, played: Mapping[str, list[float]], scenario: str, policy: str) -> Row | None:
    """Return what theory says beside what was simulated, or None where that was not measured."""
    values = np.array(played.get(row["metric"], []), float)
    if not len(values) or not np.isfinite(values).all():
        return None
    checked = {"scenario": scenario, "policy": policy, **row, **interval(across_seeds(values))}
    if row["kind"] == "exact":
        checked["inside"] = bool(checked["low"] <= row["value"] <= checked["high"])
    return checked


def bench_page(found: Row, ranked: list[Ranked]) -> str:
    """Return the page of a result."""
    made, kind = found["provenance"], " A quick run, whose numbers are rough." if found["quick"] else ""
    sources = dict.fromkeys(told(recording) for one in ranked for recording in one.on.recorded)
    words = {
        "Software": [f"llmqueue-gym {made['version']}" + (f", commit {made['commit']}" if made["commit"] else "")],
        "Runs with": [f"Python {made['python']}, NumPy {made['numpy']}, Numba {made['numba']}"],
        "Machine": [made["platform"]],
        "Time": [f"{made['time']}, {found['seconds']:.0f} s"],
        "Seeds": [f"0 to {found['seeds'] - 1}"],
        **({"Recorded work": list(sources)} if sources else {}),
    }
    return page(ranked, "the benchmark", LEDE + kind, words)


def show(ranked: list[Ranked], console: Console) -> None:
    """Print a result on a terminal, board by board."""
    for one in ranked:
        console.print()
        show_ranking(one.on, one.rows, console)
        show_winners(one.winners, console)
        for sentence in (*one.warnings, *one.sentences):
            console.print(f"\n{sentence}", highlight=False)
    console.print()
    for one in ranked:
        console.print(f"{one.on.title}: {one.headline}", highlight=False)
