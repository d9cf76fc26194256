"""Windows of plans: what of a recording is in them, how busy they are, and what they could hide or cannot show."""

from math import ceil

import numpy as np
import pytest
from planned import constant

from llmqueue_gym.errors import BadInput
from llmqueue_gym.planning import Menu, objective, plan, windows_of_law, windows_of_trace
from llmqueue_gym.planning.plan import MOST_ROOM
from llmqueue_gym.planning.steady import may_hide
from llmqueue_gym.planning.verdict import FAILS, KEEPS, LOOKS, verdict
from llmqueue_gym.planning.windows import Bursts, Pieces, busiest
from llmqueue_gym.planning.words import conclusion
from llmqueue_gym.workloads.requests import TraceRequests


def test_windows_keep_what_was_recorded():
    rng = np.random.default_rng(1)
    times = np.cumsum(rng.exponential(1.0, 3000))
    recorded = TraceRequests(times, rng.integers(1, 99, 3000), rng.integers(1, 99, 3000))
    pieces = Pieces(recorded, 4.0, 50)
    requests, outputs = pieces.sample(1000, np.random.default_rng(0), np.random.default_rng(2))
    assert requests["arrival"][0] == 0 and (np.diff(requests["arrival"]) >= 0).all()
    assert requests["arrival"][-1] <= 250.0
    rows = {(p, o) for p, o in zip(recorded.prompts.tolist(), recorded.outputs.tolist(), strict=True)}
    assert rows >= set(zip(requests["prompt"].tolist(), outputs.tolist(), strict=True))
    first = next(i for i in range(3000) if (recorded.prompts[i : i + 50] == requests["prompt"][:50]).all())
    stretched = np.diff(requests["arrival"][:50]) / np.diff(times[first : first + 50])
    assert stretched.std() < 0.05 * stretched.mean()  # by the rate of the quarter of an hour around each


def test_a_window_is_nowhere_busier_for_having_been_in_a_busy_quarter():
    """A recording of one quiet and one busy hour, evenly spaced in both, gives windows that are evenly spaced."""
    times = np.concatenate([np.arange(0, 3600, 2.0), 3600 + np.arange(0, 3600, 0.5)])
    recorded = TraceRequests(times, np.full(len(times), 1), np.full(len(times), 1))
    gaps = np.diff(
        Pieces(recorded, 4.0, 50).sample(3000, np.random.default_rng(0), np.random.default_rng(1))[0]["arrival"]
    )
    assert np.mean(np.abs(gaps - 0.25) < 0.01) > 0.8  # all but those within a quarter of an hour of the change


def test_the_busiest_quarter_is_found():
    slow, quick = np.arange(0, 2000, 2.0), 2000 + np.arange(0, 1000, 0.5)
    rate, begins, _ = busiest(np.concatenate([slow, quick, 3000 + slow]))
    assert rate == 2.0 and 1998 <= begins <= 2100
    assert busiest(np.array([0.0, 1.0, 2.0])) == (1.0, 0.0, 2)


BURST = np.arange(0, 600, 0.1)  # 10/s for ten minutes


@pytest.mark.parametrize(
    ("times", "requests"),
    [
        (np.concatenate([BURST + 3600 * hour for hour in range(4)]), 6000),
        (np.append(BURST, [36_000.0, 72_000.0]), 6000),
        (np.append([0.0, 1800.0], 3600 + BURST), 6000),  # nothing comes after it
        (np.append(np.linspace(0, 99, 98), 5e6), 98),
    ],
)
def test_a_burst_and_its_silence_have_the_rate_of_their_quarter_and_stay_as_recorded(times, requests):
    rate, begins, _ = busiest(times)
    assert rate == pytest.approx(requests / 900, abs=1.01 / 900)  # gaps: one fewer
    ones = np.ones(len(times), np.int64)
    windows = windows_of_trace(TraceRequests(times, ones, ones), "bursts", headroom=2.0)
    assert windows.rate == 2 * rate and windows.begins == begins
    assert isinstance(windows.workload, Bursts)
    made, _ = windows.workload.sample(windows.count, np.random.default_rng(0), np.random.default_rng(1))
    gaps = np.diff(made["arrival"])
    first = int(np.searchsorted(times, begins))
    assert np.median(gaps) == pytest.approx((times[first + 1] - times[first]) / 2, rel=1e-6)
    within = times[(times >= begins) & (times < begins + 900)]
    assert gaps.max() == pytest.approx((900 - (within[-1] - within[0])) / 2, rel=0.02)  # the silence of the quarter
    assert made["arrival"][-1] == pytest.approx(windows.seconds, rel=0.4)


def test_a_break_of_the_recording_is_none_of_its_gaps():
    times = np.concatenate([np.arange(0, 3600, 0.5), 20_000 + np.arange(0, 3600, 0.5)])
    ones = np.ones(len(times), np.int64)
    windows = windows_of_trace(TraceRequests(times, ones, ones), "two sittings")
    assert not isinstance(windows.workload, Bursts) and windows.rate == 2.0
    assert windows.workload.gaps == pytest.approx(1.0)


@pytest.mark.parametrize("order", ["fcfs", "sjf-total"])
def test_a_fleet_whose_queue_grows_is_never_kept(order):
    """2 s of service at 2/s on one seat each: four replicas never keep up, and no wait is beyond 1000 s in a window."""
    recorded = TraceRequests(np.arange(2000) * 0.49, np.full(2000, 1), np.full(2000, 20))
    menu, windows = Menu((constant(0.1),), orders=(order,)), windows_of_trace(recorded, "fixed", count=400)
    found = plan(windows, objective("e2e=1000,share=0.9", 0.95), menu)
    assert found["plan"]["parts"][0]["count"] == ceil(2 / 0.49) == 5
    cheaper = found["next_cheaper"]
    assert cheaper["word"] == FAILS and cheaper["share"] == 1.0
    assert cheaper["growth"] == pytest.approx(1 - 4 * 0.49 / 2, abs=0.005)
    assert any("overloaded" in sentence for sentence in cheaper["sentences"])
    assert found["front"][-1]["fleet"] == found["plan"]["fleet"]
    assert found["room"] <= 1.25 / (4 * 0.49 / 2) * 1.03  # what five do at most, to the 1 % that counts as none


@pytest.mark.parametrize(("limit", "order", "hides"), [(8, "fcfs", False), (9, "fcfs", True), (1, "srpt", True)])
def test_growth_is_looked_for_where_a_window_may_hide_it(limit, order, hides):
    assert may_hide(objective(f"e2e={limit},share=0.9"), order, 900.0) == hides
    assert may_hide(objective("tpot=0.05"), order, 900.0)


def test_windows_that_end_before_a_fleet_is_full_are_refused():
    menu = Menu((constant(0.1),))  # a request takes 2 s
    recorded = TraceRequests(np.arange(3000) * 0.1, np.full(3000, 1), np.full(3000, 20))
    with pytest.raises(BadInput, match=r"windows of 10 s are too short: .* 2 s alone .* --requests 200 or more"):
        plan(windows_of_trace(recorded, "x", count=100), objective("e2e=1000"), menu)
    with pytest.raises(BadInput, match=r"the rate may be 5e\+04/s at most"):
        plan(windows_of_trace(recorded, "x", headroom=1e9), objective("e2e=1000"), menu)


def test_room_that_nobody_looked_beyond_is_told_as_that():
    recorded = TraceRequests(np.arange(600) * 10.0, np.full(600, 1), np.full(600, 2))
    found = plan(windows_of_trace(recorded, "x"), objective("ttft=1", 0.9), Menu((constant(0.01),)))
    assert found["room"] == MOST_ROOM and "bear at least 8 times" in conclusion(found)


@pytest.mark.parametrize("windows", [0.99, 0.9999])
def test_more_than_windows_can_show_is_refused(windows):
    recorded = TraceRequests(np.arange(600) * 10.0, np.full(600, 1), np.full(600, 2))
    with pytest.raises(BadInput, match=r"more than 320 windows can show, all of them held; at most 0.985"):
        plan(windows_of_trace(recorded, "x"), objective("ttft=1", windows), Menu((constant(0.01),)))
    assert verdict([1.0] * LOOKS[-1], objective("ttft=1", 0.985)).word == KEEPS


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 0.0, -1.0])
def test_a_rate_or_headroom_that_is_none_is_refused(wrong):
    recorded = TraceRequests(np.arange(600) * 10.0, np.full(600, 1), np.full(600, 2))
    for how in ({"rate": wrong}, {"headroom": wrong}):
        with pytest.raises(BadInput, match=f"{next(iter(how))}="):
            windows_of_trace(recorded, "x", **how)
        with pytest.raises(BadInput, match=f"{next(iter(how))}="):
            windows_of_law("azure-conv", **{"rate": 1.0, **how})


def test_parts_of_short_windows_are_told_in_seconds():
    recorded = TraceRequests(np.arange(3000) * 0.4, np.full(3000, 1), np.full(3000, 20))
    found = plan(windows_of_trace(recorded, "x", count=300), objective("ttft=0.11", 0.95), Menu((constant(0.1),)))
    assert "It is worst in seconds 32 to 40 of the window" in found["next_cheaper"]["sentences"][0]
