"""The track `mg1`: one server, from the M/G/1 queue to recorded jobs.

Policies that come to the same thing in two cases are played once: a blind policy does not see which predictor there
is, and with the exact predictor `sprpt` is `srpt`. The work is cut the same way whatever the number of processes, and
each piece depends on its seeds alone, so the results do, too.
"""

from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
from rich.progress import Progress

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.bench.crew import Crew, Task
from llmqueue_gym.evaluation.bench.information import NOTHING, SEES, TRUTH
from llmqueue_gym.evaluation.bench.mg1.cases import BLOCKS, Case, all_cases
from llmqueue_gym.evaluation.bench.mg1.contestants import contestants, exact_means, sees
from llmqueue_gym.evaluation.bench.mg1.page import headline, section
from llmqueue_gym.evaluation.bench.mg1.play import Played, play
from llmqueue_gym.evaluation.bench.mg1.report import sentences, show
from llmqueue_gym.evaluation.bench.mg1.standing import BOUND, case_rows, winner
from llmqueue_gym.evaluation.bench.ranking import BASE, middle, ranking, scores
from llmqueue_gym.evaluation.bench.track import Settings, Track
from llmqueue_gym.policies import Policy

Key = tuple[Any, ...]  # what the numbers of a policy in a case depend on


def mg1() -> Track:
    """One server, sizes of mean 1."""
    return Track("mg1", "One server (M/G/1)", run, headline, section, show, BLOCKS)


def run(settings: Settings, crew: Crew, bar: Progress) -> dict[str, Any]:
    """Play all policies in all cases and rank them.

    Raises:
        BadInput: no case is left to play.
    """
    cases, notes = all_cases(settings.jobs, settings.data)
    cases = [case for case in cases if settings.only is None or settings.only(case)]
    if not cases:
        raise BadInput("no case is left to play")
    players = _prepare(cases, crew, bar)
    played, exact = _play(cases, players, settings.seeds, crew, bar)
    numbers = {
        "seeds": settings.seeds,
        "jobs": settings.jobs,
        "jobs_played": int(sum(case.scenario.n_jobs for case, _ in _pairs(cases, players).values()) * settings.seeds),
        "data": notes,
        **_gather(cases, players, played, exact),
    }
    return {**numbers, "sentences": sentences(numbers)}


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
) -> dict[str, Any]:
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
