"""Plans against answers that are known: Erlang's staffing, identical requests, and what an interval may say."""

import json
from math import ceil
from pathlib import Path

import does_the_plan_hold
import numpy as np
import pytest
from planned import constant

from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.results import read_json
from llmqueue_gym.planning import Kind, Menu, objective, plan, read_menu, windows_of_law, windows_of_trace
from llmqueue_gym.planning.bounds import alone, charges, least_replicas
from llmqueue_gym.planning.judge import Judge
from llmqueue_gym.planning.purchase import BOTH, Line, Part, Purchase
from llmqueue_gym.planning.verdict import DOUBT, FAILS, KEEPS, LOOKS, OPEN, clopper_pearson, lost, verdict
from llmqueue_gym.profiles import profile
from llmqueue_gym.requests import request_table
from llmqueue_gym.theory.erlang import MMk
from llmqueue_gym.workloads.requests import TraceRequests


class Exponential:
    """Requests of one prompt token whose service is nearly exponential, as Poisson arrivals: the M/M/k's."""

    def __init__(self, rate, mean_tokens):
        self.rate, self.mean_tokens = rate, mean_tokens

    def sample(self, n, arrival_rng, length_rng):
        times = np.cumsum(arrival_rng.exponential(1 / self.rate, n))
        outputs = length_rng.geometric(1 / self.mean_tokens, n).astype(np.int64)
        return request_table(times, 1), outputs

    def output_sample(self):
        return self.sample(10_000, np.random.default_rng(1), np.random.default_rng(0))[1]


@pytest.mark.parametrize(("offered", "wait", "share"), [(6.5, 0.25, 0.9), (3.0, 0.5, 0.8)])
def test_the_staffing_of_erlang(offered, wait, share):
    from llmqueue_gym.planning.windows import Windows

    seconds, tokens = 1 / 50, 50  # a mean service of 1 s
    workload = Exponential(offered, tokens)
    windows = Windows(workload, 1200, offered, offered, None, "M/M/k")
    menu = Menu((constant(seconds),), routers=("least-outstanding",), hold=True)
    wanted = next(
        k
        for k in range(ceil(offered + 1e-9) + (offered == ceil(offered)), 64)
        if MMk(k, offered / k).wait_tail(wait) <= 1 - share
    )
    before = MMk(wanted - 1, offered / (wanted - 1)).wait_tail(wait) if wanted - 1 > offered else 1.0
    # The case tells numbers apart: the exact shares lie well on either side of what is wanted.
    assert before > 1.15 * (1 - share) and MMk(wanted, offered / wanted).wait_tail(wait) < 0.85 * (1 - share)
    found = plan(windows, objective(f"wait={wait},share={share}"), menu)
    assert found["plan"]["parts"][0]["count"] == wanted
    assert found["plan"]["low"] >= share
    tail = 1 - found["plan"]["share"]
    assert tail == pytest.approx(MMk(wanted, offered / wanted).wait_tail(wait), rel=0.2)
    assert found["next_cheaper"]["word"] == FAILS and found["next_cheaper"]["high"] < share


@pytest.mark.parametrize("spacing", [0.3, 0.5, 0.7])
def test_identical_requests_at_a_fixed_spacing_need_service_over_spacing(spacing):
    # 20 output tokens of .1 s on one seat are 2 s; each request finds a free seat where n * spacing >= 2.
    recorded = TraceRequests(np.arange(4000) * spacing, np.full(4000, 1), np.full(4000, 20))
    menu = Menu((constant(0.1),), routers=("round-robin",))
    found = plan(windows_of_trace(recorded, "fixed", count=400), objective("ttft=0.11,share=0.95", 0.95), menu)
    assert found["plan"]["parts"][0]["count"] == ceil(2 / spacing - 1e-9)
    assert found["plan"]["share"] == 1.0 and found["judged"]["rate"] == pytest.approx(1 / spacing, rel=1e-9)
    cheaper = found["next_cheaper"]
    assert cheaper["word"] == FAILS and cheaper["limits"][0]["limit"] == "ttft"
    assert any("overloaded" in sentence for sentence in cheaper["sentences"])


def test_of_two_kinds_the_one_that_is_cheaper_in_all_is_bought():
    # Twice as fast at 1.5 times the price: 3 of them (4.5) do what 5 (5.0) of the others do, by the sum above.
    recorded = TraceRequests(np.arange(3000) * 0.4, np.full(3000, 1), np.full(3000, 20))
    slow, fast = constant(0.1), constant(0.05, 1.5)
    menu = Menu((slow, Kind("fast", fast.profile, fast.rules, 1.5)), routers=("round-robin",))
    found = plan(windows_of_trace(recorded, "fixed", count=300), objective("ttft=0.11,share=0.95", 0.95), menu)
    assert (found["plan"]["fleet"], found["plan"]["price"]) == ("3 x fast", 4.5)
    assert found["next_cheaper"]["fleet"] == "4 x one"


@pytest.mark.parametrize("routers", [("power-of-d:d=3",), ("power-of-d:d=3", "random")])
def test_a_router_that_samples_more_than_there_are_is_left_out(routers):
    recorded = TraceRequests(np.arange(2000) * 0.9, np.full(2000, 1), np.full(2000, 20))
    menu = Menu((constant(0.1, most=4),), routers=routers)
    found = plan(windows_of_trace(recorded, "fixed", count=200), objective("ttft=0.11,share=0.5", 0.95), menu)
    played = {row["parts"][0]["count"]: row["router"] for row in found["played"]}
    assert min(played) < 3 and all(count >= 3 for count, router in played.items() if router == "power-of-d:d=3")


def test_what_no_number_can_do_is_told():
    recorded = TraceRequests(np.arange(300) * 0.4, np.full(300, 1), np.full(300, 20))
    with pytest.raises(BadInput, match=r"no number of one will do: alone on one, 100.0% .* tpot above 0.05 s"):
        plan(windows_of_trace(recorded, "x", count=100), objective("tpot=0.05", 0.95), Menu((constant(0.1),)))
    with pytest.raises(BadInput, match="comes nearest"):
        few = Menu((constant(0.1, most=2),))
        plan(windows_of_trace(recorded, "x", count=100), objective("wait=0.1", 0.95), few)


def test_a_fleet_keeps_an_objective_only_where_the_lower_end_does():
    wanted = objective("ttft=1,share=0.9", 0.95)
    assert verdict([1.0] * 80, wanted).word == OPEN  # 80 of 80 may be luck, at so many looks
    told = verdict([1.0] * 159 + [0.2], wanted)
    assert told.word == KEEPS and told.low >= 0.95 and told.held == 159
    assert verdict([0.89] * 4 + [1.0] * 6, wanted).word == FAILS
    assert lost([0.89] * 4, wanted) and not lost([0.89] * 2, wanted)
    mean = objective("ttft=1,share=0.9")
    assert verdict([0.95, 0.96, 0.94, 0.95] * 5, mean).word == KEEPS
    assert verdict([0.95, 0.85] * 10, mean).word == OPEN
    assert verdict([0.7, 0.8] * 5, mean).word == FAILS


@pytest.mark.parametrize(("chance", "wrong"), [(0.95, KEEPS), (0.9501, FAILS)])
def test_looks_are_wrong_as_seldom_as_they_say(chance, wrong):
    rng, wanted, count = np.random.default_rng(0), objective("ttft=1", 0.95), 0
    for _ in range(2000):
        held = (rng.random(LOOKS[-1]) < chance).astype(float)
        for look in LOOKS:
            word = verdict(held[:look], wanted).word
            if word != OPEN:
                count += word == wrong
                break
    assert count / 2000 < DOUBT


def test_the_interval_of_a_share_is_exact():
    low, high = clopper_pearson(0, 10, 0.05)
    assert low == 0 and (1 - high) ** 10 == pytest.approx(0.05)
    low, high = clopper_pearson(10, 10, 0.05)
    assert high == 1 and low**10 == pytest.approx(0.05)


def test_bounds_are_below_what_is_played():
    """No fleet below a bound keeps the objective: with as many as it asks for, less one, fewer requests are within."""
    kind = Kind("L40S", "l40s-llama3.1-8b", price=1.0)
    windows = windows_of_law("azure-conv", 40.0, count=2000)
    judge = Judge(windows, objective("ttft=2,tpot=0.06,share=0.95"), Menu((kind,)), "exact")
    drawn = judge.drawn(Purchase((Part(kind, BOTH, 1),)), judge.seeds[0])
    least = least_replicas(kind, drawn, windows.lead, judge.objective)
    assert 3 <= least <= 12
    run = judge.run(Purchase((Part(kind, BOTH, least - 1),)), ("least-outstanding", "fcfs"), judge.seeds[0])
    assert judge.share(run) < 0.95
    above = alone(kind, drawn, judge.objective)
    busy = judge.objective.missed(run)
    for name, rows in above.items():  # who is too late alone is too late among others
        assert not (rows & ~busy[name][: len(rows)]).any()
    # What all requests pay is at most what iterations took.
    for paid in charges(kind, drawn.work["prompt"].astype(float), drawn.sizes.astype(float)):
        assert paid.sum() <= run.totals["prefill_time"] + run.totals["decode_time"]


def test_lines_end_below_a_price():
    line = Line((), constant(0.1, 0.7, most=9), BOTH)
    assert [line.below(price) for price in (0.7, 0.71, 1.4, 1.41, 99.0, float("inf"))] == [0, 1, 1, 2, 9, 9]


def test_purchases_of_two_kinds_are_fleets_of_both():
    h100, l40s = Kind("H100", "h100-llama3.1-8b"), Kind("L40S", "l40s-llama3.1-8b", "vllm-v1:max_seqs=7")
    bought = Purchase((Part(h100, "prefill", 1), Part(l40s, "decode", 2)))
    assert str(bought) == "1 x H100 read, 2 x L40S decode" and bought.price == pytest.approx(3.99 + 1.58)
    fleet = bought.fleet(Menu((h100, l40s)), "fcfs")
    assert [member.rules.max_seqs for member in fleet.members[1:]] == [7, 7] and len(fleet.members) == 3
    assert fleet.members[0].profile.numbers.tolist() == profile("h100-llama3.1-8b").numbers.tolist()
    assert fleet.splits and fleet.members[0].role == 1
    assert fleet.plan.latency[0, 1] == 1e-4 and fleet.plan.byte_time[0, 1] == 1 / 50e9


MENU = """
[[gpu]]
name = "one"
profile = "unit"
price = 2.0
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rooters = ['random']\n" + MENU, "the menu has no key 'rooters'; did you mean 'routers'?"),
        (MENU + "prise = 3\n", "[[gpu]] 1 has no key 'prise'; did you mean 'price'?"),
        (MENU.replace("2.0", "-1"), "gpu 'one': price = -1 must be a number above 0"),
        (MENU.replace("unit", "h1000-llama3.1-8b"), "did you mean 'h100-llama3.1-8b'?"),
        (MENU + MENU, "gpu 'one' is there twice"),
        (MENU.replace('"one"', '""'), "a name must have letters"),
        (MENU.replace('"one"', '"a\\u001b[31m"'), "a name must have letters"),
        ("routers = ['round-robbin']\n" + MENU, "did you mean 'round-robin'?"),
        ("orders = []\n" + MENU, "orders = [] must be a list of names"),
        ("split = 1\n" + MENU, "split = 1 must be true or false"),
        ("", "the menu has no [[gpu]]"),
        ("gpu = 3", "must be written as [[gpu]]"),
        ("=", "no TOML"),
        (f"routers = {'[' * 3000}{']' * 3000}", "no TOML: maximum recursion depth exceeded"),
        (MENU.replace("price = 2.0", ""), "has no price; add price"),
    ],
)
def test_a_wrong_menu_is_refused(tmp_path, text, said):
    (tmp_path / "menu.toml").write_text(text)
    with pytest.raises(BadInput) as error:
        read_menu(str(tmp_path / "menu.toml"))
    assert said in str(error.value) and str(error.value).count("menu.toml") == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tttf=1", "unknown key 'tttf'; did you mean 'ttft'?"),
        ("ttft=1,ttft=2", "ttft is told twice"),
        ("ttft=fast", "ttft='fast' is no number"),
        ("ttft", "ttft has no value"),
        ("share=0.9", "there is no limit"),
        ("ttft=1,share=95", "share=95 is a share"),
        ("ttft=-1", "ttft=-1 must be positive"),
        ("ttft=1,windows=1", "windows=1 is a share of the windows"),
        ("ttft=nan", "must be positive"),
        ("e2e=1e300", "e2e=1e+300 is no limit; give at most 1e+06 s"),
    ],
)
def test_a_wrong_objective_is_refused(text, said):
    with pytest.raises(BadInput) as error:
        objective(text)
    assert said in str(error.value)


def test_a_mark_of_byte_order_is_no_fault_of_a_menu(tmp_path):
    (tmp_path / "menu.toml").write_bytes(b"\xef\xbb\xbf" + MENU.replace("\n", "\r\n").encode())
    assert len(read_menu(str(tmp_path / "menu.toml")).gpus) == 1


def test_the_shipped_menu_is_read():
    menu = read_menu("example")
    assert [kind.name for kind in menu.gpus] == ["H100", "L40S"] and menu.split and menu.mixed
    assert menu.ways == (("least-outstanding", "fcfs"), ("least-work", "fcfs"))


@pytest.fixture
def menu(tmp_path):
    (tmp_path / "menu.toml").write_text("routers = ['round-robin']\n" + MENU.replace("unit", "a100-llama3-8b"))
    return tmp_path / "menu.toml"


def test_the_command_plans_and_writes_a_page(run, run_json, menu, tmp_path):
    law = ("--lengths", "constant:prompt=200,output=50", "--rate", 4, "--requests", 200, "--menu", menu)
    page, picture = tmp_path / "plan.html", tmp_path / "plan.svg"
    told = (*law, "--slo", "ttft=0.5,tpot=0.05")
    status, out, err = run("plan", *told, "--page", page, "--plot", picture)
    assert (
        (status, err) == (0, "")
        and "Cheapest: 1 x one at 2.00 USD/h" in out
        and "Nothing on the menu is cheaper" in out
    )
    assert page.read_text().startswith("<!doctype html>") and "Cheapest: 1 x one" in page.read_text()
    assert "http" not in page.read_text().replace("http://www.w3.org", "") and picture.stat().st_size > 1000
    found = run_json("plan", *told)
    assert found["plan"]["fleet"] == "1 x one" and found["options"]["rate"] == 4 and found["provenance"]
    assert json.dumps(found["front"][0]["parts"]) == json.dumps(found["plan"]["parts"])
    assert run_json("plan", *told)["played"] == found["played"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--slo", "tttf=1", "--lengths", "azure-conv", "--rate", 1], "did you mean 'ttft'?"),
        (["--slo", "ttft=1"], "what comes?"),
        (["--slo", "ttft=1", "--lengths", "azure-conv"], "what comes?"),
        (["--slo", "ttft=1", "--lengths", "azure-convv", "--rate", 1], "did you mean 'azure-conv'?"),
        (["--slo", "ttft=1", "--lengths", "azure-conv", "--rate", 1, "--trace-unit", "ms"], "--trace-unit goes with"),
        (["--slo", "ttft=1", "--trace", "nowhere.csv"], "nowhere.csv"),
        (["--slo", "ttft=1", "--trace", "x", "--lengths", "azure-conv"], "has no place beside --trace"),
        (["--slo", "ttft=1", "--lengths", "azure-conv", "--rate", 1, "--page", "x.png"], "end the name in .html"),
        (["--slo", "ttft=1", "--lengths", "azure-conv", "--rate", 1, "--predictor", "magic"], "predictor"),
        (["--slo", "ttft=1", "--lengths", "azure-conv", "--rate", "nan"], "rate=nan"),
        (["--slo", "ttft=1", "--lengths", "azure-conv", "--rate", 1, "--headroom", "inf"], "headroom=inf"),
        (["--slo", "e2e=1000", "--lengths", "azure-conv", "--rate", 1e9, "--requests", 100], "are too short"),
        (["--slo", "ttft=1e-9", "--lengths", "constant", "--rate", 1], "no number of one will do"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(refused, menu, args, said, tmp_path):
    assert said in refused("plan", *args, "--menu", menu)
    assert [file.name for file in tmp_path.iterdir()] == ["menu.toml"]


def test_plans_of_the_recorded_conversations_hold_in_fresh_windows():
    """What `experiments/does_the_plan_hold.py` stored: pieces drawn anew, and the half that was not planned on."""
    found = read_json(Path(__file__).parents[1] / "experiments" / "results" / "does_the_plan_hold.json")
    told = does_the_plan_hold.summary(found["rows"])
    assert told == found["summary"] and set(told) == {"same", "later", "as recorded"}
    first = [row for row in found["rows"] if row["fresh"] == "same"]
    assert all(row["plan"]["held"] >= found["enough"] for row in first)
    assert all(row["next_cheaper"]["held"] < found["enough"] for row in first if row["next_cheaper"])
    for row in found["rows"]:
        assert row["next_cheaper"] is None or row["next_cheaper"]["price"] < row["plan"]["price"]
