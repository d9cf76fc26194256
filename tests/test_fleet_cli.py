"""Fleets on the command line: files that describe them, what is refused and how, and timelines."""

import json

import pytest

from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems import Scenario
from llmqueue_gym.systems.members import EXAMPLE

PAIR = '[[replica]]\nname = "a"\nrole = "prefill"\n[[replica]]\nname = "b"\nrole = "decode"\n'


@pytest.fixture
def written(tmp_path):
    """Write a fleet and return its path."""

    def write(text):
        path = tmp_path / "fleet.toml"
        path.write_text(text)
        return str(path)

    return write


LINK = PAIR + "[[link]]\nfrom = 'a'\nto = 'b'\n"
NEAREST = "choose from: both, prefill, decode"
TABLES = [
    ("[[replica]]\nrole = 'prefill'\n", "role = 'prefill' leaves nobody to decode what others read"),
    ("[[replica]]\nrole = 'decode'\n", "role = 'decode' leaves nobody to read prompts"),
    ("[[replica]]\nrole = 'reader'\n", f"role = 'reader'; {NEAREST}"),
    ("[[replica]]\nrole = 'decoder'\n", "role = 'decoder'; did you mean 'decode'?"),
    ("[[replica]]\nrole = ['both']\n", "role = ['both']; did you mean 'both'?"),
    ("[[replica]]\nrole = {a = 1}\n", f"role = {{'a': 1}}; {NEAREST}"),
    ("[[replica]]\ncount = 0\n", "count = 0 must be a whole number from 1"),
    ("[[replica]]\ncount = -3\n", "count = -3 must be a whole number from 1"),
    ("[[replica]]\ncount = 1.5\n", "count = 1.5 must be a whole number from 1"),
    ("[[replica]]\ncount = nan\n", "count = nan must be a whole number from 1"),
    ("[[replica]]\ncount = true\n", "count = True must be a whole number from 1"),
    ("[[replica]]\ncount = 'two'\n", "count = 'two' must be a whole number from 1"),
    ("[[replica]]\ncount = 4000\n[[replica]]\ncount = 97\n", "4097 replicas; a fleet has 1 to 4,096"),
    ("[[replica]]\nprofil = 'unit'\n", "no key 'profil'; did you mean 'profile'?"),
    ("[[replicas]]\ncount = 1\n", "no key 'replicas'; did you mean 'replica'?"),
    ("[[replica]]\nname = 3\n", "name = 3 must be a text"),
    ("[[replica]]\nprofile = 3\n", "profile = 3 must be a text"),
    ("[[replica]]\nrules = ['vllm-v1']\n", "rules = ['vllm-v1'] must be a text"),
    ("[[replica]]\nname = 'a'\n[[replica]]\nname = 'a'\n", "[[replica]] 2: name = 'a' is that of number 1"),
    ("[[replica]]\nname = '2'\n[[replica]]\n", "[[replica]] 2: name = '2' is that of number 1"),
    ("[[replica]]\nprice = -1\n", "price = -1 must be a number from 0"),
    ("[[replica]]\nprice = nan\n", "price = nan must be a number from 0"),
    ("[[replica]]\nprice = '3'\n", "price = '3' must be a number from 0"),
    ("[[replica]]\n[[replica]]\nprofile = 'nope'\n", "[[replica]] 2: unknown profile 'nope'"),
    ("[[replica]]\nprofile = 'unit:kv_tokens=0'\n", "kv_tokens=0 is not a whole number from 1"),
    ("[[replica]]\nrules = 'vllm-v2'\n", "did you mean 'vllm-v1'?"),
    ("[[replica]]\nrules = 'vllm-v1:blocks=0'\n", "[[replica]] 1: vllm-v1: blocks=0"),
    ("[[replica]]\nrules = 'vllm-v1:max_seqs=0'\n", "max_seqs=0"),
    ("model = 'GPT-5'\n[[replica]]\n", "model = 'GPT-5' is on no replica; they serve Llama-3-8B"),
    ("model = []\n[[replica]]\n", "model = [] names none; leave it out, or choose from Llama-3-8B"),
    ("model = 5\n[[replica]]\n", "model = 5 is on no replica; they serve Llama-3-8B"),
    (
        "model = 'Llama-3-8B'\n[[replica]]\n[[replica]]\nprofile = 'gpt3-175b'\n",
        "there are replicas of 'GPT-3 175B'; leave them out",
    ),
    (
        "[[replica]]\nrole = 'prefill'\n[[replica]]\nrole = 'decode'\nprofile = 'gpt3-175b'\n",
        "there are replicas of 'Llama-3-8B' and of 'GPT-3 175B'; choose one model",
    ),
    (
        "[[replica]]\nprofile = 'h100-llama3.1-8b'\n[[replica]]\nprofile = 'h100x4-llama3.1-70b'\n",
        "leave one out, or write model = ['Llama-3.1-70B', 'Llama-3.1-8B'] if any will do",
    ),
    ("model = ['Llama-3-8B', 'GPT-5']\n[[replica]]\n", "model = 'GPT-5' is on no replica; they serve Llama-3-8B"),
    (
        "model = ['Llama-3-8B']\n[[replica]]\n[[replica]]\nprofile = 'gpt3-175b'\n",
        "requests ask for 'Llama-3-8B', and there are replicas of 'GPT-3 175B'; leave them out",
    ),
    (PAIR + "[[link]]\nfrom = 'a'\nto = 'c'\n", "[[link]] 1: to = 'c' is no replica; choose from: a, b"),
    (PAIR + "[[link]]\nfrom = 1\nto = 'b'\n", "[[link]] 1: from = 1 is no replica; choose from: a, b"),
    (PAIR + "[[link]]\nfrom = 'a'\n", "[[link]] 1: to is missing; choose from: a, b"),
    (LINK + "latency = -1\n", "latency = -1 must be a number from 0 to 1e+06"),
    (LINK + "latency = nan\n", "latency = nan must be a number from 0"),
    (LINK + "latency = inf\n", "latency = inf must be a number from 0"),
    (LINK + "latency = '1 ms'\n", "latency = '1 ms' must be a number from 0"),
    (LINK + "latency = true\n", "latency = True must be a number from 0"),
    (LINK + "bandwidth = 0\n", "bandwidth = 0 must be a number from 1 to inf"),
    (LINK + "bandwidth = -5e9\n", "bandwidth = -5000000000.0 must be a number from 1"),
    (LINK + "bandwidth = nan\n", "bandwidth = nan must be a number from 1"),
    (LINK + "bandwith = 1\n", "[[link]] has no key 'bandwith'; did you mean 'bandwidth'?"),
    ("link = 3\n[[replica]]\n", "link must be written as [[link]], one for each"),
    ("[replica]\ncount = 1\n", "replica must be written as [[replica]], one for each"),
    ("[[replica\n", "no TOML"),
    ("\0", "no TOML"),
    (f"[[replica]]\ncount = 1{'0' * 5000}\n", "no TOML: Exceeds the limit"),
    (f"model = {'[' * 3000}{']' * 3000}\n", "no TOML: maximum recursion depth exceeded"),
    ("replica = []\n", "0 replicas; a fleet has 1 to 4,096, each under [[replica]]"),
    ("", "0 replicas; a fleet has 1 to 4,096, each under [[replica]]"),
]


@pytest.mark.parametrize(("text", "says"), TABLES, ids=[says for _, says in TABLES])
def test_bad_fleets_are_one_line_and_status_2(refused, written, text, says):
    assert says in refused(f"simulate fleet --policy random --rate 1 --requests 9 --fleet {written(text)}")


def test_a_link_of_a_file_may_be_as_fast_as_one_by_options(written):
    for told, byte_time in (("inf", 0.0), ("1" + "0" * 400, pytest.approx(0.0))):
        fleet = Scenario("fleet", fleet=written(LINK + f"bandwidth = {told}\n"), rate=1.0).system
        assert fleet.plan.byte_time.tolist() == [[1 / 50e9, byte_time], [1 / 50e9, 1 / 50e9]]


OPTIONS = [
    ("--replicas 0", "--replicas 0 must be a whole number from 1"),
    ("--replicas 5000", "--replicas 5000 must be a whole number from 1 to 4096"),
    ("--prefill 4", "--prefill 4 of 4 replicas must leave somebody to decode"),
    ("--prefill -1", "--prefill -1 of 4 replicas must leave somebody to decode"),
    ("--latency -1", "--latency -1.0 must be a number from 0"),
    ("--latency nan", "--latency nan must be a number from 0"),
    ("--bandwidth 0", "--bandwidth 0.0 must be a number from 1"),
    ("--bandwidth nan", "--bandwidth nan must be a number from 1"),
    ("--overlap 2", "--overlap 2.0 must be a number from 0 to 1"),
    ("--staleness -1", "--staleness -1.0 must be a number from 0"),
    ("--retry -1", "--retry -1.0 must be a number from 0"),
    ("--local-below -1", "--local-below -1 must be a whole number from 0"),
    ("--migrate-every nan", "--migrate-every nan must be a number from 0"),
    ("--turn-over -1", "--turn-over -1.0 must be a number from 0"),
    ("--handover fcfs", "unknown router 'fcfs'"),
    ("--order random", "unknown serving policy 'random'"),
    ("--controller fixed:replicas=0", "fixed: replicas=0 must be at least 1"),
    ("--controller fixed:replicas=x", "controller 'fixed': replicas='x' is not a whole number"),
    ("--controller nonesuch", "choose from: none, fixed, utilisation, erlang, forecast, sageserve-now"),
    ("--timeline /no/such/run.json", "timeline /no/such/run.json: /no/such: no such folder"),
    ("--timeline /tmp", "timeline /tmp: it is a folder; name a file"),
    ("--timeline /tmp/run.txt", "timeline /tmp/run.txt: end the name in .json"),
    ("--spot 1e-8", "--spot 1e-08 must be a number from 0.0001 to 1e+09"),
    ("--profile a100-llama3-8b:price=nan", "price_per_hour=nan is no number; leave it out"),
    ("--cut-off 1e-6", " s, before anybody comes, at "),
    ("--fleet /no/such/file", "cannot be read: No such file"),
    ("--fleet /tmp", "cannot be read: Is a directory"),
    ("--fleet example --replicas 7", "--replicas 7 has no place beside --fleet 'example'"),
    ("--fleet example --prefill 2", "--prefill 2 has no place beside --fleet 'example'"),
    ("--rules static --prefill 1", "rules 'static' never let go of a batch: prefill needs others"),
    ("--rules static --migrate-every 1", "rules 'static' never let go of a batch: migrate_every needs others"),
    ("--rules distserve --migrate-every 1", "have batching=turns, in which nobody moves: migrate_every needs"),
    ("--rules splitwise --migrate-every 1", "have batching=blocks, in which nobody moves: migrate_every needs"),
    ("--rules vllm-v1:blocks=0", "blocks=0"),
    ("--rules vllm-v1:max_seqs=0", "max_seqs=0"),
    ("--profile a100-llama3-8b:kv_tokens=0", "kv_tokens=0 is not a whole number from 1"),
    ("--profile a100-llama3-8b:kv_tokens=1600 --max-tokens 6000", "more than the 1601 that fit"),
]


@pytest.mark.parametrize(("options", "says"), OPTIONS, ids=[options for options, _ in OPTIONS])
def test_bad_options_are_one_line_and_status_2(refused, options, says):
    assert says in refused(f"simulate fleet --policy random --rate 1 --requests 200 {options}")


def test_nobody_moves_where_one_replica_of_a_file_knows_no_passes(written):
    path = written("[[replica]]\n[[replica]]\nrules = 'splitwise'\n")
    with pytest.raises(BadInput, match="rules 'splitwise' have batching=blocks, in which nobody moves"):
        Scenario("fleet", fleet=path, rate=1.0, migrate_every=0.05)


def test_a_request_goes_where_it_fits_and_is_named_where_it_fits_nowhere(written):
    def fleet(largest):
        sizes = (1600, largest)
        text = "".join(f"[[replica]]\nprofile = 'a100-llama3-8b:kv_tokens={size}'\n" for size in sizes)
        return Scenario("fleet", fleet=written(text), rate=2.0, n_jobs=300, max_tokens=9000)

    run = fleet(9600).simulate("round-robin", 1)
    long = run.jobs["prompt"] + run.sizes > 1601
    assert run.done.all() and long.any() and (run.jobs["site"][long] == 1).all() and (run.jobs["site"] == 0).any()
    with pytest.raises(BadInput, match=r"request \d+ has .* more than the 4001 that fit"):
        fleet(4000).simulate("round-robin", 1)


def test_any_model_serves_where_the_file_says_so(written):
    text = 'model = ["Llama-3.1-8B", "Llama-3.1-70B"]\n'
    text += "".join(f"[[replica]]\nprofile = '{name}'\n" for name in ("h100-llama3.1-8b", "h100x4-llama3.1-70b"))
    assert len(Scenario("fleet", fleet=written(text), rate=1.0).system.members) == 2


def test_what_can_be_served_is_that_of_the_file_not_of_the_profile_beside_it(run_json, written):
    """Lengths are drawn, checked and shown to agents by the replicas that there are, whatever --profile says."""
    large, small = (f"[[replica]]\nprofile = 'a100-llama3-8b:kv_tokens={kv}'\n" for kv in (9600, 1600))
    command = "simulate fleet --policy random --rate 1 --requests 60 --max-tokens 6000 --fleet"
    told = [run_json(f"{command} {written(large)} {more}") for more in ("", "--profile unit:kv_tokens=1600")]
    for one in told:
        one.pop("seconds_in_kernel"), one.pop("options")
    assert told[0] == told[1] and told[0]["done"] == 60
    fleet = Scenario("fleet", fleet=written(small), rate=1.0, n_jobs=300)
    drawn = fleet.draw(0)
    assert 1500 < (drawn.work["prompt"] + drawn.sizes).max() <= fleet.system.longest == 1601
    view = fleet.system.view()
    assert view.scales(fleet)["blocks"] == 100
    mixed = Scenario("fleet", fleet=written(small + large), rate=1.0, n_jobs=300).system
    assert mixed.longest == 9601 and mixed.scales(fleet)["blocks"] == 100


def test_the_example_is_served_and_timed(run_json, tmp_path):
    out = tmp_path / "run.json"
    told = run_json(f"simulate fleet --fleet example --rate 4 --requests 200 --policy least-work --timeline {out}")
    assert [group["replicas"] for group in told["groups"]] == [2, 3] and told["transfers"] == told["done"] == 200
    assert told["profile"] == "h100-llama3.1-8b, l40s-llama3.1-8b" and told["model"] == "Llama-3.1-8B"
    events = json.loads(out.read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == 3 * 200 and {event["pid"] for event in slices} == {0, 1, 2, 3, 4}
    assert {event["pid"] for event in slices if event["cat"] != "output"} == {0, 1}  # who reads
    assert {event["pid"] for event in slices if event["cat"] == "output"} == {2, 3, 4}
    lanes = {}
    for event in sorted(slices, key=lambda event: event["ts"]):  # nobody is drawn over another
        lane = event["pid"], event["tid"]
        assert event["ts"] >= lanes.get(lane, 0) - 1e-3
        lanes[lane] = event["ts"] + event["dur"]
    counters = [event for event in events if event["ph"] == "C"]
    assert all(min(event["args"].values()) >= 0 for event in counters)
    assert EXAMPLE.is_file()


def test_the_system_is_found_by_its_options_which_are_told_again(run_json):
    told = run_json("simulate --router power-of-d --policy sjf --replicas 2 --rate 4 --requests 100")
    assert told["policy"] == "sjf" and told["router"] == "power-of-d" and told["replicas"] == 2
    assert told["options"]["router"] == "power-of-d" and told["options"]["policy"] == "sjf"
    told = run_json("simulate --dispatch least-work --policy fcfs --servers 2 --jobs 100")
    assert told["options"]["dispatch"] == "least-work" and told["options"]["policy"] == "fcfs"


CONTROLLED = "simulate fleet --policy least-work --replicas 4 --rate 12 --requests 1500 --tick 5 --start-up 10"


def test_who_was_on_and_how_often_that_changed_is_told(run, run_json):
    told = run_json(f"{CONTROLLED} --controller utilisation:steady=10,up=0.08,down=0.05")
    (group,) = told["groups"]
    assert told["switched_off"] >= 2 and told["switched_on"] >= 1
    assert 1 < told["replicas_on"] < 4 and group["replicas_on"] == pytest.approx(told["replicas_on"])
    for share in ("busy_share", "kv_share", "most_kv_share"):  # of the time for which replicas were there, in both
        assert group[share] == pytest.approx(told[share], rel=1e-12)
    fixed = run_json(f"{CONTROLLED} --controller fixed:replicas=3")
    assert (fixed["replicas_on"], fixed["switched_on"], fixed["switched_off"]) == (3, 0, 0)
    plain = run_json(CONTROLLED)
    assert plain["replicas_on"] == 4 and "switched_on" not in plain
    out = run(*f"{CONTROLLED} --controller fixed:replicas=3".split())[1]
    assert "replicas on, mean: 3 of 4; switched on 0 times, off 0 times" in out
    assert [line.strip() for line in out.splitlines() if line.strip() in ("fleet", "replica", "replicas")] == [
        "fleet",
        "replicas",
    ]


def test_memory_that_nobody_looks_at_is_not_told(run, run_json):
    command = "simulate fleet --policy least-tokens --rules distserve --profile distserve-opt-13b-tp1 --prefill 1"
    command += " --replicas 2 --rate 2 --requests 60 --max-tokens 3000"
    told = run_json(command)
    assert told["most_kv_share"] is None and [one["most_kv_share"] for one in told["groups"]] == [None, None]
    out = run(*command.split())[1]
    assert "KV cache in use, most" not in out and "that fcfs sustains where all" in out  # its load is of the pooled one


def test_a_comparison_leaves_out_what_nothing_reads(run):
    command = "compare fleet --policies random,round-robin --rate 8 --requests 200"
    for more, told in (("", False), (" --controller fixed:replicas=3", True)):
        out = run(*(command + more).split())[1]
        assert ("tick=15.0" in out, "start_up=155.0" in out, "controller=" in out) == (told,) * 3
    assert "start_up=155.0" in run(*f"{command} --spot 1".split())[1]


def test_a_load_is_of_the_replicas_that_may_be_on(run_json, run):
    command = "simulate fleet --policy least-work --requests 200 --load .5"
    all_on, one = run_json(command), run_json(f"{command} --most 1")
    assert one["capacity"]["rate"] == pytest.approx(all_on["capacity"]["rate"] / 4)
    assert (all_on["replicas_on"], one["replicas_on"]) == (4, 1)
    told = (run(*command.split(), *more)[1] for more in ((), ("--most", "1")))
    assert ["┃ on, mean" in text or "│ on, mean" in text for text in told] == [False, True]


def test_one_request_has_the_rate_that_is_told(run_json):
    found = run_json("simulate fleet --policy random --rate 4 --requests 1")
    assert (found["done"], found["rate"], found["capacity"]) == (1, 4.0, None)


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        ("--handover random --local-below 5", ["--handover random", "--local-below 5"]),
        ("--prefill 1 --handover random --local-below 5", []),
        ("--migrate-floor 5", ["--migrate-floor 5.0"]),
        ("--tick 5", ["--tick 5.0"]),
        ("--tick 5 --controller fixed:replicas=4", []),
    ],
)
def test_an_option_without_effect_is_told(run_json, options, idle):
    notes = run_json(f"simulate fleet --policy random --rate 4 --requests 20 {options}")["notes"]
    assert [note for note in notes if "has no effect" in note] == [
        f"{option} has no effect, as the other options are" for option in idle
    ]
