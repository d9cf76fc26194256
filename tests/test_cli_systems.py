"""The command line system by system: simulation beside theory, what a replica tells, and what each refuses."""

from dataclasses import replace

import pytest

from llmqueue_gym import _jit
from llmqueue_gym.distributions import size_law
from llmqueue_gym.evaluation.serving import LATENCIES, SERVING_METRICS
from llmqueue_gym.policies.dispatch import DISPATCH_POLICIES
from llmqueue_gym.policies.moldable import MOLDABLE
from llmqueue_gym.policies.packing import PACKING
from llmqueue_gym.profiles import profile
from llmqueue_gym.profiles.files import write_profile
from llmqueue_gym.theory import MMk, PowerOfD, erlang_a, erlang_b, erlang_c, fastest_first, pooled, srpt_bracket

slow_uncompiled = pytest.mark.skipif(_jit.DISABLED, reason="too slow uncompiled")
RANKS = """def shortest(request, system, params):
    return request.first_predicted


def two(job, params):
    return job.predicted


def cheat(request, system, params):
    return request.output


def void(request, system, params):
    return (request.arrival - request.arrival) / (request.arrival - request.arrival)
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "ranks.py").write_text(RANKS)
    header = "arrival_s,prompt_tokens,output_tokens\n"
    (folder / "trace.csv").write_text(header + "".join(f"{k / 4},{40 + k % 7},{1 + k % 30}\n" for k in range(200)))
    (folder / "long.csv").write_text(header + "0,10,5\n1,10,0\n2,4000,5\n3,10,5\n")
    (folder / "once.csv").write_text(header + "0,10,5\n0,20,5\n")
    (folder / "lengths.csv").write_text("prompt_tokens,output_tokens\n10,5\n20,4\n")
    (folder / "patience.csv").write_text("output_tokens\n0\n1\n2\n")
    return folder


# Several servers: simulation beside theory.

EXACT = [
    ("--policy fcfs --servers 10 --load .9", MMk(10, 0.9).mean_response_time),
    ("--policy las --servers 4 --load .8", MMk(4, 0.8).mean_response_time),
    ("--policy fcfs --speeds 2,1,1 --load .8", fastest_first([2, 1, 1], 3.2).mean_response_time),
    ("--policy fcfs --speeds 2,2 --size exponential:mean=3 --load .7", MMk(2, 0.7, 1.5).mean_response_time),
    ("--policy fcfs --dispatch random --servers 20 --load .7", 1 / 0.3),
    ("--policy fcfs --servers 1 --size deterministic --load .5", 1.5),
    ("--policy fcfs --servers 4 --rate 3.2", MMk(4, 0.8).mean_response_time),
    ("--policy fcfs --needs 2 --servers 8 --load .8", MMk(4, 0.8).mean_response_time),
    ("--policy server-filling --needs 8 --load .7", 1 / 0.3),
    ("moldable --policy one-server --servers 4 --load .8", MMk(4, 0.8).mean_response_time),
]


@slow_uncompiled
@pytest.mark.parametrize("options, exact", EXACT, ids=[options for options, _ in EXACT])
def test_simulation_holds_the_exact_value(run_json, options, exact):
    found = run_json(f"simulate {options} --jobs 200000 --seed 3")
    known = found["theory"][0]
    assert (known["metric"], known["kind"], known["in_ci95"]) == ("mean_response_time", "exact", True)
    assert known["value"] == pytest.approx(exact, rel=1e-4)  # that of SOAP
    low, high = found["ci95"]
    assert low < found["mean_response_time"] < high and low <= exact <= high
    assert found["p50"] < found["p99"] and found["jobs"] == 200_000


@slow_uncompiled
def test_impatient_jobs_against_erlang_a(run_json):
    found = run_json("simulate --policy fcfs --servers 10 --patience exponential:mean=3 --load 1.2 --jobs 200000")
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
    found = run_json("simulate --policy fcfs --dispatch power-of-d:d=2 --servers 200 --load .9 --jobs 400000")
    limit, refined = (known["value"] for known in found["theory"])
    assert limit == pytest.approx(PowerOfD(0.9).mean_response_time())
    assert refined == pytest.approx(PowerOfD(0.9).mean_response_time(200))
    low, high = found["ci95"]
    assert low < refined < high and {known["kind"] for known in found["theory"]} == {
        "limit of many servers",
        "approximation",
    }
    assert (found["dispatch"], found["policy"]) == ("power-of-d:d=2", "fcfs")


@slow_uncompiled
@pytest.mark.parametrize("policy", ["srpt", "sprpt"])
def test_a_bound_is_a_bound(run_json, policy):
    found = run_json(f"simulate --policy {policy} --servers 3 --load .9 --jobs 100000")
    bracket = srpt_bracket(size_law("exponential"), 0.9, 3)
    low, *high = (known["value"] for known in found["theory"])
    assert low == pytest.approx(bracket.low) and low < found["mean_response_time"]
    assert high == (pytest.approx([bracket.high]) if policy == "srpt" else [])
    assert not any("exact" in known["kind"] or "in_ci95" in known for known in found["theory"])


def test_jobs_that_need_several_servers(run_json):
    found = run_json("simulate --policy server-filling --needs 1:0.9,2:0.09,4:0.01 --servers 4 --jobs 3000")
    laws = [size_law("exponential")] * 3
    assert (found["needs"], found["shares"], found["servers"]) == ([1, 2, 4], [0.9, 0.09, 0.01], 4)
    pool = pooled(4, found["shares"], found["needs"], laws, 0.8)
    assert found["theory"][0]["value"] == pytest.approx(pool.mean_response_time)
    assert 0.6 < found["busy_share"] < 1
    bursts = run_json("simulate packing --policy server-filling --needs 8 --arrivals mmpp:ratio=4 --jobs 300")
    assert [known["kind"] for known in bursts["theory"]] == [
        "floor of every policy"
    ]  # the rest is for Poisson arrivals


@slow_uncompiled
def test_every_policy_runs(run_json):
    for name in DISPATCH_POLICIES:
        found = run_json(f"simulate --policy sprpt --dispatch {name} --servers 5 --jobs 60")
        assert found["mean_response_time"] > 0 and found["dispatch"] == name
    for name in PACKING:
        assert run_json(f"simulate --policy {name} --needs 1,8 --jobs 60")["mean_response_time"] > 0
    for name in MOLDABLE:
        assert run_json(f"simulate moldable --policy {name} --jobs 60")["mean_response_time"] > 0


def test_what_theory_does_not_cover_is_played_all_the_same(run_json, run):
    args = "simulate --policy fcfs --servers 3 --arrivals mmpp:ratio=4 --jobs 500"
    assert run_json(args)["theory"] == []
    status, out, err = run(*args.split())
    assert (status, err) == (0, "") and "No formula gives a value" in out
    assert run_json("simulate --policy sprpt --servers 3 --patience weibull --jobs 500")["theory"] == []


# Theory alone.


def test_theory_of_mmk(run_json, run):
    found = run_json("theory --policy fcfs --servers 20 --load .9")
    assert found == run_json("theory central --policy fcfs --servers 20 --load .9")
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
        ("dispatch --policy power-of-d:d=2 --order fcfs --servers 50", "approximation"),
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


# A replica.

UNIT = "--profile unit --trace {files}/trace.csv"
EIGHT = f"{UNIT} --rules vllm-v1:max_seqs=8"


def test_clients_who_wait_for_their_answers(run_json, run):
    found = run_json("simulate --concurrency 3 --requests 40 --policy fcfs --e2e-slo 1000")
    assert found["done"] == 40 and found["rate"] is found["capacity"] is found["load"] is None
    assert found["mean_in_system"] <= 3 and found["attainment"] == 1 and found["e2e_slo"] == 1000
    status, out, err = run(*["compare", "--concurrency", "3", "--requests", "40", "--policies", "fcfs,sjf"])
    assert (status, err) == (0, "") and "3 clients who wait for their answers" in " ".join(out.split())


def test_a_trace_is_served(run_json, run, files):
    options = f"--profile a100-llama3-8b --trace {files}/trace.csv"
    found = run_json(f"simulate --policy fcfs {options}")
    assert set(SERVING_METRICS) | set(LATENCIES) <= set(found)
    assert (found["done"], found["requests"], found["reason"]) == (200, 200, "drained")
    assert found["rate"] == pytest.approx(4) and not found["overloaded"] and 0 < found["load"] < 1
    assert found["predictor"] == "not read by the policy" and found["warmup"] == 0
    assert found["e2e_ci95"][0] < found["e2e"]["mean"] < found["e2e_ci95"][1]
    status, out, err = run(*f"simulate replica --policy sjf {options}".split())
    assert (status, err) == (0, "") and "lognormal:sigma=0.5" in out and "time to first token" in out
    assert "note: estimated in a100-llama3-8b" in out


def test_what_is_doubtful_is_told(run_json, files, tmp_path):
    def notes(options):
        return " ".join(run_json(f"simulate replica --policy fcfs {options}")["notes"])

    trace = f"--trace {files}/trace.csv"
    assert "in another unit" not in notes(trace) and "ttft_slo" not in notes(f"{trace} --ttft-slo 2")
    assert "4e+03 requests/s" in notes(f"{trace} --trace-unit ms") and "--trace-unit tells it" in notes(
        f"{trace} --trace-unit ms"
    )
    assert "ttft_slo is 500 s, an objective that hardly binds; in ms it would be 0.5" in notes(
        f"{trace} --ttft-slo 500"
    )
    write_profile(tmp_path / "mine.json", replace(profile("unit"), error="off by 7 %", estimated="a guess"))
    told = notes(f"{trace} --profile file:{tmp_path}/mine.json --max-tokens 100")
    assert "error of unit: off by 7 %" in told and "estimated in unit: a guess" in told


def test_rates(run_json, files):
    def rate(options=""):
        found = run_json(f"simulate --policy fcfs {UNIT.format(files=files)} {options}")
        return found["rate"], found["load"], found["capacity"]["rate"]

    own = rate()[0]
    assert rate("--rate-scale 0.5")[0] == pytest.approx(own / 2) and rate("--rate 1")[0] == pytest.approx(1)
    got, load, most = rate("--load 0.5")
    assert load == 0.5 and got == pytest.approx(most / 2)
    assert rate("--arrivals mmpp:ratio=2")[0] == pytest.approx(own, rel=0.3)


def test_lengths_come_without_a_trace(run_json):
    found = run_json("simulate --policy fcfs --lengths azure-conv --requests 300")
    assert (found["requests"], found["load"], found["profile"]) == (300, 0.8, "a100-llama3-8b")
    assert found["rate"] == pytest.approx(0.8 * found["capacity"]["rate"]) and found["warmup"] == 0.1
    args = "simulate --policy sjf --lengths constant --rate 5 --requests 100 --seed 4"
    first, again = run_json(args), run_json(args.replace("simulate", "simulate replica"))
    first.pop("seconds_in_kernel"), again.pop("seconds_in_kernel")
    assert first == again


def test_objectives(run, run_json, files):
    args = f"simulate --policy fcfs {UNIT} --rate 0.9".format(files=files)
    assert run_json(f"{args} --ttft-slo 2.5")["attainment"] == 1
    assert run_json(f"{args} --ttft-slo 1.5")["attainment"] < 1
    assert "within the objectives" in run(*args.split(), "--tpot-slo", 1)[1]
    assert "objectives" not in run(*args.split())[1]


def test_a_function_in_a_file_serves(run_json, files):
    options = f"{UNIT} --rules vllm-v1:max_seqs=4".format(files=files)
    mine = run_json(f"simulate {options} --policy {files}/ranks.py:shortest")
    assert mine["e2e"] == run_json(f"simulate {options} --policy vllm-priority")["e2e"]


def test_what_a_reader_has_to_know_is_noted(run, run_json, files):
    args = f"simulate --policy fcfs {UNIT} --rules vllm-v1:max_seqs=4".format(files=files)
    assert run_json(args)["overloaded"] and "note: OVERLOADED: 4 requests/s arrive" in run(*args.split())[1]
    status, out, err = run(*args.replace("max_seqs=4", "max_seqs=64,horizon=20").split())
    assert (status, err) == (0, "") and "note: INCOMPLETE (horizon): " in out and "completed requests only" in out
    args = f"simulate --policy fcfs --profile unit --max-tokens 100 --trace {files}/long.csv"
    assert run_json(args)["left_out"] == {"without_output": 1, "too_long": 1}
    assert "left out of the trace: 1 without output, 1 too long" in run(*args.split())[1]


def test_all_at_once_has_no_load(run_json, files):
    found = run_json(f"simulate --policy fcfs --profile unit --trace {files}/once.csv")
    assert found["rate"] is None and found["load"] is None and found["done"] == 2


def test_without_a_profile_a_trace_meets_one_server(run_json, files):
    found = run_json(f"simulate --policy fcfs --trace {files}/trace.csv --format csv")
    assert found["size"] == "trace" and found["jobs"] == 200 and "ttft" not in found


# What goes wrong.

BOTH = [  # with simulate and theory
    ("--servers 0", "--servers 0 must be a whole number of at least 1"),
    ("--servers 2.5", "not a valid integer"),
    ("--servers 3 --speeds 2,1", "2 speeds for 3 servers"),
    ("--speeds 2,x", "--speeds '2,x' must be numbers"),
    ("--speeds 2,0", "speed 0 of a server"),
    ("--speeds 2,nan", "speed nan of a server"),
    ("--servers 3 --load 1.2", "load 1.2 is unstable"),
    ("--servers 3 --rate 5", "is unstable"),
    ("--servers 3 --load 0 --patience exponential", "--load 0.0 must be positive"),
    ("--servers 3 --load nan --patience exponential", "--load nan"),
    ("--servers 3 --policy sprt", "did you mean 'sprpt'?"),
    ("--servers 3 --policy trail", "add --profile"),
    ("--servers 3 --policy sprpt --predictor none", "predicts nothing"),
    ("--servers 3 --profile a100-llama3-8b", "--profile is an option of replica"),
    ("--dispatch power-of-d --patience exponential", "--dispatch and --patience exclude one another"),
    ("--dispatch power-off-d", "did you mean 'power-of-d'?"),
    ("--dispatch power-of-d:d=0", "d=0"),
    ("--dispatch power-of-d:d=4 --servers 3", "d is at most 3"),
    ("--dispatch random --policy sprt", "did you mean 'sprpt'?"),
    ("--needs 1,2 --speeds 1,1", "--needs and --speeds exclude one another: --needs is an option of packing"),
    ("--needs 1,2 --patience exponential", "--needs and --patience exclude one another"),
    ("--needs 1,2 --dispatch random", "--needs and --dispatch exclude one another"),
    ("--needs 1,2 --load 1", "is unstable"),
    ("--needs 16", "16 servers are more than the 8 there are; take --servers 16"),
    ("--needs 0,1", "needs at least 1"),
    ("--needs 1,x", "must be whole numbers"),
    ("--needs ,", "must be whole numbers"),
    ("--needs 1:0.5,2", "a share above 0"),
    ("--needs 1:0.5,2:0.4", "add up to 0.9"),
    ("--needs 1:-1,2:2", "share above 0"),
    ("--needs 1,2 --policy sprpt", "unknown packing policy 'sprpt'"),
    ("--patience discrete", "unknown size law"),
    ("--patience deterministic:mean=0", "mean"),
    ("--servers 3 --patience empirical:{files}/patience.csv", "'0' is not positive"),
    ("--policy one-server --curves linear", "unknown speed-up"),
]
ALONE = [
    ("simulate --policy fcfs --needs 1,2 --trace /nowhere.csv", "--needs and --trace exclude one another"),
    ("simulate --policy fcfs --servers 3 --arrivals poison", "did you mean 'poisson'?"),
    ("simulate --policy msfq --needs 1,2", "needs of 1 or 8"),
    ("theory --policy fcfs --servers 3 --method soap", "belongs to a single server"),
    ("theory --policy sprpt --servers 3", "no policy is below 1 s; known are fcfs"),
    ("theory --policy fcfs --dispatch join-shortest-queue", "join-shortest-queue with fcfs queues on 10 servers"),
    ("theory --policy sprpt --servers 3 --patience exponential", "known are orders without preemption"),
    ("theory --policy easy --needs 1,2", "known are the pool of server-filling"),
    ("theory --policy sjf --lengths azure-conv", "theory does not know sjf in system replica"),
]
REPLICA = [  # with simulate --policy fcfs
    (f"{UNIT} --jobs 10", "--profile and --jobs exclude one another"),
    (f"{UNIT} --size weibull", "--size is an option of mg1"),
    (f"{UNIT} --seconds-per-token 1", "--profile and --seconds-per-token exclude one another"),
    ("--profile a100-llama3-8", "did you mean 'a100-llama3-8b'?"),
    ("--rules vllm-v2", "did you mean 'vllm-v1'?"),
    ("--rules vllm-v1:max_seq=3", "did you mean 'max_seqs'?"),
    ("--rules vllm-v1:max_seqs=0", "max_seqs=0 must be at least 1"),
    ("--rules vllm-v1:order=prefill-frist", "did you mean 'prefill-first'?"),
    ("--lengths azur-conv", "did you mean 'azure-conv'?"),
    ("--lengths file:/nowhere.csv", "/nowhere.csv"),
    (f"{UNIT} --lengths azure-conv", "give one of them"),
    (f"{UNIT} --load 0.5 --rate 3", "--load 0.5 and --rate 3 both set the rate"),
    (f"{UNIT} --load 0.5 --rate-scale 3", "both set the rate"),
    ("--lengths azure-conv --rate-scale 3", "--rate-scale 3 goes with --trace FILE"),
    (f"{UNIT} --rate 0", "--rate 0.0 must be positive"),
    (f"{UNIT} --ttft-slo -1", "x>0"),
    (f"{UNIT} --predictor lognorml", "did you mean 'lognormal'?"),
    (f"{UNIT} --predictor lognormal:sigma=-1", "sigma=-1"),
    (f"{UNIT} --arrivals poison", "did you mean 'poisson'?"),
    (f"{UNIT} --format azur", "did you mean 'azure'?"),
    (f"{UNIT} --format azure", "no column 'TIMESTAMP'"),
    (f"{UNIT} --max-tokens 3", "no request is left"),
    (f"{UNIT} --max-tokens 0", "--max-tokens 0 must be from 2"),
    ("--profile unit --trace /nowhere.csv", "/nowhere.csv"),
    ("--profile unit --trace {files}/lengths.csv", "lengths but no arrivals"),
    ("--profile unit --trace {files}/once.csv --rate 3", "arrive at one time"),
    ("--profile unit:kv_tokens=1000 --trace {files}/long.csv", "--max-tokens 993"),
    ("--rules orca --trace {files}/long.csv", "--max-tokens 2048"),
    ("--rules vllm-v1:chunked=false --trace {files}/long.csv", "raise token_budget=2048 to 4000"),
    (f"--policy gittins {UNIT}", "did you mean 'gittins-lengths'?"),
    (f"--policy {{files}}/ranks.py:two {UNIT}", "a function rank(request, system, params)"),
    (f"--policy {{files}}/ranks.py:cheat {UNIT}", "true sizes are hidden"),
    (f"--policy {{files}}/ranks.py:void {UNIT}", "gives rank NaN"),
]
CASES = [(f"{command} {options}", told) for command in ("simulate", "theory") for options, told in BOTH]
CASES = [case for case in CASES if case[0] != "theory --servers 3 --policy trail"]
CASES += ALONE + [(f"simulate {options}", told) for options, told in REPLICA]


@pytest.mark.parametrize("command, told", CASES, ids=[command for command, _ in CASES])
def test_wrong_input_is_told_in_one_line(refused, files, command, told):
    policy = "" if "--policy" in command else " --policy fcfs"
    assert told in refused((command + policy).format(files=files))


def test_a_fleet_of_a_file_is_told_by_its_own_profiles(run_json):
    options = ("--policy", "least-work", "--fleet", "example", "--rate", "4", "--requests", "50")
    found = run_json("simulate", "fleet", *options)
    assert found["fleet"] == "example" and found["replicas"] == 5
    assert found["profile"] == "h100-llama3.1-8b, l40s-llama3.1-8b"
    assert [group["profile"] for group in found["groups"]] == ["h100-llama3.1-8b", "l40s-llama3.1-8b"]
    assert "max_seqs=128" in found["groups"][1]["rules"]
    told = " ".join(found["notes"])
    assert "estimated in h100-llama3.1-8b" in told and "estimated in l40s" in told and "a100" not in told


def test_what_moved_and_what_was_lost_is_told(run):
    options = ("simulate", "fleet", "--policy", "least-work")
    told = " ".join(map(str, run(*options, "--fleet", "example", "--rate", "4", "--requests", "50")))
    assert "moved between replicas: 50 times" in told
    told = " ".join(map(str, run(*options, "--rate", "10", "--requests", "300", "--spot", ".01")))
    assert "begun anew, as their replica vanished:" in told


def test_a_comparison_on_a_fleet_of_a_file_names_the_file_alone(run):
    options = ("--policies", "round-robin,least-work", "--fleet", "example", "--rate", "4", "--requests", "50")
    told = " ".join(map(str, run("compare", "fleet", *options)))
    assert "fleet=example" in told and "profile=" not in told and "replicas=4" not in told
