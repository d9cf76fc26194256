"""The command line: tables for people, one JSON object for programs, one line for whoever got something wrong."""

import os
import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from llmqueue_gym.cli import cli, main
from llmqueue_gym.distributions import DISTRIBUTIONS
from llmqueue_gym.engines.batching.rule_sets import RULE_SETS
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import TOLD
from llmqueue_gym.predictors import PREDICTORS
from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS
from llmqueue_gym.systems import SYSTEMS, Scenario
from llmqueue_gym.systems.mg1 import MG1
from llmqueue_gym.systems.scenario import scenario_fields
from llmqueue_gym.workloads import ARRIVALS, TRACE_FORMATS
from llmqueue_gym.workloads.requests import LENGTHS

SYSTEMS_COMMANDS = cli.commands
KINDS = [SYSTEMS.builder(name) for name in SYSTEMS]
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
    (folder / "patience.csv").write_text("output_tokens\n0\n1\n2\n")
    return folder


# What there is.


def list_of(kind):
    return kind.policies.made.kind.replace("policy", "policies").replace(" ", "_")


LISTS = {
    "predictors": {"predictors": PREDICTORS, "length_predictors": LENGTH_PREDICTORS},
    "workloads": {"size_laws": DISTRIBUTIONS, "arrivals": ARRIVALS, "trace_formats": TRACE_FORMATS, "lengths": LENGTHS},
    "rules": {"rules": RULE_SETS},
    "systems": {"systems": SYSTEMS},
    "envs": {"envs": ENVIRONMENTS},
    "policies": {
        part.made.kind.replace("policy", "policies").replace(" ", "_"): part
        for kind in KINDS
        for part in kind.policies.parts
    },
}


@pytest.mark.parametrize("command", LISTS)
def test_listings_are_complete_and_tell_parameters_and_purpose(run, run_json, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(command)
    assert (status, err) == (0, "") and max(map(len, out.splitlines())) <= 80
    found = run_json(command)
    assert {kind: [entry["name"] for entry in entries] for kind, entries in found.items()} == {
        kind: list(registry) for kind, registry in LISTS[command].items()
    }
    for entry in (entry for entries in found.values() for entry in entries):
        assert entry["description"].strip() and isinstance(entry["parameters"], dict), entry["name"]
        assert f" {entry['name']} " in out  # not folded


def test_policies_are_listed_with_what_they_are_told(run_json):
    found = {entry["name"]: entry for entries in run_json("policies").values() for entry in entries}
    assert {found[name]["told"] for name in ("las", "join-shortest-queue", "fcfs")} == {TOLD[0]}
    assert {found[name]["told"] for name in ("gittins", "trail", "easy", "one-bit-count", "least-work")} == {TOLD[1]}
    assert found["srpt"]["told"] == TOLD[2] and found["limited-preemption"]["parameters"] == {"c": 0.8}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_environment_shows_what_its_agent_sees(run, run_json, name):
    found, kind = run_json(f"envs {name}"), SYSTEMS.builder(ENVIRONMENTS[name].system)
    assert list(found["jobs"]) == list(kind.view.jobs) and list(found["system"]) == list(kind.view.system)
    assert found["actions"] == kind.view.actions and set(scenario_fields(kind)) <= set(found["parameters"])
    status, out, _ = run("envs", name.removeprefix("llmqueue/"))
    assert status == 0 and all(column in out for column in (*kind.view.jobs, *kind.view.system))


# Systems and their options.


@pytest.mark.parametrize("command", ["simulate", "theory", "compare"])
def test_help_fits_a_screen_and_names_the_systems(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(command, "--help")
    assert (status, err) == (0, "") and len(out.splitlines()) <= 25 and max(map(len, out.splitlines())) <= 80
    if command == "simulate":
        assert len(out.splitlines()) <= 24
    assert all(f"  {kind.name} " in out and kind.title in out for kind in KINDS) and "--load" in out


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_help_of_a_system_tells_its_fields_from_their_docstrings(run, kind):
    status, out, err = run("simulate", kind.name, "--help")
    words = " ".join(out.split())
    assert (status, err) == (0, "") and "--policy" in out and "--seed" in out
    assert ("--trace" in out) == (kind.recorded is not None)
    for name, default in scenario_fields(kind).items():
        option = f"--{kind.options.get(name, name).replace('_', '-')}"
        assert (name == "workload") != (f"{option} " in words), option
        if isinstance(default, str):
            assert f"[default:{default}]" in "".join(out.split())
    documented = next((line for line in kind.__doc__.splitlines() if line.strip().startswith("servers: ")), "")
    assert documented.partition(": ")[2].strip().capitalize()[:30] in words


def test_a_system_that_is_registered_is_on_the_command_line(run, run_json, refused, monkeypatch):
    @dataclass(frozen=True)
    class Slow(MG1):
        """One server of some speed.

        Attributes:
            slowness: times as long as told that a job takes.
        """

        name: ClassVar[str] = "slow"
        title: ClassVar[str] = "A slow server"
        slowness: float = 2.0

        def draw(self, scenario, seed, policy=None):
            drawn = super().draw(scenario, seed, policy)
            return drawn._replace(truth={"sizes": self.slowness * drawn.sizes})

    monkeypatch.setitem(SYSTEMS._entries, "slow", Slow)
    words = " ".join(run("simulate", "slow", "--help")[1].split())
    assert "--slowness FLOAT Times as long as told that a job takes. [default: 2]" in words
    found = run_json("simulate --policy fcfs --slowness 0.5 --load .4 --jobs 5000")
    plain = run_json("simulate mg1 --policy fcfs --load .4 --jobs 5000")
    assert found["system"] == "slow" and found["slowness"] == 0.5
    assert found["mean_response_time"] < plain["mean_response_time"]
    assert "slow" in run("systems")[1] and "slow" in run("simulate", "--help")[1]
    assert "--slowness and --servers exclude one another: --slowness is an option of slow" in refused(
        "simulate --policy fcfs --slowness 1 --servers 2"
    )
    ranked = run_json("compare slow --policies sprpt --load .3 --jobs 1000")
    assert {row["policy"] for row in ranked["policies"]} == {"fcfs", "sprpt"}


SAME = [
    ("--policy fcfs --servers 4 --load .7", "central --policy fcfs --servers 4 --load .7"),
    ("--policy sprpt --dispatch power-of-d:d=2", "dispatch --policy power-of-d:d=2 --order sprpt"),
    ("--policy easy --needs 1,2", "packing --needs 1,2 --policy easy"),
    ("--speeds 2,1 --policy fcfs --patience exponential", "central --patience exponential --speeds 2,1 --policy fcfs"),
    ("--policy one-server --curves power:exponent=0.5", "moldable --policy one-server --curves power:exponent=0.5"),
]


@pytest.mark.parametrize("unnamed, named", SAME, ids=[unnamed for unnamed, _ in SAME])
def test_a_system_need_not_be_named(run_json, unnamed, named):
    first, again = (run_json(f"simulate {options} --jobs 300 --seed 7") for options in (unnamed, named))
    assert first["system"] == again["system"] == named.split()[0]
    assert first["mean_response_time"] == again["mean_response_time"]


def test_the_command_line_builds_the_scenario_of_python(run_json):
    found = run_json(
        "simulate central --policy srpt --servers 3 --load .7 --jobs 500 --seed 5 --size weibull:shape=0.7"
    )
    run = Scenario("central", servers=3, load=0.7, n_jobs=500, size="weibull:shape=0.7").simulate("srpt", 5)
    assert found["mean_response_time"] == pytest.approx(run.after_warmup().response_times.mean())
    assert found["predictor"] == "exact" and found["jobs"] == 500


def test_deadlines_are_told_to_who_reads_them(run_json):
    options = "--servers 4 --patience uniform:mean=2 --load 1.3 --jobs 4000"
    assert (
        run_json(f"simulate --policy edf {options}")["served"] > run_json(f"simulate --policy fcfs {options}")["served"]
    )


# Theory and simulation on one server.


def test_theory(run_json, run):
    found = run_json("theory --policy sprpt")
    assert list(found)[:4] == ["policy", "size", "predictor", "load"]
    assert found["mean_response_time"] == pytest.approx(3.1375, abs=1e-3)
    assert found["mean_slowdown"] == "Infinity"
    sizes, times = np.array(found["response_time_by_size"]).T
    assert len(sizes) == 9 and np.all(np.diff(sizes) > 0) and np.all(np.diff(times) > 0)
    assert run_json("theory mg1 --policy sjf --method formula")["predictor"] == "exact"
    status, out, _ = run("theory", "--policy", "sprpt", "--method", "formula")
    assert status == 0 and "3.1375" in out and "17.09" in out


def test_simulate(run_json):
    found = run_json("simulate --policy sprpt --jobs 100000 --seed 3")
    keys = "policy size predictor load arrivals jobs seed mean_response_time ci95 p50 p99 p99.9 mean_slowdown"
    assert set(keys.split()) | {"preemptions_per_job", "jobs_per_second"} <= set(found)
    low, high = found["ci95"]
    assert low < 3.1375 < high and low < found["mean_response_time"] < high
    assert found["p50"] < found["p99"] < found["p99.9"] and found["jobs_per_second"] > 1e5
    (known,) = Scenario("mg1", predictor="exponential").known("sprpt")
    assert known["kind"] == "exact" and known["value"] == pytest.approx(3.1375, abs=1e-3)


def test_simulate_for_people(run):
    status, out, err = run("simulate", "--policy", "srpt", "--jobs", "2000")
    assert (status, err) == (0, "") and "mean_response_time" in out and "exact" in out and "False" not in out


@pytest.mark.parametrize("system, out", [("central", "--jobs-out"), ("replica --lengths constant", "--requests-out")])
def test_what_came_of_each_job_is_written(run_json, tmp_path, system, out):
    path = tmp_path / "run.csv.gz"
    found = run_json(f"simulate {system} --policy fcfs --load .3 {out} {path}", out.replace("-out", ""), "20")
    table = np.genfromtxt(path, delimiter=",", names=True)
    name = "e2e" if system != "central" else "response_time"
    assert len(table) == 20 and os.listdir(tmp_path) == ["run.csv.gz"]
    np.testing.assert_allclose(table["completion"] - table["arrival"], table[name])
    mean = found[name]["mean"] if system != "central" else found["mean_response_time"]
    assert table[name][2:].mean() == pytest.approx(mean)
    assert found["options"][out.lstrip("-")] == str(path)


@pytest.mark.parametrize("command", ["simulate --policy fcfs", "compare --policies fcfs"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_json_says_every_option(run_json, command, kind):
    name, _, option = command.partition(" ")
    found = run_json(f"{name} {kind.name} {option.replace('fcfs', kind.base)} --load .3 --{kind.options['n_jobs']} 60")
    options = SYSTEMS_COMMANDS[name]._options(kind)
    assert {one.opts[0].lstrip("-") for one in options} < set(found["options"])
    assert found["options"]["load"] == 0.3 and found["options"]["seed"] == 0
    assert all(found["options"][one] == value for one, value in kind.defaults.items() if one == "predictor")


def test_one_job_has_no_interval(run_json):
    found = run_json("simulate --policy fcfs --jobs 1")
    assert found["ci95"] == [None, None] and found["mean_response_time"] > 0


def test_a_trace_is_replayed_whole(run_json, files):
    trace = ("--trace", files / "trace.csv", "--load", 0.5)
    found = run_json("simulate --policy fcfs", *trace)
    # 0.02 s a token: 16 s of work over 400 s, so time runs 12.5 times as fast: arrivals at 0, 4, 8 and 32 s.
    assert found["jobs"] == 4 and found["mean_response_time"] == pytest.approx((6 + 6 + 3 + 5) / 4)
    assert found["size"] == found["arrivals"] == "trace" and found["load"] == 0.5
    slow = run_json("simulate --policy fcfs --seconds-per-token 0.2", *trace)
    assert slow["mean_response_time"] == pytest.approx(10 * found["mean_response_time"])
    # On two servers at the same load the work comes twice as fast, at 0, 2, 4 and 16 s, and nobody waits for long.
    two = run_json("simulate --policy fcfs --servers 2", *trace)
    assert two["mean_response_time"] == pytest.approx((6 + 4 + 3 + 5) / 4)


def test_a_function_in_a_file_is_a_policy(run_json, files):
    options = "--jobs 500 --servers 2"
    mine = run_json(f"simulate {options} --policy {files / 'ranks.py'}:shortest")
    assert mine["mean_response_time"] == run_json(f"simulate {options} --policy pspjf")["mean_response_time"]
    mine = run_json(f"simulate {options} --dispatch random --policy {files / 'ranks.py'}:shortest")
    theirs = run_json(f"simulate dispatch {options} --policy random --order pspjf")
    assert mine["mean_response_time"] == theirs["mean_response_time"] and mine["policy"].endswith(":shortest")


# What goes wrong.

SIMULATE = "simulate --policy fcfs"
WRONG = [
    ("simulat", "did you mean 'simulate'?"),
    ("zzz", "choose from: systems, envs, policies"),
    ("--versio", "did you mean '--version'?"),
    ("simulate --polcy fcfs", "did you mean '--policy'?"),
    ("simulate mg1 --polcy fcfs", "did you mean '--policy'?"),
    ("simulate mg1 --policy fcfs --servers 3", "unknown option '--servers' of system 'mg1'; it is one of central, "),
    ("simulate centrl --policy fcfs", "unknown system 'centrl'; did you mean 'central'?"),
    ("simulate", "'--policy'"),
    ("policies extra", "extra"),
    ("envs llmqueue/MG2-v0", "did you mean 'llmqueue/MG"),
    ("simulate --policy sprt", "did you mean 'sprpt'?"),
    ("simulate --policy trail", "add --profile a100-llama3-8b"),
    ("simulate --policy easy --servers 3", "add --needs 1,2,4,8"),
    ("simulate --policy power-of-d:d=3", "write --dispatch power-of-d:d=3 --policy fcfs"),
    ("simulate --policy one-server", "is a moldable policy: add --curves"),
    ("simulate mg1 --policy trail", "unknown policy 'trail'"),
    (f"{SIMULATE} --size weibul", "did you mean 'weibull'?"),
    (f"{SIMULATE} --size weibull:shap=1", "did you mean 'shape'?"),
    (f"{SIMULATE} --size weibull:shape=x", "'x' is not a number"),
    (f"{SIMULATE} --size empirical:/nowhere.csv", "/nowhere.csv"),
    (f"{SIMULATE} --predictor exac", "did you mean 'exact'?"),
    (f"{SIMULATE} --predictor pairs:/nowhere.csv", "/nowhere.csv"),
    (f"{SIMULATE} --arrivals poison", "did you mean 'poisson'?"),
    (f"{SIMULATE} --load 1.2", "load 1.2 is unstable"),
    (f"{SIMULATE} --rate 3", "load 3 is unstable"),
    (f"{SIMULATE} --load 1", "try 0.95"),
    (f"{SIMULATE} --load 0", "--load 0.0 must be positive"),
    (f"{SIMULATE} --load nan", "--load nan must be positive"),
    (f"{SIMULATE} --load much", "'much' is not a valid float"),
    (f"{SIMULATE} --load .5 --rate .5", "--load 0.5 and --rate 0.5 both set the rate"),
    (f"{SIMULATE} --jobs 0", "1<=x"),
    (f"{SIMULATE} --jobs -3", "1<=x"),
    (f"{SIMULATE} --jobs 1e6", "not a valid whole number"),
    (f"{SIMULATE} --seed -1", "x>=0"),
    (f"{SIMULATE} --trace /nowhere.csv", "/nowhere.csv"),
    (f"{SIMULATE} --trace {{files}}/nan.csv", "row 2, column 'arrival_s'"),
    (f"{SIMULATE} --trace {{files}}/empty.csv", "empty"),
    (f"{SIMULATE} --trace {{files}}", "directory"),
    (f"{SIMULATE} --trace {{files}}/trace.csv --seconds-per-token 0", "x>0"),
    (f"{SIMULATE} --trace {{files}}/trace.csv --size weibull", "give one of them"),
    (f"{SIMULATE} --trace {{files}}/trace.csv --arrivals mmpp", "give one of them"),
    (f"{SIMULATE} --seconds-per-token 1", "--seconds-per-token 1 goes with --trace FILE"),
    (f"{SIMULATE} --format foo", "--format foo goes with --trace FILE"),
    (f"{SIMULATE} --trace-unit ms", "--trace-unit ms goes with --trace FILE"),
    (f"{SIMULATE} --trace {{files}}/trace.csv --trace-unit min", "unknown unit of time 'min'"),
    (f"{SIMULATE} --rate 1e308", "--rate 1e+308 must be positive and finite, from 1e-12 to 1e+12"),
    (f"{SIMULATE} --load 5e-324", "--load 5e-324 must be positive"),
    (f"{SIMULATE} --arrivals mmpp:period=1e300", "period='1e300' is out of all proportion: 1e+18 at most"),
    (f"{SIMULATE} --arrivals mmpp:period=1e-300", "period=1e-300 s is so short beside the gaps"),
    (f"{SIMULATE} --arrivals mmpp:period=1e15", "period=1e+15 must be positive, and 1e+12 s at most"),
    ("simulate replica --policy fcfs --rules vllm-v1:max_seqs=9999999999", "max_seqs=9999999999 must be at least 1, "),
    (f"{SIMULATE} --size hyperexponential:ratio=1e308", "ratio='1e308' is out of all proportion"),
    (f"{SIMULATE} --predictor lognormal:sigma=1000", "sigma=1000 must be from 0 to 100"),
    (f"{SIMULATE} --size weibull:", "shape='' is not a number"),
    ("simulate --policy fcfs:", "policy 'fcfs' has no parameter ''; it takes none"),
    (f"{SIMULATE} --jobs 1000000000000", "1<=x<=1000000000"),
    (f"{SIMULATE} --jobs-out run.xls", "run.xls: end the name in one of .csv, .csv.gz, .parquet"),
    (f"{SIMULATE} --jobs-out /nowhere/run.csv", "/nowhere: no such folder"),
    ("simulate replica --policy fcfs --jobs 5", "did you mean '--requests', as system 'replica' has it?"),
    ("simulate replica --policy fcfs --size 5", "did you mean '--lengths', as system 'replica' has it?"),
    ("simulate mg1 --policy fcfs --requests 5", "did you mean '--jobs', as system 'mg1' has it?"),
    ("simulate replica --policy fcfs --max-seqs 4", "it is a rule of the engine: --rules vllm-v1:max_seqs=..."),
    ("simulate --policy fcfs --token-budget 4", "it is a rule of the engine: --rules vllm-v1:token_budget=..."),
    (
        "simulate replica --policy fcfs --rules vllm-v1:blocks=9999999999999999999999",
        "out of all proportion",
    ),
    ("simulate replica --policy fcfs --max-tokens 3000000000", "--max-tokens 3000000000 must be from 2"),
    ("compare mg1 --policies fcfs,,spjf", "--policies 'fcfs,,spjf' has an empty name"),
    ("compare mg1 --policies ,", "has an empty name"),
    (f"{SIMULATE} --size \udcff", "is not a line of text in UTF-8"),
    (f"{SIMULATE} --size a\x07", "is not a line of text in UTF-8"),
    ("simulate --policy sprpt --predictor none", "predicts nothing"),
    ("simulate --policy {files}/ranks.py:cheat", "reads job.size: true sizes are hidden"),
    ("simulate --policy {files}/ranks.py:wrong --jobs 9", "'wrong' cannot be compiled"),
    ("simulate --policy {files}/ranks.py:void --jobs 9", "'void' gives rank NaN to job 0"),
    (
        "simulate --policy {files}/ranks.py:three",
        "three is not a policy: give a registered name or a function rank(job, ",
    ),
    ("simulate --policy {files}/ranks.py:shortes", "did you mean 'shortest'?"),
    ("simulate --policy {files}/ranks.py", "names no function"),
    ("simulate --policy {files}/broken.py:rank", "SyntaxError"),
    ("simulate --policy {files}/leaves.py:rank", "it exits with status 0"),
    ("simulate --policy /nowhere.py:rank", "/nowhere.py: no such file"),
    ("theory --policy sprpt --load 1.2", "load 1.2 is unstable"),
    ("theory --policy las --method formula", "no closed form"),
    ("theory --policy las --method sope", "'soap'"),
    ("reproduce table9", "'table1'"),
]


@pytest.mark.parametrize("command, told", WRONG, ids=[command for command, _ in WRONG])
def test_wrong_input_is_told_in_one_line(refused, files, command, told):
    assert told in refused(command.format(files=files))


def test_jobs_that_the_memory_could_not_hold_are_refused(refused, monkeypatch):
    monkeypatch.setattr(os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 10**6)
    assert "--jobs 30000000 take about 6 GB, and this machine has 4 GB; choose 20,000,000" in refused(
        f"{SIMULATE} --jobs 30000000"
    )


@pytest.mark.parametrize("args", [("--size", ""), ("--size", " "), ("--size=",), ("",)], ids=str)
def test_an_empty_value_is_refused(refused, args):
    assert "is empty; give a value, or leave it out" in refused("simulate --policy fcfs", *args)


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

    monkeypatch.setattr(Scenario, "simulate", fail)
    got, out, err = run(*SIMULATE.split())
    assert (got, out, err.strip()) == (status, "", told)


def test_warnings_are_one_line_behind_a_result_and_none_beside_an_error(run, monkeypatch):
    draw = Scenario.draw

    def doubtful(self, *args):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for _ in range(2):
                warnings.warn("numbers ran\n over", RuntimeWarning, stacklevel=1)
        if self.n_jobs == 9:
            raise BadInput("wrong")
        return draw(self, *args)

    monkeypatch.setattr(Scenario, "draw", doubtful)
    status, out, err = run(*SIMULATE.split(), "--jobs", "10")
    assert (status, err) == (0, "llmqueue: warning: numbers ran over\n") and "mean_response_time" in out
    assert run(*SIMULATE.split(), "--jobs", "9") == (2, "", "llmqueue: error: wrong\n")


def test_a_bug_shows_its_traceback(monkeypatch):
    def fail(*_):
        raise TypeError("a bug")

    monkeypatch.setattr(Scenario, "simulate", fail)
    with pytest.raises(TypeError, match="a bug"):
        main(SIMULATE.split())
