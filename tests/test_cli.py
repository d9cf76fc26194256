"""The command line: tables for people, one JSON object for programs, one line for whoever got something wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest

from llmqueue_gym.cli import main
from llmqueue_gym.distributions import DISTRIBUTIONS
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.policies import POLICIES
from llmqueue_gym.predictors import PREDICTORS
from llmqueue_gym.workloads import ARRIVALS, TRACE_FORMATS

QUICK = ["--jobs", "2000"]
RANKS = """print("not for stdout")


def shortest(job, params):
    return job.predicted


def cheat(job, params):
    return job.size


def wrong(job, params):
    return job.age + "x"


def void(job, params):
    return (job.age - job.age) / (job.age - job.age)


def three(job, params, more):
    return 0.0
"""


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
    def call(*args):
        status, out, err = run(*args, "--json")
        assert (status, err) == (0, "")
        return json.loads(out, parse_constant=pytest.fail)

    return call


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "ranks.py").write_text(RANKS)
    (folder / "broken.py").write_text("def (")
    (folder / "leaves.py").write_text("raise SystemExit(0)")
    header = "arrival_s,prompt_tokens,output_tokens\n"
    (folder / "trace.csv").write_text(header + "0,10,300\n50,10,200\n100,10,50\n400,10,250\n")
    (folder / "nan.csv").write_text(header + "0,10,300\nnan,10,200\n")
    (folder / "empty.csv").write_text("")
    return folder


# What there is.


def test_listings_are_complete(run_json):
    assert [entry["name"] for entry in run_json("policies")["policies"]] == list(POLICIES)
    assert [entry["name"] for entry in run_json("predictors")["predictors"]] == list(PREDICTORS)
    assert [entry["name"] for entry in run_json("envs")["envs"]] == list(ENVIRONMENTS)
    found = run_json("workloads")
    for kind, registry in {"size_laws": DISTRIBUTIONS, "arrivals": ARRIVALS, "trace_formats": TRACE_FORMATS}.items():
        assert [entry["name"] for entry in found[kind]] == list(registry)


def test_listings_tell_parameters_and_purpose(run_json):
    listed = {command: run_json(command) for command in ("policies", "predictors", "workloads", "envs")}
    for tables in listed.values():
        for entry in (entry for table in tables.values() for entry in table):
            assert entry["description"].strip() and isinstance(entry["parameters"], dict), entry["name"]
    policies = {entry["name"]: entry for entry in listed["policies"]["policies"]}
    assert policies["limited-preemption"]["parameters"] == {"c": 0.8} and policies["srpt"]["predictor"] == "exact"
    laws = {entry["name"]: entry for entry in listed["workloads"]["size_laws"]}
    assert laws["weibull"]["parameters"]["shape"] == 0.5 and laws["empirical"]["parameters"]["file"] is None


@pytest.mark.parametrize("command", ["policies", "predictors", "workloads", "envs"])
def test_listings_are_tables(run, command):
    status, out, err = run(command)
    assert (status, err) == (0, "") and "name" in out and "parameters" in out


def test_help_and_version(run):
    assert run("--version") == (0, "llmqueue, version 0.1.0\n", "")
    for args in ([], ["--help"], ["simulate", "--help"], ["reproduce", "--help"]):
        status, out, err = run(*args)
        assert status == 0 and out.startswith("Usage: llmqueue") and err == ""


# Theory and simulation.


def test_theory(run_json, run):
    found = run_json("theory", "--policy", "sprpt")
    assert list(found)[:4] == ["policy", "size", "predictor", "load"]
    assert found["mean_response_time"] == pytest.approx(3.1374, abs=1e-3)
    assert found["mean_slowdown"] == "Infinity"
    sizes, times = np.array(found["response_time_by_size"]).T
    assert len(sizes) == 9 and np.all(np.diff(sizes) > 0) and np.all(np.diff(times) > 0)
    status, out, _ = run("theory", "--policy", "sprpt", "--method", "formula")
    assert status == 0 and "3.1374" in out


def test_theory_names_the_predictor_that_the_policy_brings(run_json):
    assert run_json("theory", "--policy", "sjf", "--method", "formula")["predictor"] == "exact"


def test_simulate(run_json):
    found = run_json("simulate", "--policy", "sprpt", "--jobs", 100_000, "--seed", 3)
    keys = "policy size predictor load jobs seed mean_response_time ci95 p50 p99 p99.9 mean_slowdown"
    assert set(keys.split()) | {"preemptions_per_job", "jobs_per_second"} <= set(found)
    low, high = found["ci95"]
    assert low < 3.1374 < high and low < found["mean_response_time"] < high
    assert found["p50"] < found["p99"] < found["p99.9"] and found["jobs_per_second"] > 1e5
    again = run_json("simulate", "--policy", "sprpt", "--jobs", 100_000, "--seed", 3)
    found.pop("jobs_per_second"), again.pop("jobs_per_second")
    assert found == again


def test_simulate_for_people(run):
    status, out, err = run("simulate", "--policy", "srpt", *QUICK)
    assert (status, err) == (0, "") and "mean_response_time" in out and "exact" in out


def test_one_job_has_no_interval(run_json):
    found = run_json("simulate", "--policy", "fcfs", "--jobs", 1)
    assert found["ci95"] == [None, None] and found["mean_response_time"] > 0


def test_every_policy_runs(run_json):
    for name in POLICIES:
        assert run_json("simulate", "--policy", name, "--jobs", 50)["mean_response_time"] > 0


def test_a_trace_is_replayed_whole(run_json, files):
    found = run_json("simulate", "--policy", "fcfs", "--trace", files / "trace.csv", "--load", 0.5)
    # 0.02 s a token: 16 s of work over 400 s, so time runs 12.5 times as fast: arrivals at 0, 4, 8 and 32 s.
    assert found["jobs"] == 4 and found["mean_response_time"] == pytest.approx((6 + 6 + 3 + 5) / 4)
    slow = run_json(
        "simulate", "--policy", "fcfs", "--trace", files / "trace.csv", "--load", 0.5, "--seconds-per-token", 0.2
    )
    assert slow["mean_response_time"] == pytest.approx(10 * found["mean_response_time"])


def test_a_function_in_a_file_is_a_policy(run_json, files):
    mine = run_json("simulate", "--policy", f"{files / 'ranks.py'}:shortest", *QUICK)
    theirs = run_json("simulate", "--policy", "pspjf", *QUICK)
    assert mine["mean_response_time"] == pytest.approx(theirs["mean_response_time"])


# What goes wrong.

SIMULATE = ["simulate", "--policy", "fcfs"]
WRONG = [
    (["simulat"], "did you mean 'simulate'?"),
    (["zzz"], "choose from: envs, policies"),
    (["--versio"], "did you mean '--version'?"),
    (["simulate", "--polcy", "fcfs"], "did you mean '--policy'?"),
    (["simulate"], "'--policy'"),
    (["policies", "extra"], "extra"),
    (["simulate", "--policy", "sprt"], "did you mean 'sprpt'?"),
    ([*SIMULATE, "--size", "weibul"], "did you mean 'weibull'?"),
    ([*SIMULATE, "--size", "weibull:shap=1"], "did you mean 'shape'?"),
    ([*SIMULATE, "--size", "weibull:shape=x"], "'x' is not a number"),
    ([*SIMULATE, "--size", "empirical:/nowhere.csv"], "/nowhere.csv"),
    ([*SIMULATE, "--predictor", "exac"], "did you mean 'exact'?"),
    ([*SIMULATE, "--predictor", "pairs:/nowhere.csv"], "/nowhere.csv"),
    ([*SIMULATE, "--arrivals", "poison"], "did you mean 'poisson'?"),
    ([*SIMULATE, "--load", "1.2"], "load 1.2 is unstable"),
    ([*SIMULATE, "--load", "1"], "try 0.95"),
    ([*SIMULATE, "--load", "0"], "load 0 must be positive"),
    ([*SIMULATE, "--load", "nan"], "load nan"),
    ([*SIMULATE, "--load", "much"], "'much' is not a valid float"),
    ([*SIMULATE, "--jobs", "0"], "1<=x"),
    ([*SIMULATE, "--jobs", "-3"], "1<=x"),
    ([*SIMULATE, "--jobs", "1e6"], "not a valid whole number"),
    ([*SIMULATE, "--seed", "-1"], "x>=0"),
    ([*SIMULATE, "--trace", "/nowhere.csv"], "/nowhere.csv"),
    ([*SIMULATE, "--trace", "{files}/nan.csv"], "row 2, column 'arrival_s'"),
    ([*SIMULATE, "--trace", "{files}/empty.csv"], "empty"),
    ([*SIMULATE, "--trace", "{files}"], "directory"),
    ([*SIMULATE, "--trace", "{files}/trace.csv", "--seconds-per-token", "0"], "x>0"),
    (["simulate", "--policy", "sprpt", "--predictor", "none"], "predicts nothing"),
    (["simulate", "--policy", "{files}/ranks.py:cheat"], "reads job.size: true sizes are hidden"),
    (["simulate", "--policy", "{files}/ranks.py:wrong", "--jobs", "9"], "'wrong' cannot be compiled"),
    (["simulate", "--policy", "{files}/ranks.py:void", "--jobs", "9"], "'void' gives rank NaN to 9 of 9 jobs"),
    (["simulate", "--policy", "{files}/ranks.py:three"], "rank(job, params)"),
    (["simulate", "--policy", "{files}/ranks.py:shortes"], "did you mean 'shortest'?"),
    (["simulate", "--policy", "{files}/ranks.py"], "names no function"),
    (["simulate", "--policy", "{files}/broken.py:rank"], "SyntaxError"),
    (["simulate", "--policy", "{files}/leaves.py:rank"], "SystemExit"),
    (["simulate", "--policy", "/nowhere.py:rank"], "/nowhere.py: no such file"),
    (["theory", "--policy", "sprpt", "--load", "1.2"], "load 1.2 is unstable"),
    (["theory", "--policy", "las", "--method", "formula"], "no closed form"),
    (["theory", "--policy", "las", "--method", "sope"], "'soap'"),
    (["reproduce", "table9"], "'table1'"),
    (["bench", "--jobs", "0"], "100<=x"),
]


@pytest.mark.parametrize("args, told", WRONG, ids=[" ".join(args) for args, _ in WRONG])
def test_wrong_input_is_told_in_one_line(run, files, args, told):
    status, out, err = run(*(arg.format(files=files) for arg in args))
    assert (status, out) == (2, "")
    assert err.startswith("llmqueue: error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert told in err


@pytest.mark.parametrize(
    "raised, status, told",
    [
        (PermissionError(13, "Permission denied", "/locked"), 2, "llmqueue: error: /locked: Permission denied"),
        (MemoryError("80 GiB"), 2, "llmqueue: error: not enough memory; choose fewer jobs (80 GiB)"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_what_happens_to_the_machine_is_told_too(run, monkeypatch, raised, status, told):
    def fail(*_):
        raise raised

    monkeypatch.setattr("llmqueue_gym.evaluation.rollout", fail)
    got, out, err = run(*SIMULATE)
    assert (got, out, err.strip()) == (status, "", told)


def test_a_bug_shows_its_traceback(monkeypatch):
    def fail(*_):
        raise TypeError("a bug")

    monkeypatch.setattr("llmqueue_gym.evaluation.rollout", fail)
    with pytest.raises(TypeError, match="a bug"):
        main(SIMULATE)


# As a process.


def test_the_installed_command_speaks_json_alone():
    command = [sys.executable, "-c", "from llmqueue_gym.cli import main; main()", *SIMULATE, *QUICK, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["policy"] == "fcfs" and done.stderr == ""


@pytest.mark.parametrize("command", ["--help", "policies", "predictors", "workloads"])
def test_listing_compiles_nothing(command):
    look = f"""
import sys
from llmqueue_gym.cli import main
try:
    main([{command!r}])
except SystemExit:
    print([name for name in ("numba", "torch", "stable_baselines3") if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
