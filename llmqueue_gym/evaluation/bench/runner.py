"""The benchmark run: what is to be played, spread over processes, gathered, ranked and written.

Policies that come to the same thing in two cases are played once: a blind policy does not see which predictor there
is, and with the exact predictor `sprpt` is `srpt`. The work is cut the same way whatever the number of processes, and
each piece depends on its seeds alone, so the results do, too.
"""

import multiprocessing
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench.cases import BLOCKS, Case, all_cases
from llmqueue_gym.evaluation.bench.contestants import NOTHING, SEES, TRUTH, contestants, exact_means, sees
from llmqueue_gym.evaluation.bench.page import write_page
from llmqueue_gym.evaluation.bench.play import Played, play
from llmqueue_gym.evaluation.bench.ranking import BASE, BOUND, case_rows, middle, ranking, scores, winner
from llmqueue_gym.evaluation.bench.report import sentences
from llmqueue_gym.evaluation.results import Result, result, write_json
from llmqueue_gym.policies import Policy

JOBS, SEEDS = 40_000, 8
MOST_WORKERS = 8
Task = tuple[Callable[..., Any], tuple[Any, ...]]
Crew = Callable[[list[Task], Progress, str], list[Any]]  # does tasks, returns their results in order
Key = tuple[Any, ...]  # what the numbers of a policy in a case depend on


def bench(
    out: str | os.PathLike[str] = "results",
    seeds: int | None = None,
    jobs: int | None = None,
    quick: bool = False,
    console: Console | None = None,
    data: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    only: Callable[[Case], bool] | None = None,
) -> Result:
    """Rank the policies and write `bench.json` and `bench.html`.

    Args:
        out: folder for the two files, made where it is missing.
        seeds: runs of each policy in each case, two or more; 8 unless told otherwise (quick: 4).
        jobs: jobs of a run at load 0.8; fewer below, more above (quick: a tenth).
        quick: a short run whose numbers are rough.
        console: where progress is shown; None shows none.
        data: folder of the measured data.
        workers: processes; one per core, at most 8, unless told otherwise. The results do not depend on it.
        only: which cases to play; all unless told otherwise.

    Raises:
        BadInput: a number is out of range, or no case is left.
    """
    seeds = seeds or (4 if quick else SEEDS)
    jobs = jobs or (JOBS // 10 if quick else JOBS)
    workers = workers or min(os.cpu_count() or 1, MOST_WORKERS)
    if seeds < 2 or jobs < 100 or workers < 1:
        raise BadInput(f"seeds={seeds}, jobs={jobs}, workers={workers}: at least 2, 100 and 1 are needed")
    begin = time.perf_counter()
    cases, data_notes = all_cases(jobs, data)
    cases = [case for case in cases if only is None or only(case)]
    if not cases:
        raise BadInput("no case is left to play")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)

    with _crew(workers) as crew, _progress(console) as bar:
        players = _prepare(cases, crew, bar)
        played, exact = _play(cases, players, seeds, crew, bar)
    found = _gather(cases, players, played, exact)
    numbers = {
        "quick": quick,
        "seeds": seeds,
        "jobs": jobs,
        "jobs_played": int(sum(case.scenario.n_jobs for case, _ in _pairs(cases, players).values()) * seeds),
        "data": data_notes,
        **found,
    }
    numbers["sentences"] = sentences(numbers)
    numbers["seconds"] = round(time.perf_counter() - begin, 1)
    final = result(numbers, seeds=range(seeds))
    write_json(folder / "bench.json", final)
    write_page(folder / "bench.html", final)
    return final


def _prepare(cases: list[Case], crew: Crew, bar: Progress) -> dict[Case, dict[str, Policy]]:
    """Return the contestants of each case, by name."""
    groups = defaultdict(list)
    for case in cases:
        groups[case.block, case.size, case.predictor].append(case)
    tasks: list[Task] = [(contestants, (group,)) for group in groups.values()]
    players = {}
    for group, teams in zip(groups.values(), crew(tasks, bar, "laws and tables"), strict=True):
        for case, team in zip(group, teams, strict=True):
            players[case] = {policy.name: policy for policy in team}
    return {case: players[case] for case in cases}


def _play(
    cases: list[Case], players: dict[Case, dict[str, Policy]], seeds: int, crew: Crew, bar: Progress
) -> tuple[dict[Key, Played], dict[Key, float]]:
    """Return what was played, and the exact values, each by key."""
    pairs = _pairs(cases, players)
    laws = defaultdict(list)  # keys that share a joint law, for the theory
    for key, (case, policy) in pairs.items():
        if case.exact:
            laws[case.block, case.size, _told(case, policy)].append(key)
    analyses: list[Task] = []
    for (_, _, told), keys in laws.items():
        case, policy = pairs[keys[0]]
        predictor = None if told == NOTHING else case.scenario.bound_predictor(policy)
        analyses.append((exact_means, (case, predictor, [(pairs[key][1], pairs[key][0].load) for key in keys])))
    order = sorted(pairs, key=lambda key: -_cost(*pairs[key]))  # long ones first, so that none is left at the end
    runs: list[Task] = [(play, (*pairs[key], seeds)) for key in order]
    done = crew([*analyses, *runs], bar, "runs")
    exact: dict[Key, float] = {}
    for keys, values in zip(laws.values(), done, strict=False):
        exact.update(zip(keys, values, strict=True))
    return dict(zip(order, done[len(analyses) :], strict=True)), exact


def _gather(
    cases: list[Case],
    players: dict[Case, dict[str, Policy]],
    played: dict[Key, Played],
    exact: dict[Key, float],
) -> Result:
    """Return the ranking, the cases with all their policies, and the comparison with the exact values."""
    score, p99_ratio, blocks = defaultdict(list), defaultdict(list), []
    entries, checked = [], {}
    for case, team in players.items():
        keys = {name: _key(case, policy) for name, policy in team.items()}
        here = {name: played[key] for name, key in keys.items()}
        known = {name: exact[key] for name, key in keys.items() if key in exact}
        told = {name: sees(policy) for name, policy in team.items()}
        rows = case_rows(here, known, told, SEES)
        checked.update({keys[row["policy"]]: row["exact_inside"] for row in rows if "exact" in row})
        for row in rows:
            row["params"] = list(team[row["policy"]].params) if len(team[row["policy"]].params) < 4 else "computed"
        base, bound = (here[name].means.mean(axis=1) for name in (BASE, BOUND))
        for name, numbers in here.items():
            score[name].append(scores(base, numbers.means.mean(axis=1), bound))
            p99_ratio[name].append(numbers.p99 / here[BASE].p99)
        blocks.append(case.block)
        entries.append(
            {
                "block": case.block,
                "size": case.size,
                "predictor": case.predictor,
                "load": case.load,
                "jobs_per_run": case.scenario.n_jobs,
                "replayed": case.replayed,
                "winner": winner(rows, here, known, TRUTH),
                "policies": rows,
            }
        )
    table = {name: np.array(columns).T for name, columns in score.items()}  # (runs, cases)
    ranked = ranking(table, {name: np.array(columns).T for name, columns in p99_ratio.items()})
    team, noisy = next(iter(players.values())), np.array([case.noisy for case in cases])
    for row in ranked:
        name = row["policy"]
        row["sees"] = sees(team[name])
        kinds = {block: np.array(blocks) == block for block in BLOCKS} | {"noisy": noisy, "exact": ~noisy}
        row["score_in"] = {kind: middle(table[name][:, chosen]) for kind, chosen in kinds.items() if chosen.any()}
    return {
        "ranking": ranked,
        "check": {"inside": int(sum(checked.values())), "of": len(checked), "level": 0.95},
        "cases": entries,
    }


def _told(case: Case, policy: Policy) -> str:
    """Return which predictor matters to a policy in a case."""
    return NOTHING if sees(policy) == NOTHING else policy.predictor or case.predictor


def _key(case: Case, policy: Policy) -> Key:
    bare = replace(policy, name="", predictor=None, formula=None, source="")
    return case.jobs, _told(case, policy), bare


def _pairs(cases: list[Case], players: dict[Case, dict[str, Policy]]) -> dict[Key, tuple[Case, Policy]]:
    """Return one case and policy for each key, the first that has it."""
    pairs: dict[Key, tuple[Case, Policy]] = {}
    for case in cases:
        for policy in players[case].values():
            pairs.setdefault(_key(case, policy), (case, policy))
    return pairs


def _cost(case: Case, policy: Policy) -> int:
    """Return about how long a run takes, relative to others."""
    ranking = 60 if len(policy.params) > 4 else 20 if policy.shape == "general" else 1  # a table, a rank that rises
    return case.scenario.n_jobs * ranking


@contextmanager
def _crew(workers: int) -> Iterator[Crew]:
    """Give a function that does tasks, in this process or in several, and returns their results in order."""
    if workers == 1:
        yield lambda tasks, bar, what: [call(*given) for call, given in bar.track(tasks, description=what)]
        return
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _ignore_interrupt)

    def work(tasks: list[Task], bar: Progress, what: str) -> list[Any]:
        futures = [pool.submit(call, *given) for call, given in tasks]
        for future in bar.track(as_completed(futures), total=len(futures), description=what):
            future.result()  # a failure ends the whole run now
        return [future.result() for future in futures]

    try:
        yield work
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    pool.shutdown()


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which ends its children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _progress(console: Console | None) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console or Console(quiet=True), disable=console is None)
