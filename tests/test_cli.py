"""The command line: tables for people, one JSON object for programs, one line for whoever got something wrong."""

import os
from dataclasses import dataclass
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest

from llmqueue_gym.cli import cli
from llmqueue_gym.distributions import DISTRIBUTIONS
from llmqueue_gym.engines.batching.rule_sets import RULE_SETS
from llmqueue_gym.envs import ENVIRONMENTS
from llmqueue_gym.policies.base import TOLD
from llmqueue_gym.policies.control import CONTROLLERS
from llmqueue_gym.policies.expansion import EXPANSION_POLICIES
from llmqueue_gym.policies.retention import RETENTION_POLICIES
from llmqueue_gym.policies.stopping import STOPPING_POLICIES
from llmqueue_gym.predictors import PREDICTORS
from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS
from llmqueue_gym.predictors.programs import FORESIGHTS
from llmqueue_gym.systems import SYSTEMS, Scenario
from llmqueue_gym.systems.mg1 import MG1
from llmqueue_gym.systems.scenario import scenario_fields
from llmqueue_gym.workloads import ARRIVALS, TRACE_FORMATS
from llmqueue_gym.workloads.programs import PROGRAMS
from llmqueue_gym.workloads.requests import LENGTHS
from llmqueue_gym.workloads.traces.programs import PROGRAM_FORMATS

SYSTEMS_COMMANDS = cli.commands
KINDS = [SYSTEMS.builder(name) for name in SYSTEMS]


# What there is.


def list_of(kind):
    return kind.policies.made.kind.replace("policy", "policies").replace(" ", "_")


LISTS = {
    "predictors": {"predictors": PREDICTORS, "length_predictors": LENGTH_PREDICTORS, "foresights": FORESIGHTS},
    "workloads": {
        **{"size_laws": DISTRIBUTIONS, "arrivals": ARRIVALS, "trace_formats": TRACE_FORMATS, "lengths": LENGTHS},
        **{"programs": PROGRAMS, "program_formats": PROGRAM_FORMATS},
    },
    "rules": {"rules": RULE_SETS},
    "systems": {"systems": SYSTEMS},
    "envs": {"envs": ENVIRONMENTS},
    "policies": {},
}
RULES_OF_PROGRAMS = (RETENTION_POLICIES, STOPPING_POLICIES, EXPANSION_POLICIES)
for part in [*(part for kind in KINDS for part in kind.policies.parts), *RULES_OF_PROGRAMS]:
    kind_of_it = part.made.kind.replace("policy", "policies").replace(" ", "_")  # which several systems may have
    LISTS["policies"][kind_of_it] = dict.fromkeys([*LISTS["policies"].get(kind_of_it, ()), *part])
LISTS["policies"]["controllers"] = CONTROLLERS


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
    view = gym.make(name).unwrapped.view
    assert list(found["jobs"]) == list(view.jobs) and list(found["system"]) == list(view.system)
    assert found["actions"] == view.actions and set(scenario_fields(kind)) <= set(found["parameters"])
    status, out, _ = run("envs", name.removeprefix("llmqueue/"))
    assert status == 0 and all(column in out for column in (*view.jobs, *view.system))


# Systems and their options.


@pytest.mark.parametrize("command", ["simulate", "theory", "compare"])
def test_help_fits_a_screen_and_names_the_systems(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    status, out, err = run(command, "--help")
    assert (status, err) == (0, "") and len(out.splitlines()) <= 24 and max(map(len, out.splitlines())) <= 80
    assert all(f"  {kind.name} " in out and kind.title in out for kind in KINDS) and "--load" in out


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_help_of_a_system_tells_its_fields_from_their_docstrings(run, kind):
    status, out, err = run("simulate", kind.name, "--help")
    words = " ".join(out.split())
    assert (status, err) == (0, "") and "--policy" in out and "--seed" in out
    assert ("--trace" in out) == (kind.recorded is not None)
    for name, default in scenario_fields(kind).items():
        option = f"--{kind.options.get(name, name).replace('_', '-')}"
        assert (name == "workload" or name in kind.settled) != (f"{option} " in words), option
        if isinstance(default, str) and name not in kind.settled:
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
