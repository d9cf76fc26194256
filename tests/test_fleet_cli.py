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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[replica]]\nrole = "prefill"\n', "role=prefill leaves nobody to decode what others read"),
        ('[[replica]]\nrole = "decode"\n', "role=decode leaves nobody to read prompts"),
        ('[[replica]]\nrole = "reader"\n', "role='reader'; choose from: both, prefill, decode"),
        ("[[replica]]\ncount = 0\n", "count=0 must be a whole number from 1"),
        ("[[replica]]\nprofil = 'unit'\n", "no key 'profil'; did you mean 'profile'?"),
        ("[[replicas]]\ncount = 1\n", "no key 'replicas'; did you mean 'replica'?"),
        ("model = 'GPT-5'\n[[replica]]\n", "model='GPT-5' is on no replica; they serve Llama-3-8B"),
        (
            "model = 'Llama-3-8B'\n[[replica]]\n[[replica]]\nprofile = 'gpt3-175b'\n",
            "some replicas serve 'GPT-3 175B'; leave those out",
        ),
        (PAIR + "[[link]]\nfrom = 'a'\nto = 'c'\n", "to='c' is no replica"),
        (PAIR + "[[link]]\nfrom = 'a'\nto = 'b'\nlatency = -1\n", "latency=-1 must be finite and not negative"),
        (PAIR + "[[link]]\nfrom = 'a'\nto = 'b'\nbandwidth = 0\n", "bandwidth=0 must be positive"),
        ("[[replica]]\nprofile = 'nope'\n", "unknown profile 'nope'"),
        ("[[replica]]\nprofile = 'unit:kv_tokens=0'\n", "kv_tokens=0 is not a whole number from 1"),
        ("[[replica]\n", "no TOML"),
        ("", "0 replicas"),
    ],
)
def test_bad_fleets_are_refused_in_one_line(written, text, says):
    with pytest.raises(BadInput) as caught:
        Scenario("fleet", fleet=written(text), rate=1.0)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"replicas": 0}, "replicas=0 must be a whole number from 1"),
        ({"prefill": 4}, "prefill=4 of 4 replicas must leave somebody to decode"),
        ({"latency": -1.0}, "latency=-1.0 must be a number from 0"),
        ({"overlap": 2.0}, "overlap=2.0 must be a number from 0 to 1"),
        ({"handover": "fcfs"}, "unknown router 'fcfs'"),
        ({"order": "random"}, "unknown serving policy 'random'"),
        ({"fleet": "/no/such/file"}, "cannot be read: No such file"),
        ({"rules": "static", "prefill": 1}, "rules 'static' never let go of a batch"),
    ],
)
def test_bad_options_are_refused_in_one_line(given, says):
    with pytest.raises(BadInput) as caught:
        Scenario("fleet", rate=1.0, **given)
    assert says in str(caught.value)


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


def test_the_example_is_served_and_timed(run_json, tmp_path):
    out = tmp_path / "run.json"
    told = run_json(f"simulate fleet --fleet example --rate 4 --requests 200 --policy least-work --timeline {out}")
    assert [group["replicas"] for group in told["groups"]] == [2, 3] and told["transfers"] == told["done"] == 200
    events = json.loads(out.read_text())["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == 3 * 200 and {event["pid"] for event in slices} == {2, 3, 4}
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
