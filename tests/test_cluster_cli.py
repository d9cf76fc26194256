"""The command line for several servers: simulation beside theory, listings, and what it refuses."""

import json

import pytest

from llmqueue_gym import _jit
from llmqueue_gym.cli import main
from llmqueue_gym.distributions import size_law
from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES
from llmqueue_gym.policies.packing import PACKING
from llmqueue_gym.theory import MMk, PowerOfD, erlang_a, erlang_b, erlang_c, fastest_first, pooled, srpt_bracket

slow_uncompiled = pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")


@pytest.fixture
def run(capsys):
    """Run the command line in this process; returns exit status, stdout and stderr."""

    def call(*args):
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        return ended.value.code, *capsys.readouterr()

    return call


@pytest.fixture
def run_json(run):
    def call(command):
        status, out, err = run(*command.split(), "--json")
        assert (status, err) == (0, "")
        return json.loads(out, parse_constant=pytest.fail)

    return call


# Simulation beside theory.

EXACT = [
    ("--policy fcfs --servers 10 --load .9", MMk(10, 0.9).mean_response_time),
    ("--policy las --servers 4 --load .8", MMk(4, 0.8).mean_response_time),
    ("--policy fcfs --speeds 2,1,1 --load .8", fastest_first([2, 1, 1], 3.2).mean_response_time),
    ("--policy fcfs --speeds 2,2 --size exponential:mean=3 --load .7", MMk(2, 0.7, 1.5).mean_response_time),
    ("--policy fcfs --dispatch random --servers 20 --load .7", 1 / 0.3),
    ("--policy fcfs --servers 1 --size deterministic --load .5", 1.5),
    ("--policy fcfs --needs 2 --servers 8 --load .8", MMk(4, 0.8).mean_response_time),
    ("--policy server-filling --needs 8 --load .7", 1 / 0.3),
]


@slow_uncompiled
@pytest.mark.parametrize("options, exact", EXACT, ids=[options for options, _ in EXACT])
def test_simulation_holds_the_exact_value(run_json, options, exact):
    found = run_json(f"simulate {options} --jobs 400000 --seed 2")
    known = found["theory"][0]
    assert (known["metric"], known["kind"], known["in_ci95"]) == ("mean_response_time", "exact", True)
    assert known["value"] == pytest.approx(exact, rel=1e-4)  # that of SOAP
    low, high = found["ci95"]
    assert low < found["mean_response_time"] < high and low <= exact <= high
    assert found["load"] < 1 and found["p50"] < found["p99"] and found["jobs"] == 400_000


@slow_uncompiled
def test_impatient_jobs_against_erlang_a(run_json):
    found = run_json("simulate --policy fcfs --servers 10 --patience exponential:mean=3 --load 1.2 --jobs 400000")
    exact = erlang_a(10, 1.2, patience=3)
    assert {known["metric"]: known["value"] for known in found["theory"]} == pytest.approx(
        {"served": 1 - exact.abandoned, "throughput": exact.throughput}
    )
    assert all(known["in_ci95"] for known in found["theory"])
    for name, value in {"abandoned": exact.abandoned, "throughput": exact.throughput}.items():
        low, high = found[f"{name}_ci95"]
        assert low < found[name] < high and low < value < high
    assert found["served"] + found["abandoned"] == pytest.approx(1)


@slow_uncompiled
def test_two_choices_against_the_fixed_point(run_json):
    found = run_json("simulate --policy fcfs --dispatch power-of-d:d=2 --servers 1000 --load .9 --jobs 1000000")
    limit, refined = (known["value"] for known in found["theory"])
    assert limit == pytest.approx(PowerOfD(0.9).mean_response_time())
    assert refined == pytest.approx(PowerOfD(0.9).mean_response_time(1000))
    low, high = found["ci95"]
    assert low < refined < high and {known["kind"] for known in found["theory"]} == {
        "limit of many servers",
        "approximation",
    }


@slow_uncompiled
def test_a_bound_is_a_bound(run_json):
    for policy in ("srpt", "sprpt"):
        found = run_json(f"simulate --policy {policy} --servers 3 --load .9 --jobs 200000")
        bracket = srpt_bracket(size_law("exponential"), 0.9, 3)
        low, *high = (known["value"] for known in found["theory"])
        assert low == pytest.approx(bracket.low) and low < found["mean_response_time"]
        assert high == (pytest.approx([bracket.high]) if policy == "srpt" else [])
        assert not any("exact" in known["kind"] or "in_ci95" in known for known in found["theory"])


def test_jobs_that_need_several_servers(run_json):
    found = run_json("simulate --policy server-filling --needs 1:0.9,2:0.09,4:0.01 --servers 4 --jobs 3000")
    laws = [size_law("exponential")] * 3
    assert (found["needs"], found["shares"], found["servers"]) == ([1, 2, 4], [0.9, 0.09, 0.01], 4)
    assert found["theory"][0]["value"] == pytest.approx(
        pooled(4, found["shares"], found["needs"], laws, 0.8).mean_response_time
    )
    assert run_json("simulate --policy easy --needs 1,2,4,8 --jobs 2000")["servers"] == 8


@slow_uncompiled
def test_every_dispatch_and_packing_policy_runs(run_json):
    for name in DISPATCH_POLICIES:
        found = run_json(f"simulate --policy sprpt --dispatch {name} --servers 5 --jobs 60")
        assert found["mean_response_time"] > 0 and found["dispatch"] == name
    for name in PACKING:
        assert run_json(f"simulate --policy {name} --needs 1,8 --jobs 60")["mean_response_time"] > 0


def test_what_theory_does_not_cover_is_played_all_the_same(run_json, run):
    args = "simulate --policy fcfs --servers 3 --arrivals mmpp:ratio=4 --jobs 500"
    assert run_json(args)["theory"] == []
    status, out, err = run(*args.split())
    assert (status, err) == (0, "") and "knows no value" in out
    assert run_json("simulate --policy sprpt --servers 3 --patience weibull --jobs 500")["theory"] == []
    assert run_json("simulate --policy fcfs --servers 3 --jobs 1")["ci95"] == [None, None]


def test_same_seed_same_numbers(run_json):
    for args in ("--servers 4 --patience exponential", "--servers 4 --dispatch power-of-d", "--needs 1,2"):
        first, again = (run_json(f"simulate --policy fcfs {args} --jobs 500 --seed 7") for _ in range(2))
        first.pop("jobs_per_second"), again.pop("jobs_per_second")
        assert first == again


# Theory alone.


def test_theory_of_mmk(run_json, run):
    found = run_json("theory --policy fcfs --servers 20 --load .9")
    assert found["method"] == "exact"
    assert found["mean_response_time"] == pytest.approx(MMk(20, 0.9).mean_response_time)
    assert found["mean_wait"] == pytest.approx(MMk(20, 0.9).mean_wait)
    assert found["delay_probability"] == pytest.approx(erlang_c(20, 18))
    assert found["blocking_probability"] == pytest.approx(erlang_b(20, 18))
    status, out, _ = run("theory", "--policy", "fcfs", "--servers", "20", "--load", ".9")
    assert status == 0 and "Erlang C" in out and "1.2754" in out


@slow_uncompiled
@pytest.mark.parametrize(
    "options, method",
    [
        ("--policy fcfs --servers 4 --size weibull:shape=0.5", "approximation"),
        ("--policy srpt --servers 4 --size weibull:shape=0.5", "bounds"),
        ("--policy gittins --servers 4", "bounds"),
        ("--policy fcfs --dispatch power-of-d:d=2 --servers 50", "approximation"),
        ("--policy server-filling --needs 1,2,4,8", "approximation"),
        ("--policy spjf --servers 4 --patience exponential --load 1.5", "limit of many servers"),
        ("--policy fcfs --servers 4 --patience weibull --load 1.5", "limit of many servers"),
    ],
)
def test_theory_says_what_kind_of_thing_it_tells(run_json, options, method):
    found = run_json(f"theory {options}")
    assert found["method"] == method and "exact" not in {known["kind"] for known in found["theory"]}
    if method == "bounds":
        low, high = found["bounds"]
        assert low < high and "mean_response_time" not in found


def test_theory_of_overload(run_json):
    fcfs, spjf = (
        run_json(f"theory --policy {policy} --servers 9 --patience lognormal --load 1.5") for policy in ("fcfs", "spjf")
    )
    assert fcfs["served"] == pytest.approx(1 / 1.5) and fcfs["throughput"] == pytest.approx(9)
    assert spjf["served"] > fcfs["served"]


# What there is, and what goes wrong.


def test_listings(run_json, run, monkeypatch):
    found = run_json("policies")
    assert [entry["name"] for entry in found["dispatch_policies"]] == list(DISPATCH_POLICIES)
    assert [entry["name"] for entry in found["packing_policies"]] == list(PACKING)
    monkeypatch.setenv("COLUMNS", "80")
    status, out, _ = run("policies")
    assert status == 0 and max(len(line) for line in out.splitlines()) <= 80
    for name in (*DISPATCH_POLICIES, *PACKING):
        assert f" {name} " in out  # not folded


@pytest.mark.parametrize("command", ["simulate", "theory"])
def test_help_shows_the_options_under_headings(run, command):
    status, out, err = run(command, "--help")
    assert (status, err) == (0, "")
    assert out.index("Options:") < out.index("--policy") < out.index("Several servers:") < out.index("--servers")


WRONG = [
    ("--servers 0", "1<=x"),
    ("--servers 2.5", "not a valid whole number"),
    ("--servers 3 --speeds 2,1", "2 speeds for 3 servers"),
    ("--speeds 2,x", "--speeds '2,x' must be numbers"),
    ("--speeds 2,0", "speed 0 of a server"),
    ("--speeds 2,nan", "speed nan of a server"),
    ("--servers 3 --load 1.2", "load 1.2 is unstable"),
    ("--servers 3 --load 0 --patience exponential", "load=0 must be positive"),
    ("--servers 3 --load nan --patience exponential", "load=nan"),
    ("--servers 3 --policy sprt", "did you mean 'sprpt'?"),
    ("--servers 3 --policy easy", "add --needs 1,2,4,8"),
    ("--servers 3 --policy power-of-d:d=3", "--dispatch power-of-d:d=3 --policy fcfs"),
    ("--servers 3 --policy trail", "--profile"),
    ("--servers 3 --policy sprpt --predictor none", "predicts nothing"),
    ("--dispatch power-of-d --patience exponential", "--dispatch and --patience exclude one another"),
    ("--dispatch power-off-d", "did you mean 'power-of-d'?"),
    ("--dispatch power-of-d:d=0", "d=0"),
    ("--dispatch power-of-d:d=4 --servers 3", "samples 4 of 3 queues; take d=3"),
    ("--needs 1,2 --speeds 1,1", "--needs and --speeds exclude one another"),
    ("--needs 1,2 --patience exponential", "--needs and --patience exclude one another"),
    ("--needs 1,2 --dispatch random", "--needs and --dispatch exclude one another"),
    ("--needs 16", "16 servers are more than the 8 there are"),
    ("--needs 0,1", "needs at least 1"),
    ("--needs 1,x", "must be whole numbers"),
    ("--needs ,", "must be whole numbers"),
    ("--needs 1:0.5,2", "give every need a share"),
    ("--needs 1:0.5,2:0.4", "add up to 0.9"),
    ("--needs 1:-1,2:2", "share above 0"),
    ("--needs 1,2 --policy sprpt", "unknown packing policy 'sprpt'"),
    ("--needs 1,2 --policy msfq", "needs of 1 or 8"),
    ("--patience discrete", "unknown size law"),
    ("--patience deterministic:mean=0", "mean"),
]
SIMULATE_ALONE = [
    ("--servers 3 --trace /nowhere.csv", "--trace and --servers exclude one another"),
    ("--dispatch random --trace /nowhere.csv", "--trace and --dispatch exclude one another"),
    ("--needs 1,2 --arrivals mmpp", "come as poisson"),
    ("--servers 3 --arrivals poison", "did you mean 'poisson'?"),
    ("--servers 3 --profile a100-llama3-8b", "--servers belongs to servers of a queue"),
    ("--servers 3 --rate 5", "belongs to a replica"),
]
THEORY_ALONE = [
    ("--servers 3 --method soap", "belongs to a single server"),
    ("--servers 3 --policy sprpt", "no policy is below 1 s; known are fcfs"),
    ("--dispatch join-shortest-queue", "does not know fcfs with join-shortest-queue on 10 servers"),
    ("--policy sprpt --servers 3 --patience exponential", "known are orders without preemption"),
    ("--policy easy --needs 1,2", "known are the pool of server-filling"),
]
CASES = [(command, *case) for command in ("simulate", "theory") for case in WRONG]
CASES = [case for case in CASES if case[:2] != ("theory", "--needs 1,2 --policy msfq")]
CASES += [("simulate", *case) for case in SIMULATE_ALONE] + [("theory", *case) for case in THEORY_ALONE]


@pytest.mark.parametrize("command, options, told", CASES, ids=[f"{command} {options}" for command, options, _ in CASES])
def test_wrong_input_is_told_in_one_line(run, command, options, told):
    policy = [] if "--policy" in options else ["--policy", "fcfs"]
    status, out, err = run(command, *policy, *options.split())
    assert (status, out) == (2, "")
    assert err.startswith("llmqueue: error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert told in err


def test_patience_must_not_be_zero_by_chance(run, tmp_path):
    file = tmp_path / "patience.csv"
    file.write_text("output_tokens\n0\n1\n2\n")
    for command in ("simulate", "theory"):
        status, out, err = run(command, "--policy", "fcfs", "--servers", 3, "--patience", f"empirical:{file}")
        assert (status, out) == (2, "") and err.count("\n") == 1 and "'0' is not positive" in err
