"""The benchmark's track of several servers: what it writes, its bounds, its anchors, its winners, and the page."""

import json
import re

import numpy as np
import pytest

from llmqueue_gym.evaluation.bench import TRACKS, bench
from llmqueue_gym.evaluation.bench.crew import gathered, progress
from llmqueue_gym.evaluation.bench.information import NOTHING, PREDICTION, TRUTH
from llmqueue_gym.evaluation.bench.page import page
from llmqueue_gym.evaluation.bench.servers.anchors import anchor, in_turn
from llmqueue_gym.evaluation.bench.servers.bounds import _mean_busy_delay, ceiling, floor
from llmqueue_gym.evaluation.bench.servers.cases import BLOCKS, CENTRAL, DISPATCH, IMPATIENCE, NEEDS, all_cases
from llmqueue_gym.evaluation.bench.servers.contestants import contestants
from llmqueue_gym.evaluation.bench.servers.play import WARMUP, Played, bound, play
from llmqueue_gym.evaluation.bench.servers.standing import case_rows, winner
from llmqueue_gym.evaluation.bench.track import Settings
from llmqueue_gym.evaluation.results import result

SMALL = {"track": "servers", "seeds": 3, "jobs": 1000}
SECOND = "weibull:shape=0.5"
FIRST = {block: (size, told) for block, size, told in (
    (CENTRAL, "exponential", "exact"),
    (DISPATCH, "weibull:shape=0.5", "exponential"),
    (IMPATIENCE, "exponential", "lognormal:sigma=1.5"),
    (NEEDS, "exponential", "exponential"),
)}  # fmt: skip


def few(case):
    return FIRST[case.block] == (case.size, case.predictor) and case.servers != 32


def first(block, jobs=2000):
    return next(case for case in all_cases(jobs) if case.block == block and few(case))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def found(folder):
    return bench(out=folder, only=few, workers=1, **SMALL)["tracks"]["servers"]


def test_json_is_valid_and_complete(found, folder):
    stored = json.loads((folder / "bench.json").read_text(), parse_constant=pytest.fail)["tracks"]["servers"]
    assert list(stored["ranking"]) == list(BLOCKS)
    blocks = [case["block"] for case in stored["cases"]]
    assert blocks == [CENTRAL] * 2 + [DISPATCH] * 2 + [IMPATIENCE] * 2 + [NEEDS] * 3
    for case in stored["cases"]:
        names = {row["policy"] for row in case["policies"]}
        assert names == {row["policy"] for row in stored["ranking"][case["block"]]}
        assert ("winner_of_two" in case) == (case["block"] == DISPATCH)
        for row in case["policies"]:
            assert row["value"]["low"] <= row["value"]["mean"] <= row["value"]["high"]
            assert BLOCKS[case["block"]].base != row["policy"] or row["score"] == 0
            assert row["may_win"] == (row["sees"] != TRUTH and not row["overloaded"])
        assert {row["sees"] for row in case["policies"]} == {NOTHING, PREDICTION, TRUTH}
    assert set(stored["sentences"]) == {*BLOCKS, "check"}
    assert stored["check"]["of"] == 2 * 3 + 2 * 2  # of exponential sizes: one queue and impatient jobs


def test_results_do_not_depend_on_the_number_of_processes(found, tmp_path):
    only = [case for case in found["cases"] if case["block"] in (IMPATIENCE, NEEDS)]
    again = bench(out=tmp_path, only=lambda case: few(case) and case.block in (IMPATIENCE, NEEDS), workers=2, **SMALL)
    again = again["tracks"]["servers"]
    assert json.dumps(again["cases"]) == json.dumps(only)
    for block in (IMPATIENCE, NEEDS):
        assert again["ranking"][block] == found["ranking"][block]
        assert again["sentences"][block] == found["sentences"][block]


def test_page_needs_nothing_else(found, folder):
    written = (folder / "bench.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|<link|<img|@import|url\(|\ssrc=|\$\w|\bnan\b", written)
    for rows in found["ranking"].values():
        for row in rows:
            assert written.count(f">{row['policy']}<") >= 3  # in the figure, the panels and the tables


def test_beside_another_track_it_has_a_tab():
    def one(case):  # of each track
        name = "five classes" if case.block == "ssjf" else "exponential"
        return case.block in (NEEDS, "ssjf") and case.load == 0.5 and case.predictor == name and case.size != SECOND

    played = {name: TRACKS.make(name) for name in ("mg1", "servers")}
    with gathered(1) as crew, progress(None) as bar:
        settings = Settings(2, 400, 100, "absent", one)
        numbers = {name: track.run(settings, crew, bar) for name, track in played.items()}
    written = page(result({"quick": True, "seeds": 2, "tracks": numbers, "seconds": 0.0}, seeds=range(2)))
    assert '<a href="#servers">Several servers</a>' in written and '<div class="part" id="servers">' in written


def test_cases():
    cases = all_cases(1000)
    assert len({(*case.jobs, case.predictor) for case in cases}) == len(cases) == 24 + 8 + 8 + 12
    assert all(case.load > 1 for case in cases if case.block == IMPATIENCE)


def test_contestants():
    teams = {block: contestants([first(block)])[0] for block in BLOCKS}
    for block, team in teams.items():
        assert len({one.name for one in team}) == len(team)
        assert BLOCKS[block].base in {one.name for one in team}
    sees = {one.name: one.sees for team in teams.values() for one in team}
    assert (sees["join-shortest-queue, fcfs"], sees["least-work, fcfs"]) == (NOTHING, PREDICTION)
    assert (sees["power-of-d, srpt"], sees["easy"], sees["edf"], sees["sjf"]) == (TRUTH, PREDICTION, NOTHING, TRUTH)
    looks = {one.name: one.looks for one in teams[DISPATCH]}
    assert (looks["random, fcfs"], looks["power-of-d, sprpt"], looks["size-interval, fcfs"]) == ("1", "2", "all")
    assert not any(one.policy.preemptive for one in teams[IMPATIENCE])  # or all who begin would be served


# Bounds.


@pytest.mark.parametrize("block", [CENTRAL, DISPATCH, NEEDS])
def test_no_policy_beats_the_floor_on_the_same_jobs(block):
    for case in (case for case in all_cases(2000) if case.block == block and few(case)):
        least = bound(case, 2)
        for one in contestants([case])[0]:
            assert (play(case, one, 2).value >= least * (1 - 1e-12)).all(), one.name


def test_the_floor_by_hand():
    # Two jobs at once on one server: SRPT ends them at 1 and 3.
    alone = np.zeros(2), np.array([1.0, 2.0])
    assert floor(*alone, np.ones(2), 1) == pytest.approx(2)
    # On two servers both run at once, so the mean size is reached.
    assert floor(*alone, np.ones(2), 2) == pytest.approx(1.5)
    # Four of size 1 on two servers end at 1, 1, 2 and 2; their busy times on the fast one are 0.25, 0.75, 1.25, 1.75.
    assert floor(np.zeros(4), np.ones(4), np.ones(4), 2) == pytest.approx(1.5)
    # Jobs that need both of two servers are served one by one.
    assert floor(*alone, np.full(2, 2), 2) == pytest.approx(2)
    # A small job comes while a large one runs: 0 to 1, then 1 to 2 the small one, 2 to 5 what is left of the large one.
    late = np.array([0.0, 1.0]), np.array([4.0, 1.0])
    assert floor(*late, np.ones(2), 1) == pytest.approx((5 + 1) / 2)


def test_mean_busy_times_piece_by_piece():
    """The mean time at which a job is worked on, from the pieces in which the least of all sizes is served first."""
    rng = np.random.default_rng(3)
    arrivals, sizes = np.cumsum(rng.exponential(1.1, 300)), rng.exponential(size=300)
    left, middles, now = sizes.copy(), np.zeros(300), 0.0
    while left.any():
        here = np.flatnonzero((arrivals <= now) & (left > 0))
        later = arrivals[arrivals > now]
        if len(here) == 0:
            now = later[0]
            continue
        least = here[np.argmin(sizes[here])]
        end = min(now + left[least], later[0]) if len(later) else now + left[least]
        middles[least] += 0.5 * (end**2 - now**2) / sizes[least]
        left[least] = 0.0 if end == now + left[least] else left[least] - (end - now)
        now = end
    assert _mean_busy_delay(arrivals, sizes) == pytest.approx((middles - arrivals).mean(), rel=1e-9)


def test_the_ceiling():
    case = first(IMPATIENCE)
    # Exponential sizes: all up to x are served, where 1 - (1 + x) e^-x = 1 / load; of these there are 1 - e^-x.
    x = np.linspace(0, 10, 200_001)
    edge = x[np.searchsorted(1 - (1 + x) * np.exp(-x), 1 / case.load)]
    assert ceiling(case) == pytest.approx(1 - np.exp(-edge), abs=1e-3)
    for one in contestants([first(IMPATIENCE, 20_000)])[0]:
        assert play(first(IMPATIENCE, 20_000), one, 2).value.mean() < ceiling(case), one.name


# Theory.


def test_queues_in_turn():
    assert in_turn(0.7, 1) == pytest.approx(1 / 0.3)  # Poisson
    # As good as constant gaps: sigma = exp(-(1 - sigma) / load).
    sigma = 0.5
    for _ in range(200):
        sigma = np.exp(-(1 - sigma) / 0.7)
    assert in_turn(0.7, 10**6) == pytest.approx(1 / (1 - sigma), rel=1e-5)


def test_every_block_has_an_anchor():
    known = {}
    for case in (case for case in all_cases(40_000) if case.size == "exponential" and case.predictor != "exact"):
        for one in contestants([case])[0] if case.load in (0.7, 1.2) else []:
            known[case.block, one.name] = anchor(case, one)
    exact = {key for key, value in known.items() if value and value.exact}
    central, impatience = ({(block, name) for name in names} for block, names in (
        (CENTRAL, ("fcfs", "lcfs", "las")), (IMPATIENCE, ("fcfs", "lcfs"))))  # fmt: skip
    dispatch = {(DISPATCH, name) for name in ("random, fcfs", "random, sprpt", "round-robin, fcfs")}
    assert exact == central | impatience | dispatch
    assert known[NEEDS, "server-filling"] is not None


# Standing, on numbers made by hand.


def by_hand(**ratios):
    level = np.array([10.0, 20.0, 40.0])
    flat = np.zeros(3)
    return {name: Played(level * ratio, 5 * level * ratio, flat, flat) for name, ratio in ratios.items()}


def test_case_rows():
    played = by_hand(fcfs=np.ones(3), spjf=np.array([0.5, 0.4, 0.6]))
    rows = {row["policy"]: row for row in case_rows(played, np.zeros(3), "fcfs", 1)}
    assert rows["spjf"]["score"] == pytest.approx(0.5) and rows["fcfs"]["score"] == 0
    assert rows["spjf"]["over_base"]["low"] == pytest.approx(0.5 - 4.3027 * 0.1 / np.sqrt(3), abs=1e-4)
    assert rows["fcfs"]["beaten_by"] == ["spjf"] and rows["spjf"]["beaten_by"] == []
    shares = {row["policy"]: row for row in case_rows(played, np.full(3, 80.0), "fcfs", -1)}
    assert shares["spjf"]["beaten_by"] == ["fcfs"] and shares["spjf"]["score"] < 0


def test_winner():
    ratios = {"fcfs": np.ones(3), "spjf": np.array([0.5, 0.4, 0.6]), "twin": np.array([0.5, 0.4, 0.6])}
    won = winner(by_hand(**ratios), list(ratios), 1)
    assert (won["policy"], won["same"], won["second"], won["clear"]) == ("spjf", ["twin"], "fcfs", True)
    assert won["lead"]["mean"] == pytest.approx(0.5)
    close = np.array([0.50, 0.41, 0.60])
    won = winner(by_hand(**ratios, close=close), [*ratios, "close"], 1)
    assert won["ties"] == ["close"] and not won["clear"] and won["policy"] == "spjf"
    assert winner(by_hand(**ratios), list(ratios), -1)["policy"] == "fcfs"  # where more is better


def test_a_policy_that_packs_too_badly_wins_nothing(tmp_path):
    def full(case):
        return case.block == NEEDS and case.load == 0.9 and few(case)

    found = bench(out=tmp_path, only=full, track="servers", seeds=2, jobs=20_000, workers=1)["tracks"]["servers"]
    rows = {row["policy"]: row for row in found["cases"][0]["policies"]}
    assert rows["fcfs"]["overloaded"] and not rows["fcfs"]["may_win"]
    assert not rows["server-filling"]["overloaded"] and not rows["max-weight"]["overloaded"]
    assert "Overloaded" in found["sentences"][NEEDS] and WARMUP < 0.5
