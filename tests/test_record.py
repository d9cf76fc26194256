"""Logs of engines as traces: what is taken, what is left out and told, and the loop from a proxy's log to a run."""

import gzip
import json

import numpy as np
import pytest

from llmqueue_gym.cli import main
from llmqueue_gym.errors import BadInput
from llmqueue_gym.evaluation.rows import write_columns
from llmqueue_gym.profiles.files import read_profile
from llmqueue_gym.workloads.traces import load_trace
from llmqueue_gym.workloads.traces.recording import AGAIN, OUT_OF_ORDER, WRONG
from llmqueue_gym.workloads.traces.request_logs import BY_LETTERS, BY_PIECES, NOT_PREDICTED, read_request_log
from llmqueue_gym.workloads.traces.vllm_requests import ROUGH

STAMP = "(APIServer pid=23489) {} 11-30 06:04:{:02d} [entrypoints/.../utils/request_logger.py:112] "


def line(k, **other):
    """Return a line of a proxy's log, of the k-th request."""
    usual = {"arrival": 1796017119.25 + k, "sent": 1796017119.5 + k, "first_token": None, "end": 1796017120.0 + k}
    counts = {"prompt": 11, "prompt_tokens": 7, "output_tokens": 3 + k, "counted": "engine", "predicted": 4.0}
    return json.dumps(
        {"id": f"r{k}", **usual, **counts, "class": 0, "tenant": 0, "status": 200, "error": None, **other}
    )


def written(path, *lines):
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def run(capsys):
    """Return what runs a command and gives what it prints; with a status, what it says of an error."""

    def ran(*words, status=0):
        with pytest.raises(SystemExit) as ended:
            main(words)
        said = capsys.readouterr()
        assert ended.value.code == status, said.err
        return said.err if status else said.out

    return ran


def test_log_of_a_proxy(tmp_path):
    """Sorted by arrival though written by end; what the engine did not count is told."""
    log = written(
        tmp_path / "log",
        line(2, **{"class": 1}),
        line(0, prompt_tokens=None),
        line(1, counted="proxy", first_token=1796017120.5),
    )
    found = read_request_log([log])
    assert found.kind == "proxy" and found.notes == {BY_LETTERS: 1, BY_PIECES: 1} and not found.left_out
    write_columns(tmp_path / "trace.csv", found.columns())
    trace = load_trace(tmp_path / "trace.csv")
    assert trace.arrival_s.tolist() == [0, 1, 2] and trace.prompt_tokens.tolist() == [11, 7, 7]
    assert trace.output_tokens.tolist() == [3, 4, 5] and trace.klass.tolist() == [0, 0, 1] and trace.tenant is None
    head, first, second, _ = (tmp_path / "trace.csv").read_text().splitlines()
    assert head == "arrival_s,prompt_tokens,output_tokens,class,predicted_tokens,sent_s,first_token_s,end_s"
    assert first == "0.0,11,3,0,4.0,0.25,,0.75" and second.endswith(",1.25,1.25,1.75")


BAD = {
    "of no known log": ["{", "no line", "[1]", '{"a": 1}', "x" * (2**24 + 5), "\x00", "[" * 100_000],
    "cancelled": [line(5, status=499)],
    "failed": [line(5, status=502), line(5, error="the engine broke off"), line(5, status=None)],
    "without arrival or tokens": [
        line(5, arrival=None),
        line(5, arrival="soon"),
        line(5, arrival=True),
        line(5, output_tokens=0),
        line(5, output_tokens=2.5),
        line(5, output_tokens=10**400),
        line(5, prompt_tokens=None, prompt=None),
        line(5, arrival=[1]),
        line(5, prompt_tokens={}, prompt=[]),
    ],
    WRONG: [
        line(5, **{"class": 1e308}),
        line(5, **{"class": -1}),
        line(5, **{"class": 0.5}),
        line(5, **{"class": [1]}),
        line(5, tenant=10**12),
        line(5, tenant={"a": 1}),
        line(5, predicted=1e300),
        line(5, predicted=-1),
        line(5, predicted="much"),
        line(5, arrival=1e300),
        line(5, arrival=-1e300),
        line(5, end=1e300),
        line(5, sent=True),
    ],
    OUT_OF_ORDER: [line(5, end=1796017119.0), line(5, sent=1796017119.0), line(5, first_token=1796017130.0)],
    "not of the kind 'proxy'": [STAMP.format("INFO", 1) + "hello", '{"resourceSpans": []}'],
}


@pytest.mark.parametrize(("why", "bad"), [(why, bad) for why, lines in BAD.items() for bad in lines])
def test_bad_line_is_left_out_and_told(tmp_path, why, bad):
    log = written(tmp_path / "log", line(0), line(1), "", bad, line(2), bad)
    found = read_request_log([log])
    why = "not of the kind 'proxy'" if why == "of no known log" else why
    assert len(found.served) == 3 and found.left_out == {why: 2} and found.first == {why: 3} and found.lines == 5


def test_bytes_cut_off_and_packed_parts(tmp_path):
    (tmp_path / "log").write_bytes(b"\xff\xfe\n" + line(1).encode() + b"\n" + line(2).encode()[:50])
    with gzip.open(tmp_path / "log.1.gz", "wt") as stream:
        stream.write(line(0))
    found = read_request_log([tmp_path / "log.1.gz", tmp_path / "log"])
    assert [one.output for one in found.served] == [3, 4] and sum(found.left_out.values()) == 2


def test_byte_order_marks_hide_no_request(tmp_path):
    parts = [written(tmp_path / f"log.{k}", "\ufeff" + line(k)) for k in range(2)]
    found = read_request_log(parts)
    assert len(found.served) == 2 and not found.left_out


def test_a_log_that_is_given_twice_counts_once(tmp_path):
    log = written(tmp_path / "log", line(0), line(1))
    found = read_request_log([log, written(tmp_path / "copy", line(1), line(2))])
    assert (
        [one.output for one in found.served] == [3, 4, 5] and found.left_out == {AGAIN: 1} and found.first[AGAIN] == 3
    )


def test_logs_of_two_kinds_are_refused(tmp_path):
    log, other = written(tmp_path / "log", line(0)), written(tmp_path / "other", '{"resourceSpans": []}')
    with pytest.raises(BadInput, match=r"other is a log of kind 'spans', .*log of 'proxy'; record one at a time"):
        read_request_log([log, other])


@pytest.mark.parametrize(("predicted", "without"), [((4.0, None, None), 2), ((4.0, 5, "6.5"), 0), ((None,) * 3, 0)])
def test_predictions_that_some_lack_are_told(tmp_path, predicted, without):
    found = read_request_log([written(tmp_path / "log", *(line(k, predicted=p) for k, p in enumerate(predicted)))])
    assert found.notes == ({NOT_PREDICTED: without} if without else {})
    assert ("predicted_tokens" in found.columns()) == (None not in predicted)


VLLM = [
    "a banner",
    "DEBUG 11-30 06:04:1 Request broken details: prompt: 'x', prompt_token_ids: [1], prompt_embeds shape: None.",
    STAMP.format("DEBUG", 16)
    + "Request chatcmpl-a details: prompt: 'prompt_token_ids: [1, 2, 3, 4]\\n', prompt_token_ids: [5, 6, 7], "
    "prompt_embeds shape: None.",
    STAMP.format("INFO", 16) + "Received request chatcmpl-a: params: SamplingParams(n=1), lora_request: None.",
    STAMP.format("DEBUG", 17) + "Generated response chatcmpl-a (streaming delta) details: output_token_ids: [4, 5]",
    STAMP.format("DEBUG", 18)
    + "Request cmpl-b-0 details: prompt: 'x', prompt_token_ids: [1], prompt_embeds shape: None.",
    STAMP.format("INFO", 18) + "Received request cmpl-b-0: params: SamplingParams(n=1), lora_request: None.",
    STAMP.format("DEBUG", 19) + "Generated response chatcmpl-a (streaming delta) details: output_token_ids: [6]",
    STAMP.format("DEBUG", 19) + "Generated response chatcmpl-a (streaming complete) details: output_token_ids: None",
    STAMP.format("DEBUG", 20) + "Generated response cmpl-b details: output_token_ids: (4, 5, 6, 7)",
    STAMP.format("INFO", 21) + "Received request chatcmpl-c: params: SamplingParams(n=1), lora_request: None.",
]


def test_log_of_vllm(tmp_path):
    """Text as vLLM 0.33.0 writes it, coloured or not; the prompt's own text fools nobody."""
    for lines in (VLLM, [f"\x1b[32m{one}\x1b[0m" for one in VLLM]):
        found = read_request_log([written(tmp_path / "log", *lines)])
        assert [(one.prompt, one.output) for one in found.served] == [(3, 3), (1, 4)] and found.kind == "vllm"
        assert np.diff([one.arrival for one in found.served]) == [2.0] and found.served[0].end is not None
        assert found.left_out == {"without prompt tokens": 1} and found.notes == {ROUGH: 2}


def test_log_of_vllm_as_json(tmp_path):
    lines = [
        json.dumps({"asctime": f"2026-11-30 06:04:{one.split(':')[2][:2]},250", "message": one.partition("] ")[2]})
        for one in VLLM[2:]
    ]
    found = read_request_log([written(tmp_path / "log", *lines)])
    assert [(one.prompt, one.output) for one in found.served] == [(3, 3), (1, 4)] and not found.notes


def test_year_goes_by(tmp_path):
    lines = [one.replace("11-30 06:04:18", "01-01 00:00:00") for one in VLLM]
    lines = [one.replace("11-30", "12-31").replace("06:04", "23:59") if "01-01" not in one else one for one in lines]
    lines = [*lines[:7], *(one.replace("12-31 23:59", "01-01 00:01") for one in lines[7:])]
    found = read_request_log([written(tmp_path / "log", *lines)])
    assert np.diff([one.arrival for one in found.served]) == [44.0]


def test_spans(tmp_path):
    def span(start, **told):
        attributes = [{"key": f"gen_ai.{key}", "value": value} for key, value in told.items()]
        return {"name": "llm_request", "startTimeUnixNano": start, "attributes": attributes}

    counts = {"usage.prompt_tokens": {"intValue": "12"}, "usage.completion_tokens": {"intValue": 9}}
    times = {"latency.time_to_first_token": {"doubleValue": 0.5}, "latency.e2e": {"doubleValue": 2.0}}
    spans = [span("1796017119250000000", **counts), span("1796017118250000000", **counts, **times)]
    spans += [{"name": "other"}, span("1796017119250000000"), span(None, **counts), 7]
    named = span("1796017119250000000", **counts)
    spans += [{**named, "attributes": [*named["attributes"], {"key": key}]} for key in (["a"], {}, None)]
    spans += [span("1796017119250000000", **counts | {"latency.e2e": {"doubleValue": -1}}), span([1], **counts)]
    spans += [span("1796017119250000000", **counts | {"usage.prompt_tokens": {"arrayValue": [1]}})]
    spans += [{"name": ["llm_request"]}, span("1" * 30, **counts)]
    batch = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}, 1]}, None]})
    found = read_request_log([written(tmp_path / "log", batch, '{"resourceSpans": 3}')])
    assert [(one.prompt, one.output) for one in found.served] == [(12, 9)] * 2 and found.kind == "spans"
    assert found.served[1].arrival - found.served[0].arrival == pytest.approx(1.0, abs=1e-6)
    assert found.served[0].end - found.served[0].first_token == pytest.approx(1.5, abs=1e-6)
    assert found.left_out == {"spans without start or tokens": 4, WRONG: 4, OUT_OF_ORDER: 1}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["x"], "of no known log"),
        ([line(0, status=499)] * 3, "3 cancelled"),
        ([VLLM[3]], "VLLM_LOGGING_LEVEL=DEBUG"),
        ([""], "0 lines"),
    ],
)
def test_nothing_usable_is_told_and_nothing_written(tmp_path, run, lines, words):
    log = written(tmp_path / "log", *lines)
    with pytest.raises(BadInput, match=words):
        read_request_log([log])
    said = run("record", str(log), "--out", str(tmp_path / "trace.csv"), status=2)
    assert words in said and len(said.splitlines()) == 1 and not (tmp_path / "trace.csv").exists()


def test_wrong_places_are_told(tmp_path, run):
    log = str(written(tmp_path / "log", line(0)))
    assert "cannot read" in run("record", str(tmp_path / "none"), "--out", str(tmp_path / "t.csv"), status=2)
    assert "--out" in run("record", log, "--out", str(tmp_path / "none" / "t.csv"), status=2)
    said = run("record", log, "--out", str(tmp_path / "t.csv"), "--profile", str(tmp_path / "p.json"), status=2)
    assert "--enable-logging-iteration-details" in said and sorted(tmp_path.iterdir()) == [tmp_path / "log"]


def test_log_is_not_written_over(tmp_path, run):
    log = written(tmp_path / "log.csv", line(0))
    (tmp_path / "link.csv").symlink_to(log)
    (tmp_path / "twin.csv").hardlink_to(log)
    for name in ("log.csv", "link.csv", "twin.csv"):
        said = run("record", str(log), "--out", str(tmp_path / name), status=2)
        assert "--out" in said and f"would be written over {log}" in said and len(said.splitlines()) == 1
        said = run("record", str(log), "--out", str(tmp_path / "t.csv"), "--profile", str(tmp_path / name), status=2)
        assert "--profile" in said and f"would be written over {log}" in said
    same = str(tmp_path / "t.csv")
    assert "would be written over" in run("record", str(log), "--out", same, "--profile", same, status=2)
    assert log.read_text() == line(0) + "\n" and not (tmp_path / "t.csv").exists()


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_name_says_how_a_trace_is_written(tmp_path, run, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    log = written(tmp_path / "log", line(0), line(1, **{"class": 2}, first_token=1796017120.5))
    run("record", str(log), "--out", str(tmp_path / name))
    trace = load_trace(tmp_path / name)
    assert trace.arrival_s.tolist() == [0, 1] and trace.klass.tolist() == [0, 2]
    start = (tmp_path / name).read_bytes()[:4]
    assert {"t.csv": start == b"arri", "t.csv.gz": start[:2] == b"\x1f\x8b", "t.parquet": start == b"PAR1"}[name]


@pytest.mark.parametrize("name", ["t.json", "t", "t.csv.zst"])
def test_other_endings_are_refused(tmp_path, run, name):
    log = written(tmp_path / "log", line(0))
    said = run("record", str(log), "--out", str(tmp_path / name), status=2)
    assert ".csv, .csv.gz, .parquet" in said and list(tmp_path.iterdir()) == [log]


def test_iterations_become_a_profile(tmp_path, run):
    """By what `profile fit` does: the numbers are the same."""
    iteration = STAMP.format("INFO", 30) + (
        "Engine 000: Iteration({}): 0 context requests, 0 context tokens, {} generation requests, {} generation "
        "tokens, iteration elapsed time: {:.2f} ms, GPU KV cache usage: {:.1f}%"
    )
    rng = np.random.default_rng(0)
    decodes, usage = rng.integers(1, 129, 200), np.round(rng.uniform(1, 90, 200), 1)
    timed = [
        iteration.format(k, n, n, 8 + 0.05 * n + 0.02 * share, share)
        for k, (n, share) in enumerate(zip(decodes, usage, strict=True))
    ]
    log = written(tmp_path / "log", STAMP.format("INFO", 1) + "GPU KV cache size: 100,000 tokens", *VLLM, *timed)
    words = [str(log), "--out", str(tmp_path / "t.csv")]
    assert "200 iterations are in it" in run("record", *words)
    told = json.loads(run("record", *words, "--profile", str(tmp_path / "p.json"), "--json"))
    assert told["iterations"] == 200 and told["requests"] == 2 and told["left_out"]
    run("profile", "fit", str(log), "--out", str(tmp_path / "other.json"))
    one, other = (read_profile(str(tmp_path / name)) for name in ("p.json", "other.json"))
    assert one.numbers.tolist() == other.numbers.tolist() and one.kv_tokens == other.kv_tokens == 100_000


def test_loop_closes(tmp_path, run):
    """Requests through an exported proxy, its log as a trace, and that simulated under the policy that was exported."""
    proxied = pytest.importorskip("proxied", reason="the extra [proxy] is not installed")
    one = proxied.Proxied(tmp_path, "sjf", ["--window", "4"])
    try:
        lengths = {f"r{k}": 1 + k for k in range(24)}
        one.at_once({name: {"max_tokens": n, "prompt": "x" * 40} for name, n in lengths.items()})
        one.post("bad", fail=500)
        lines = one.log(25)
    finally:
        one.close()
    trace = str(tmp_path / "trace.csv")
    told = json.loads(run("record", str(tmp_path / "log.jsonl"), "--out", trace, "--json"))
    assert told["requests"] == 24 and told["left_out"]["failed"]["count"] == 1
    recorded = load_trace(trace)
    by_arrival = sorted((row for row in lines if row["status"] == 200), key=lambda row: row["arrival"])
    assert recorded.output_tokens.tolist() == [lengths[row["id"]] for row in by_arrival]
    assert set(recorded.prompt_tokens.tolist()) == {7}
    words = ["--trace", trace, "--profile", "a100-llama3-8b", "--json"]
    found = {policy: json.loads(run("simulate", "--policy", policy, *words)) for policy in ("sjf", "fcfs")}
    assert all(one["workload"] == trace for one in found.values())
