"""The command line where something is wrong: one line that names it, and status 2."""

import os
import warnings

import pytest

from llmqueue_gym.cli import main
from llmqueue_gym.errors import BadInput
from llmqueue_gym.systems import Scenario

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
    ("leaderboard show --folder {files}", "no stored results there; give --folder the experiments/leaderboard of a"),
    ("profile fit x.csv --out /nowhere/x.json", "--out /nowhere/x.json: /nowhere: no such folder"),
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
