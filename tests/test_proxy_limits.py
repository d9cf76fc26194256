"""What the exported proxy refuses: bodies, addresses and options that are none, and whoever takes too long."""

import json
import socket
import threading
import time

import pytest
from proxied import PATHS, SLOW, httpx, until


def test_too_long_a_body_is_refused(proxied):
    one = proxied(options=["--max-body", "1000"])
    for content in (b"x" * 1001, iter([b"x" * 600, b"x" * 600])):  # with its length told, and piece by piece
        answer = httpx.post(one.url + PATHS[0], content=content)
        assert answer.status_code == 413 and answer.json()["error"]["type"] == "invalid_request_error"
    assert one.post(max_tokens=1).status_code == 200 and len(one.engine.seen) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"a"', b"\xff", b"[" * 100_000, b'{"a":' + b"9" * 5000 + b"}"])
def test_what_is_no_object_is_refused(proxied, content):
    one = proxied()
    answer = httpx.post(one.url + PATHS[0], content=content)
    assert answer.status_code == 400 and set(answer.json()["error"]) == {"message", "type", "param", "code"}
    assert not one.engine.seen


def test_time_is_limited(proxied):
    one = proxied(options=["--timeout", "1"])
    answer = one.post("whole", max_tokens=1, pause=5)
    assert answer.status_code == 504 and answer.json()["error"]["type"] == "timeout"
    with pytest.raises(httpx.RemoteProtocolError), httpx.stream("POST", one.url + PATHS[0], json=SLOW) as answer:
        answer.read()
    assert answer.status_code == 200
    until(lambda: one.engine.seen[-1]["end"] == "cancelled")
    assert [line["status"] for line in one.log(2)] == [504, 200] and "in time" in one.log(2)[1]["error"]
    with socket.create_connection(("127.0.0.1", one.served.port)) as slow:  # a body that does not come
        slow.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{")
        assert b" 504 " in slow.recv(100)


def test_stream_that_breaks_off_ends_with_an_error(proxied):
    one, pieces = proxied(), []

    def read():
        with pytest.raises(httpx.RemoteProtocolError), httpx.stream("POST", one.url + PATHS[0], json=SLOW) as answer:
            pieces.extend(answer.iter_raw())

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: len(pieces) > 3)
    one.fake.crash()
    reader.join()
    told = json.loads(b"".join(pieces).rstrip().rpartition(b"data: ")[2])
    assert told["error"]["code"] == 502 and told["error"]["type"] == "bad_gateway"
    assert one.post().status_code == 502  # nobody is there
    assert [line["status"] for line in one.log(2)] == [200, 502]
    one.fake.start()
    assert one.post(max_tokens=2).status_code == 200


def test_queue_is_limited(proxied):
    one = proxied(options=["--window", "1", "--max-waiting", "1"])
    bodies = {"w": {"max_tokens": 1}, "x": {"max_tokens": 1}, "y": {"max_tokens": 1}}
    answers = one.at_once(bodies, lambda answers: len(answers) == 2)
    assert sorted(answer.status_code for answer in answers.values()) == [200, 200, 503, 503]
    refused = next(answer for answer in answers.values() if answer.status_code == 503)
    assert refused.headers["retry-after"] == "1" and refused.json()["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize("path", ["/v1/x/../chat/completions", "/v1/./chat/completions", "/v1/%2e/completions", "/.."])
def test_paths_with_dots_are_refused(proxied, path):
    """An engine may take them for those that go in order, and would read the priority of the sender."""
    one = proxied()
    status, answer = raw(one, path)
    assert status == 400 and answer["error"]["type"] == "invalid_request_error" and not one.engine.seen


def test_paths_with_more_slashes_go_in_order(proxied):
    one = proxied()
    for path in ("//v1/chat/completions", "/v1//chat/completions", "/v1/chat/completions/", "/v1%2Fchat/completions"):
        raw(one, path)
    assert [(line["priority"], line["predicted"]) for line in one.log(4)] == [(1_000_000, 1)] * 4


@pytest.mark.parametrize("path", ["/v1/" + "a" * 60_000, "/v1/models#a", "/v1/a?x#b"])
def test_addresses_that_are_none_are_refused(proxied, path):
    status, answer = raw(proxied(options=["--timeout", "5"]), path, base="/" + "c" * 9000)
    assert status == 400 and answer["error"]["type"] == "invalid_request_error"


def raw(one, path, base=""):
    """Post to a path as it stands; `base` is that of the engine's address."""
    if base:
        one.proxy._base = one.proxy._base.copy_with(raw_path=base.encode())
    data = b'{"max_tokens": 1, "priority": -9}'
    with socket.create_connection(("127.0.0.1", one.served.port)) as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(data)}\r\nconnection: close\r\n\r\n"
        connection.sendall(head.encode() + data)
        head, _, body = b"".join(iter(lambda: connection.recv(65_536), b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body) if body.startswith(b"{") else None


def test_failure_of_its_own_is_told_as_others_are(proxied, monkeypatch):
    one = proxied()
    monkeypatch.setattr(one.proxy, "_rank", lambda shown: 1 / 0)
    answer = one.post()
    assert answer.status_code == 500 and answer.json()["error"]["type"] == "server_error"
    (line,) = one.log(1)
    assert line["status"] == 500 and "ZeroDivisionError" in line["error"]


def test_long_bodies_hold_nobody_up(proxied):
    """Four million tokens: others are answered meanwhile."""
    one, done = proxied(), threading.Event()
    body = b'{"max_tokens": 1, "prompt": [' + b"1," * 4_000_000 + b"1]}"

    def post():
        assert httpx.post(one.url + PATHS[1], content=body, timeout=60).status_code == 200
        done.set()

    sender = threading.Thread(target=post)
    sender.start()
    waits = []
    while not done.is_set():
        start = time.monotonic()
        one.post(max_tokens=1)
        waits.append(time.monotonic() - start)
    sender.join()
    long = next(line for line in one.log(1 + len(waits)) if line["prompt"] > 100)
    assert long["prompt"] == 4_000_001
    assert max(waits) < 0.7 * (long["end"] - long["arrival"])  # 0.97 where the proxy does nothing else meanwhile


def test_bodies_are_written_as_they_are(proxy_modules):
    parts = {"a": list(range(25_000)), "b": [[1] * 10_001, [], {"é": None}], "c": {"d": [True, 1.5, "x"], "e": {}}}
    assert proxy_modules.proxy.written(parts) == json.dumps(parts).encode()


def test_heads_that_do_not_come_are_not_waited_for(proxied, monkeypatch):
    one = proxied()
    monkeypatch.setattr(one.modules.serve, "HEAD", 0.8)
    whole, half = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n", b"GET /v1/mod"
    for sent, then in ((b"", b""), (half, b""), (whole, half), (whole + half, b"")):
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", one.served.port)) as silent:
            silent.sendall(sent)
            silent.settimeout(4)  # less than the 5 s for which uvicorn keeps an idle connection
            if then:
                assert silent.recv(65_536)
                silent.sendall(then)
            while silent.recv(65_536):
                pass
            assert time.monotonic() - start > 0.7
    assert one.post("slow", max_tokens=10, pause=0.15).status_code == 200  # which takes longer than a head may


@pytest.mark.parametrize(
    "wrong",
    ["--port 99999", "--port -5", "--port x", "--log {}", "--log {}/none/log", "--backend http://[::1", "--backend http://",
     "--backend http://x:99999", "--predict {}/wrong.py:f", "--predict {}/none.py:f", "--predict {}/wrong.txt"],
)  # fmt: skip
def test_wrong_options_are_told_in_one_line(proxy_modules, tmp_path, capsys, wrong):
    (tmp_path / "wrong.py").write_text("def f(body:\n")
    name, value = wrong.format(tmp_path).split()
    with pytest.raises(SystemExit) as ended:
        given = ["--backend", "http://x", "--engine", "vllm", "--window", "1", "--log", "-", name, value]
        proxy_modules.serve.app_of(proxy_modules.serve.arguments(given))
    *usage, line = capsys.readouterr().err.splitlines()
    assert ended.value.code == 2 and name in line and "error: " in line
    assert not usage or usage[0].startswith("usage:")
