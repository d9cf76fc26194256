"""What the exported proxy writes down, and what an export of it consists of."""

import ast
import json
import sys

from proxied import PATHS, httpx, modules_of

from llmqueue_gym.errors import BadInput
from llmqueue_gym.export import export
from llmqueue_gym.policies.serving import SERVING_POLICIES, ServingPolicy
from llmqueue_gym.workloads.traces.request_logs import read_request_log

ALLOWED = {"starlette", "httpx", "uvicorn", "numpy"}


# The log.


def test_log_tells_times_and_tokens(proxied):
    one = proxied()
    one.post("a", max_tokens=3, stream=True, pause=0.02, model="m")
    one.post("b", max_tokens=3, stream=True, stream_options={"include_usage": True})
    one.post("c", max_tokens=3)
    one.post("d", fail=500)
    log = one.log(4)
    counted = [(line["prompt_tokens"], line["output_tokens"], line["counted"]) for line in log]
    assert counted == [(None, 3, "proxy"), (7, 3, "engine"), (7, 3, "engine"), (None, None, None)]
    line = log[0]
    assert (
        line["arrival"] <= line["queued"] <= line["sent"] < line["first_token"] < line["end"] and line["model"] == "m"
    )
    assert tuple(line) == one.modules.log.FIELDS and line["priority"] == 3_000_000 and line["stream"]


def test_log_holds_what_utf_8_can_say(proxied):
    """A request is served whatever its model is called, and its line is one that a trace is made of."""
    one = proxied()
    body = b'{"model": "\\ud800x", "max_tokens": 2}'
    assert httpx.post(one.url + PATHS[0], content=body).status_code == 200
    (line,) = one.log(1)
    assert line["model"] == "?x"
    assert len(read_request_log([one._log]).served) == 1


def test_log_is_cut_at_a_size(proxy_modules, tmp_path):
    log = proxy_modules.log.RequestLog(tmp_path / "log", most=2000, files=2)
    for k in range(200):
        log.write({"id": str(k)})
    log.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log", "log.1", "log.2"] and all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["id"] == "199"


def test_meter_holds_little_and_finds_the_usage(proxy_modules):
    meter = proxy_modules.log.Meter(events=True)
    event = b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'
    stream = event * 5000 + b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 9}}\n\n'
    for k in range(0, len(stream), 1013):  # in the midst of lines
        meter.feed(stream[k : k + 1013])
    assert meter.pieces == 5000 and meter.usage() == [3, 9]
    assert len(meter._held) <= proxy_modules.log.USAGE
    odd = proxy_modules.log.Meter(events=False)
    odd.feed(b'{"usage": {"completion_tokens": true}, "usage": {"input_tokens": 4, "output_tokens": 5}, "x": "usage"}')
    assert odd.usage() == [4, 5]
    of_responses = proxy_modules.log.Meter(events=True)
    of_responses.feed(b'data: {"type":"response.output_text.delta","delta":"x"}\n\ndata: {"type":"response.completed",')
    of_responses.feed(b'"response":{"text":"x","usage":{"input_tokens":1,"output_tokens":1}}}\n\n')
    assert of_responses.pieces == 1 and of_responses.usage() == [1, 1]


def test_usage_is_found_wherever_it_stands(proxy_modules):
    """Before what is longer than any tail, and cut anywhere; what no engine can have counted is none."""
    usage = b'"usage": {"prompt_tokens": 3, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 1}}'
    text = b'{"choices": [{"text": "\\"usage\\": {}"}], ' + usage + b', "ids": [' + b"12345, " * 20_000 + b"1]}"
    for step in (1, 7, 1013, len(text)):
        meter = proxy_modules.log.Meter(events=step == 7)
        for k in range(0, min(len(text), 2000 * step), step):
            meter.feed(text[k : k + step])
        assert meter.usage() == [3, 9] and len(meter._held) <= proxy_modules.log.USAGE
    meter.feed(b'{"usage": {"prompt_tokens": 4, "completion_tokens": ' + b"9" * 40 + b"}}")
    assert meter.usage() == [4, None]


# What is written out.


def test_needs_only_what_it_says(tmp_path):
    folder = export("learned-llm", "priority-proxy", tmp_path / "out")
    card = json.loads((folder / "card.json").read_text())
    assert {path.name for path in folder.iterdir()} == set(card["files"])
    for path in folder.glob("*.py"):
        tree = ast.parse(path.read_text())
        names = [one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names]
        names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        outer = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names)
        assert {name for name in outer if not name.startswith("llmqueue_")} <= ALLOWED
    readme = (folder / "README.md").read_text()
    assert card["run"] in readme and "--max-num-seqs 81" in readme and "--max-running-requests 81" in readme


def test_every_policy_is_exported_or_refused_in_one_line(tmp_path):
    refused = {}
    for name in SERVING_POLICIES:
        try:
            export(name, "priority-proxy", tmp_path / "out")
        except BadInput as error:
            refused[name] = str(error)
    assert all("\n" not in line for line in refused.values())
    assert {"sprpt", "las", "vtc", "hrrn-like", "least-laxity"} <= set(refused)
    assert not {"fcfs", "sjf", "ssjf", "edf", "remaining-seconds", "class-priority"} & set(refused)


def still(request, system, params):
    return -request.prompt


def moving(request, system, params):
    return request.arrival - system.clock


def test_function_that_reads_no_clock_needs_no_window(tmp_path):
    """Functions of a user count as ageing, but what reads neither clock nor queue does not move."""
    for function, moves in ((still, False), (moving, True)):
        folder = export(ServingPolicy.from_function(function), "priority-proxy", tmp_path / "out")
        assert ("--window" in json.loads((folder / "card.json").read_text())["run"]) == moves
        assert moves == modules_of(folder).rank.MOVES
