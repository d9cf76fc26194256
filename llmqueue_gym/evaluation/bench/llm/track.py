"""The track `llm`: requests in batches on one GPU, iteration by iteration.

First come first served is played first, because the others are cut off at a multiple of its time. A policy that reads
no prediction is played once for all predictors. The work is cut the same way whatever the number of processes, and
each piece depends on its runs alone, so the results do, too.
"""

from collections import defaultdict
from typing import Any

import numpy as np
from rich.progress import Progress

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench.crew import Crew, Task
from llmqueue_gym.evaluation.bench.information import NOTHING, TRUTH
from llmqueue_gym.evaluation.bench.llm.capacity import rate_of
from llmqueue_gym.evaluation.bench.llm.cases import BLOCKS, Case, all_cases
from llmqueue_gym.evaluation.bench.llm.contestants import Contestant, contestants
from llmqueue_gym.evaluation.bench.llm.page import section
from llmqueue_gym.evaluation.bench.llm.play import Played, floor, play
from llmqueue_gym.evaluation.bench.llm.report import headline, sentences, show
from llmqueue_gym.evaluation.bench.llm.standing import KINDS, case_rows, winner
from llmqueue_gym.evaluation.bench.llm.streams import Extent, extent
from llmqueue_gym.evaluation.bench.ranking import BASE, middle, ranking, scores
from llmqueue_gym.evaluation.bench.track import Settings, Track
from llmqueue_gym.profiles import profile as cost_profile

Place = tuple[str, str]  # workload and profile
Key = tuple[Any, ...]  # what the numbers of a contestant in a case depend on
SLOW = {"fastserve": 30, "s3-like": 20, "las": 20, "slai-like": 5, "ltr": 5, "ssjf": 4}  # about, times the others


def llm() -> Track:
    """Requests in batches on a GPU."""
    return Track("llm", "LLM batching", run, headline, section, show, BLOCKS)


def run(settings: Settings, crew: Crew, bar: Progress) -> dict[str, Any]:
    """Play all contestants in all cases and rank them.

    Raises:
        BadInput: no case is left to play.
    """
    cases, notes = all_cases(settings.requests, settings.seeds, settings.data)
    cases = [case for case in cases if settings.only is None or settings.only(case)]
    if not cases:
        raise BadInput("no case is left to play")
    places = {case.place: case for case in cases}
    tasks: list[Task] = [(rate_of, (case.stream, case.profile)) for case in places.values()]
    tasks += [(extent, (case.stream, case.n, case.runs)) for case in places.values()]
    done = crew(tasks, bar, "capacities")
    capacities, extents = (dict(zip(places, half, strict=True)) for half in (done[: len(places)], done[len(places) :]))
    teams = {place: contestants(extents[place], cost_profile(place[1]).kv_tokens) for place in places}
    played, floors = _play(cases, teams, {place: rate for place, (rate, _) in capacities.items()}, crew, bar)
    numbers = {
        "seeds": settings.seeds,
        "requests": settings.requests,
        "requests_played": int(sum(extents[key[0], key[1]].n for key in played) * settings.seeds),
        "data": notes,
        "places": [
            {
                "block": block,
                "profile": profile,
                "capacity": rate,
                "capacity_stored": known,
                "left_out": extents[block, profile].left_out,
                "longest": extents[block, profile].total,
            }
            for (block, profile), (rate, known) in capacities.items()
        ],
        **_gather(cases, teams, extents, capacities, played, floors),
    }
    return {**numbers, "sentences": sentences(numbers)}


def _play(
    cases: list[Case], teams: dict[Place, list[Contestant]], capacities: dict[Place, float], crew: Crew, bar: Progress
) -> tuple[dict[Key, Played], dict[tuple[str, str, float], np.ndarray]]:
    """Return what was played, by key, and the floors, by requests."""
    bases = {case.requests: case for case in cases}
    tasks: list[Task] = [(play, (case, teams[case.place][0], capacities[case.place])) for case in bases.values()]
    tasks += [(floor, (case, capacities[case.place])) for case in bases.values()]
    done = crew(tasks, bar, "first come first served")
    base = dict(zip(bases, done[: len(bases)], strict=True))
    floors = dict(zip(bases, done[len(bases) :], strict=True))
    played = {_key(case, teams[case.place][0]): base[requests] for requests, case in bases.items()}
    pairs: dict[Key, tuple[Case, Contestant]] = {}
    for case in cases:
        for contestant in teams[case.place][1:]:
            pairs.setdefault(_key(case, contestant), (case, contestant))
    order = sorted(pairs, key=lambda key: -_cost(*pairs[key]))  # long ones first, so that none is left at the end
    runs: list[Task] = []
    for key in order:
        case, contestant = pairs[key]
        runs.append((play, (case, contestant, capacities[case.place], base[case.requests].end)))
    played.update(zip(order, crew(runs, bar, "policies"), strict=True))
    return played, floors


def _gather(
    cases: list[Case],
    teams: dict[Place, list[Contestant]],
    extents: dict[Place, Extent],
    capacities: dict[Place, tuple[float, bool]],
    played: dict[Key, Played],
    floors: dict[tuple[str, str, float], np.ndarray],
) -> dict[str, Any]:
    """Return the ranking and the cases with all their contestants."""
    score, p99_ratio, where = defaultdict(list), defaultdict(list), defaultdict(list)
    entries, sees = [], {}
    for case in cases:
        team, bound = teams[case.place], floors[case.requests]
        here = {contestant.name: played[_key(case, contestant)] for contestant in team}
        rows = case_rows(here, bound)
        for row, contestant in zip(rows, team, strict=True):
            row["sees"] = sees[contestant.name] = contestant.sees
            row["may_win"] = contestant.may_win
        for name, numbers in here.items():
            score[name].append(scores(here[BASE].mean, numbers.mean, bound))
            p99_ratio[name].append(numbers.p99 / here[BASE].p99)
            where[name].append(_kinds(case))
        contenders = [contestant.name for contestant in team if contestant.may_win]
        entries.append(
            {
                "block": case.block,
                "profile": case.profile,
                "predictor": case.predictor,
                "load": case.load,
                "rate": case.load * capacities[case.place][0],
                "requests_per_run": extents[case.place].n,
                "replayed": case.stream.replayed,
                "floor": float(bound.mean()),
                "floor_over_fcfs": float((bound / here[BASE].mean).mean()),
                "winner": {kind: winner(kind, here, contenders) for kind in KINDS},
                "policies": rows,
            }
        )
    tables = {name: np.array(columns).T for name, columns in score.items()}  # (runs, cases)
    ranked = ranking(tables, {name: np.array(columns).T for name, columns in p99_ratio.items()})
    for row in ranked:
        name = row["policy"]
        row["sees"], row["cases"] = sees[name], tables[name].shape[1]
        kinds = sorted(set().union(*where[name]))
        row["score_in"] = {k: middle(tables[name][:, [k in found for found in where[name]]]) for k in kinds}
    return {"ranking": ranked, "cases": entries}


def _kinds(case: Case) -> set[str]:
    """Return the kinds of cases that one belongs to, as the ranking tells them apart."""
    return {case.block, case.profile, f"load {case.load:g}", "exact" if case.predictor == "exact" else "noisy"}


def _key(case: Case, contestant: Contestant) -> Key:
    sees = contestant.sees
    told = case.predictor if sees not in (NOTHING, TRUTH) else sees
    return *case.requests, told, contestant.name


def _cost(case: Case, contestant: Contestant) -> float:
    """Return about how long a run takes, relative to others."""
    lengths = 10 if case.block == "deepseek-r1" else 3 if case.block == "mooncake-conv" else 1
    return case.load * lengths * SLOW.get(contestant.policy, 1)
