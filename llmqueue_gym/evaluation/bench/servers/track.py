"""The track `servers`: one queue for several servers, a queue each, impatient jobs, jobs that occupy several servers.

The blocks have contestants, bases and bounds of their own, so there is a ranking in each, and none over all. A policy
that is told nothing of the sizes is played once for all predictors. The work is cut the same way whatever the number of
processes, and each piece depends on its seeds alone, so the results do, too.
"""

from collections import defaultdict
from typing import Any

import numpy as np
from rich.progress import Progress

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench.crew import Crew, Task
from llmqueue_gym.evaluation.bench.information import PREDICTION, TRUTH
from llmqueue_gym.evaluation.bench.ranking import Row, middle, ranking, scores
from llmqueue_gym.evaluation.bench.servers.anchors import Anchor, anchor
from llmqueue_gym.evaluation.bench.servers.cases import BLOCKS, DISPATCH, NEEDS, TITLES, Case, all_cases
from llmqueue_gym.evaluation.bench.servers.contestants import Contestant, contestants
from llmqueue_gym.evaluation.bench.servers.page import section
from llmqueue_gym.evaluation.bench.servers.play import Played, bound, play
from llmqueue_gym.evaluation.bench.servers.report import headline, sentences, show
from llmqueue_gym.evaluation.bench.servers.standing import case_rows, overloaded, winner
from llmqueue_gym.evaluation.bench.track import Settings, Track

Key = tuple[Any, ...]  # what the numbers of a contestant in a case depend on


def servers() -> Track:
    """Several servers, sizes of mean 1."""
    return Track("servers", "Several servers", run, headline, section, show, TITLES)


def run(settings: Settings, crew: Crew, bar: Progress) -> dict[str, Any]:
    """Play all contestants in all cases and rank them, block by block.

    Raises:
        BadInput: no case is left to play.
    """
    cases = [case for case in all_cases(settings.jobs) if settings.only is None or settings.only(case)]
    if not cases:
        raise BadInput("no case is left to play")
    groups = defaultdict(list)
    for case in cases:
        groups[case.block, case.size, case.predictor].append(case)
    tasks: list[Task] = [(contestants, (group,)) for group in groups.values()]
    teams: dict[Case, list[Contestant]] = {}
    for group, made in zip(groups.values(), crew(tasks, bar, "laws and tables"), strict=True):
        teams.update(zip(group, made, strict=True))
    played, anchors, bounds = _play(cases, teams, settings.seeds, crew, bar)
    pairs = _pairs(cases, teams)
    numbers = {
        "seeds": settings.seeds,
        "jobs": settings.jobs,
        "jobs_played": int(sum(case.scenario.n_jobs for case, _ in pairs.values()) * settings.seeds),
        "data": {},
        "blocks": {
            name: {"title": block.title, "base": block.base, "bound": block.bound, "measure": block.measure}
            for name, block in BLOCKS.items()
        },
        **_gather(cases, teams, played, anchors, bounds),
    }
    return {**numbers, "sentences": sentences(numbers)}


def _play(
    cases: list[Case], teams: dict[Case, list[Contestant]], seeds: int, crew: Crew, bar: Progress
) -> tuple[dict[Key, Played], dict[Key, Anchor | None], dict[Key, np.ndarray]]:
    """Return what was played and what theory says of it, by key, and the bounds, by jobs."""
    pairs, jobs = _pairs(cases, teams), {case.jobs: case for case in cases}
    theory: list[Task] = [(anchor, pair) for pair in pairs.values()]
    theory += [(bound, (case, seeds)) for case in jobs.values()]
    order = sorted(pairs, key=lambda key: -_cost(*pairs[key]))  # long ones first, so that none is left at the end
    runs: list[Task] = [(play, (*pairs[key], seeds)) for key in order]
    done = crew([*runs, *theory], bar, "runs")
    rest = done[len(runs) :]
    anchors = dict(zip(pairs, rest[: len(pairs)], strict=True))
    return dict(zip(order, done[: len(runs)], strict=True)), anchors, dict(zip(jobs, rest[len(pairs) :], strict=True))


def _gather(
    cases: list[Case],
    teams: dict[Case, list[Contestant]],
    played: dict[Key, Played],
    anchors: dict[Key, Anchor | None],
    bounds: dict[Key, np.ndarray],
) -> dict[str, Any]:
    """Return the ranking of each block, the cases with all their contestants, and the comparison with exact values."""
    entries, checked = [], {}
    for case in cases:
        block, team = BLOCKS[case.block], teams[case]
        here = {one.name: played[_key(case, one)] for one in team}
        rows = case_rows(here, bounds[case.jobs], block.base, block.sign)
        for row, one in zip(rows, team, strict=True):
            row["sees"], row["looks"] = one.sees, one.looks
            # Elsewhere no server idles while its own queue, or the one for all, has a job.
            row["overloaded"] = case.block == NEEDS and overloaded(row["left"], case.scenario.n_jobs)
            row["may_win"] = one.sees != TRUTH and not row["overloaded"]
            known, value = anchors[_key(case, one)], row["value"]
            if known is not None:
                row["theory"] = {"value": known.value, "exact": known.exact, "source": known.source}
            if known is not None and known.exact:
                row["theory"]["inside"] = bool(value["low"] <= known.value <= value["high"])
                checked[_key(case, one)] = row["theory"]["inside"]
        free = [row["policy"] for row in rows if row["may_win"]]
        entry = {
            "block": case.block,
            "servers": case.servers,
            "size": case.size,
            "predictor": case.predictor,
            "load": case.load,
            "jobs_per_run": case.scenario.n_jobs,
            "bound": float(bounds[case.jobs].mean()),
            "winner": winner(here, free, block.sign),
            "policies": rows,
        }
        if case.block == DISPATCH:
            few = [row["policy"] for row in rows if row["may_win"] and row["looks"] != "all"]
            entry["winner_of_two"] = winner(here, few, block.sign)
        entries.append(entry)
    check = {"inside": int(sum(checked.values())), "of": len(checked), "level": 0.95}
    ranked = {name: _rank([c for c in cases if c.block == name], teams, played, bounds) for name in BLOCKS}
    return {"ranking": {name: rows for name, rows in ranked.items() if rows}, "check": check, "cases": entries}


def _rank(
    cases: list[Case], teams: dict[Case, list[Contestant]], played: dict[Key, Played], bounds: dict[Key, np.ndarray]
) -> list[Row]:
    """Return the ranking of the cases of one block."""
    if not cases:
        return []
    base, team = BLOCKS[cases[0].block].base, teams[cases[0]]
    score: dict[str, Any] = defaultdict(list)
    p99_ratio: dict[str, Any] = defaultdict(list)
    for case in cases:
        here = {one.name: played[_key(case, one)] for one in teams[case]}
        for name, numbers in here.items():
            score[name].append(scores(here[base].value, numbers.value, bounds[case.jobs]))
            p99_ratio[name].append(numbers.p99 / here[base].p99)
    tables = {name: np.array(columns).T for name, columns in score.items()}  # (runs, cases)
    rows = ranking(tables, {name: np.array(columns).T for name, columns in p99_ratio.items()})
    kinds = [_kinds(case) for case in cases]
    for row in rows:
        one = next(one for one in team if one.name == row["policy"])
        row["sees"], row["looks"] = one.sees, one.looks
        wanted = list(dict.fromkeys(kind for column in zip(*kinds, strict=True) for kind in sorted(column)))
        row["score_in"] = {k: middle(tables[one.name][:, [k in found for found in kinds]]) for k in wanted}
    return rows


def _kinds(case: Case) -> tuple[str, ...]:
    """Return the kinds of cases that one belongs to, as the ranking tells them apart."""
    return f"load {case.load:g}", f"{case.size.partition(':')[0]} sizes", f"told {case.predictor}"


def _key(case: Case, one: Contestant) -> Key:
    return *case.jobs, case.predictor if one.sees == PREDICTION else one.sees, one.name


def _pairs(cases: list[Case], teams: dict[Case, list[Contestant]]) -> dict[Key, tuple[Case, Contestant]]:
    """Return one case and contestant for each key, the first that has it."""
    pairs: dict[Key, tuple[Case, Contestant]] = {}
    for case in cases:
        for one in teams[case]:
            pairs.setdefault(_key(case, one), (case, one))
    return pairs


def _cost(case: Case, one: Contestant) -> int:
    """Return about how long a run takes, relative to others."""
    return case.scenario.n_jobs * (10 if one.name in ("gittins", "las") else 5 if one.looks == "all" else 1)
