"""`llmqueue simulate` on a replica and `llmqueue compare`: what they print, draw and refuse."""

import json

import pytest

from llmqueue_gym.cli import main
from llmqueue_gym.cli.compare import METRICS, read_policies
from llmqueue_gym.engines.batching.rules import RULE_SETS
from llmqueue_gym.evaluation.serving.metrics import LATENCIES, SERVING_METRICS
from llmqueue_gym.policies.serving import SERVING_POLICIES
from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS
from llmqueue_gym.workloads.requests import LENGTHS

RANKS = """print("not for stdout")


def shortest(request, system, params):
    return request.first_predicted


def two(job, params):
    return job.predicted


def cheat(request, system, params):
    return request.output


def void(request, system, params):
    return (request.arrival - request.arrival) / (request.arrival - request.arrival)
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
    header = "arrival_s,prompt_tokens,output_tokens\n"
    (folder / "trace.csv").write_text(header + "".join(f"{k / 4},{40 + k % 7},{1 + k % 30}\n" for k in range(200)))
    (folder / "long.csv").write_text(header + "0,10,5\n1,10,0\n2,4000,5\n3,10,5\n")
    (folder / "once.csv").write_text(header + "0,10,5\n0,20,5\n")
    (folder / "lengths.csv").write_text("prompt_tokens,output_tokens\n10,5\n20,4\n")
    return folder


TRACE = ["--trace", "{files}/trace.csv"]
UNIT = ["--profile", "unit", *TRACE]


# What there is.


def test_listings_hold_serving_too(run_json):
    def names(command, kind):
        entries = run_json(command)[kind]
        assert all(entry["description"].strip() and isinstance(entry["parameters"], dict) for entry in entries)
        return [entry["name"] for entry in entries]

    assert names("policies", "serving_policies") == list(SERVING_POLICIES)
    assert names("predictors", "length_predictors") == list(LENGTH_PREDICTORS)
    assert names("workloads", "lengths") == list(LENGTHS)
    assert names("rules", "rules") == list(RULE_SETS)


def test_rules_are_told_by_how_they_differ(run):
    status, out, err = run("rules")
    assert (status, err) == (0, "") and "max_model_len=2048" in out and "Parameters are those of vllm-v1" in out


def test_latencies_can_be_chosen():
    assert set(METRICS) == set(LATENCIES)


# Simulation.


def test_a_trace_is_served(run_json, run, files):
    found = run_json("simulate", "--policy", "fcfs", "--profile", "a100-llama3-8b", "--trace", files / "trace.csv")
    assert set(SERVING_METRICS) | set(LATENCIES) <= set(found)
    assert (found["done"], found["requests"], found["reason"]) == (200, 200, "drained")
    assert found["rate"] == pytest.approx(4) and not found["overloaded"] and 0 < found["load"] < 1
    assert found["predictor"] == "not read by the policy" and found["warmup"] == 0
    assert found["e2e_ci95"][0] < found["e2e"]["mean"] < found["e2e_ci95"][1]
    status, out, err = run("simulate", "--policy", "sjf", "--profile", "a100-llama3-8b", "--trace", files / "trace.csv")
    assert (status, err) == (0, "") and "lognormal:sigma=0.5" in out and "time to first token" in out
    assert "note: estimated in a100-llama3-8b" in out


def test_rates(run_json, files):
    def rate(*args):
        found = run_json("simulate", "--policy", "fcfs", "--profile", "unit", "--trace", files / "trace.csv", *args)
        return found["rate"], found["load"], found["capacity"]["rate"]

    own = rate()[0]
    assert rate("--rate-scale", 0.5)[0] == pytest.approx(own / 2)
    assert rate("--rate", 1)[0] == pytest.approx(1)
    got, load, most = rate("--load", 0.5)
    assert load == 0.5 and got == pytest.approx(most / 2)


def test_lengths_come_without_a_trace(run_json):
    found = run_json("simulate", "--policy", "fcfs", "--lengths", "azure-conv", "--requests", 300)
    assert (found["requests"], found["load"], found["profile"]) == (300, 0.8, "a100-llama3-8b")
    assert found["rate"] == pytest.approx(0.8 * found["capacity"]["rate"]) and found["warmup"] == 0.1


def test_the_same_seed_gives_the_same_numbers(run_json):
    args = ("simulate", "--policy", "sjf", "--lengths", "constant", "--rate", 5, "--requests", 100, "--seed", 4)
    first, again = run_json(*args), run_json(*args)
    first.pop("seconds_in_kernel"), again.pop("seconds_in_kernel")
    assert first == again


def test_objectives(run, run_json, files):
    args = ("simulate", "--policy", "fcfs", "--profile", "unit", "--trace", files / "trace.csv", "--rate", 0.9)
    assert run_json(*args, "--ttft-slo", 2.5)["attainment"] == 1
    assert run_json(*args, "--ttft-slo", 1.5)["attainment"] < 1
    assert "within the objectives" in run(*args, "--tpot-slo", 1)[1] and "objectives" not in run(*args)[1]


def test_a_function_in_a_file_is_a_policy(run_json, files):
    args = ["--profile", "unit", "--rules", "vllm-v1:max_seqs=4", "--trace", files / "trace.csv"]
    mine = run_json("simulate", "--policy", f"{files / 'ranks.py'}:shortest", *args)
    theirs = run_json("simulate", "--policy", "vllm-priority", *args)
    assert mine["e2e"] == theirs["e2e"]


def test_overload_is_told(run, run_json, files):
    args = ("simulate", "--policy", "fcfs", "--profile", "unit", "--rules", "vllm-v1:max_seqs=4", "--trace")
    assert run_json(*args, files / "trace.csv")["overloaded"]
    assert "note: OVERLOADED: 4 requests/s arrive" in run(*args, files / "trace.csv")[1]


def test_a_run_that_is_cut_off_is_told(run, files):
    rules = "vllm-v1:max_seqs=64,horizon=20"
    args = ("simulate", "--policy", "fcfs", "--profile", "unit", "--rules", rules, "--trace", files / "trace.csv")
    status, out, err = run(*args)
    assert (status, err) == (0, "") and "note: INCOMPLETE (horizon): " in out and "completed requests only" in out


def test_what_was_left_out_is_told(run, run_json, files):
    args = ("simulate", "--policy", "fcfs", "--profile", "unit", "--max-tokens", 100, "--trace", files / "long.csv")
    assert run_json(*args)["left_out"] == {"without_output": 1, "too_long": 1}
    assert "left out of the trace: 1 without output, 1 too long" in run(*args)[1]


def test_all_at_once_has_no_load(run_json, files):
    found = run_json("simulate", "--policy", "fcfs", "--profile", "unit", "--trace", files / "once.csv")
    assert found["rate"] is None and found["load"] is None and found["done"] == 2


def test_without_a_profile_a_trace_meets_one_server(run_json, files):
    found = run_json("simulate", "--policy", "fcfs", "--trace", files / "trace.csv", "--format", "csv")
    assert found["size"] == "trace" and found["jobs"] == 200 and "ttft" not in found


# Comparison.


def test_policies_are_ranked(run, run_json, files, tmp_path):
    pytest.importorskip("matplotlib")
    args = ["compare", "--policies", "sjf,srpt", "--profile", "unit", "--rules", "vllm-v1:max_seqs=8", "--load", 0.9]
    args += ["--lengths", "constant", "--requests", 300]
    picture = tmp_path / "compared.svg"
    found = run_json(*args, "--plot", picture)
    assert {row["policy"] for row in found["policies"]} == {"fcfs", "sjf", "srpt"} and found["load"] == 0.9
    assert found["provenance"]["seeds"] == [0] and picture.read_text().count("<svg") == 1
    status, out, err = run(*args, "--ttft-slo", 60)
    assert (status, err) == (0, "") and "over fcfs" in out and "goodput" in out
    assert out.splitlines()[-1].startswith("By mean end-to-end time: ")


@pytest.mark.parametrize("metric", METRICS)
def test_any_latency_can_be_compared(run, files, metric):
    args = ("compare", "--policies", "sjf", "--profile", "unit", "--rules", "vllm-v1:max_seqs=8", "--rate", 0.4)
    status, out, _ = run(*args, "--trace", files / "trace.csv", "--metric", metric)
    assert status == 0 and "By mean " in out


def test_a_comma_may_part_policies_or_their_parameters():
    assert list(read_policies("trail:c=0.5,fcfs, sjf")) == ["trail:c=0.5", "fcfs", "sjf"]
    assert list(read_policies("all")) == list(SERVING_POLICIES)


# What goes wrong.

SIMULATE = ["simulate", "--policy", "fcfs"]
COMPARE = ["compare", "--policies", "fcfs,sjf"]
WRONG = [
    (["simulate", "--policy", "trail"], "add --profile"),
    ([*SIMULATE, "--rate", "3"], "--rate belongs to a replica: add --profile"),
    ([*SIMULATE, "--requests", "3"], "--requests belongs to a replica"),
    ([*SIMULATE, *UNIT, "--jobs", "10"], "--jobs belongs to a single server"),
    ([*SIMULATE, *UNIT, "--size", "weibull"], "--size belongs to a single server"),
    ([*SIMULATE, *UNIT, "--seconds-per-token", "1"], "--seconds-per-token belongs to a single server"),
    ([*SIMULATE, "--profile", "a100-llama3-8", *TRACE], "did you mean 'a100-llama3-8b'?"),
    ([*SIMULATE, "--rules", "vllm-v2"], "did you mean 'vllm-v1'?"),
    ([*SIMULATE, "--rules", "vllm-v1:max_seq=3"], "did you mean 'max_seqs'?"),
    ([*SIMULATE, "--rules", "vllm-v1:max_seqs=0"], "max_seqs=0 must be at least 1"),
    ([*SIMULATE, "--rules", "vllm-v1:order=prefill-frist"], "did you mean 'prefill-first'?"),
    ([*SIMULATE, "--lengths", "azur-conv"], "did you mean 'azure-conv'?"),
    ([*SIMULATE, "--lengths", "file:/nowhere.csv"], "/nowhere.csv"),
    ([*SIMULATE, *UNIT, "--lengths", "azure-conv"], "give one of them"),
    ([*SIMULATE, *UNIT, "--load", "0.5", "--rate", "3"], "--load and --rate both set the rate"),
    ([*SIMULATE, "--lengths", "azure-conv", "--rate-scale", "3"], "no trace to scale"),
    ([*SIMULATE, *UNIT, "--load", "1.5"], "load 1.5 is unstable"),
    ([*SIMULATE, *UNIT, "--rate", "0"], "x>0"),
    ([*SIMULATE, *UNIT, "--ttft-slo", "-1"], "x>0"),
    ([*SIMULATE, *UNIT, "--predictor", "lognorml"], "did you mean 'lognormal'?"),
    ([*SIMULATE, *UNIT, "--predictor", "lognormal:sigma=-1"], "sigma=-1"),
    ([*SIMULATE, *UNIT, "--arrivals", "poison"], "did you mean 'poisson'?"),
    ([*SIMULATE, *UNIT, "--format", "azur"], "did you mean 'azure'?"),
    ([*SIMULATE, *UNIT, "--format", "azure"], "no column 'TIMESTAMP'"),
    ([*SIMULATE, *UNIT, "--max-tokens", "3"], "no request is left"),
    ([*SIMULATE, "--profile", "unit", "--trace", "/nowhere.csv"], "/nowhere.csv"),
    ([*SIMULATE, "--profile", "unit", "--trace", "{files}/lengths.csv"], "lengths but no arrivals"),
    ([*SIMULATE, "--profile", "unit", "--trace", "{files}/once.csv", "--rate", "3"], "arrive at one time"),
    ([*SIMULATE, "--profile", "unit:kv_tokens=1000", "--trace", "{files}/long.csv"], "--max-tokens 993"),
    ([*SIMULATE, "--rules", "orca", "--trace", "{files}/long.csv"], "--max-tokens 2048"),
    ([*SIMULATE, "--rules", "vllm-v1:chunked=false", "--trace", "{files}/long.csv"], "raise token_budget=2048 to 4000"),
    (["simulate", "--policy", "gittins", *UNIT], "did you mean 'gittins-lengths'?"),
    (["simulate", "--policy", "{files}/ranks.py:two", *UNIT], "takes 2 arguments; write rank(request, system, params)"),
    (["simulate", "--policy", "{files}/ranks.py:cheat", *UNIT], "true output lengths are hidden"),
    (["simulate", "--policy", "{files}/ranks.py:void", *UNIT], "gives rank NaN"),
    (["simulate", "--policy", "{files}/ranks.py:shortes", *UNIT], "did you mean 'shortest'?"),
    (["compare", "--policies", "fcfs,sfj"], "did you mean 'sjf'?"),
    (["compare", "--policies", ","], "names no policy"),
    (["compare", "--policies", "sjf,sjf"], "'sjf' is named twice"),
    ([*COMPARE, "--metric", "e2"], "'e2e'"),
    ([*COMPARE, "--plot", "x.gif"], ".png, .svg, .pdf"),
    ([*COMPARE, "--plot", "/nowhere/x.png"], "no such folder"),
    ([*COMPARE, "--load", "2"], "unstable"),
    ([*COMPARE, "--profile", "unit", *TRACE, "--rules", "vllm-v1:horizon=3"], "left requests undone"),
    ([*COMPARE, "extra"], "extra"),
]


@pytest.mark.parametrize("args, told", WRONG, ids=[" ".join(args) for args, _ in WRONG])
def test_wrong_input_is_told_in_one_line(run, files, args, told):
    status, out, err = run(*(arg.format(files=files) for arg in args))
    assert (status, out) == (2, "")
    assert err.startswith("llmqueue: error: ") and err.count("\n") == 1 and err.endswith("\n")
    assert told in err
