"""The exported proxy: what goes through it, what ends it, and many streams at once."""

import json
import re
import socket
import struct
import threading
import time

import pytest
from proxied import PATHS, SLOW, httpx, until

LONG = 1000  # tokens of an answer that no test sees the end of

# What goes through.


def test_answers_pass_byte_for_byte(proxied):
    one = proxied()
    for path in PATHS:
        for body in ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, {}):
            asked = {"json": {"max_tokens": 5, **body}, "headers": {"x-request-id": "a"}}
            here, there = (httpx.post(url + path, **asked) for url in (one.url, one.fake.url))
            assert here.content == there.content and len(here.content) > 50
            assert here.status_code == there.status_code == 200
            assert here.headers == there.headers


def test_pieces_come_as_they_are_made(proxied):
    one, came = proxied(), []
    with httpx.stream("POST", one.url + PATHS[0], json={"max_tokens": 4, "pause": 0.2, "stream": True}) as answer:
        for piece in answer.iter_raw():
            came.append((time.monotonic(), piece))
    assert len(came) >= 5 and came[-1][0] - came[0][0] > 0.5


def test_errors_keys_and_other_paths_pass(proxied):
    one = proxied()
    answer = one.post("b", fail=429)
    assert answer.status_code == 429 and answer.json() == {"error": {"message": "no b"}}
    assert answer.headers["x-why"] == "asked for"
    assert httpx.get(one.url + "/v1/nothing").status_code == 404
    models = httpx.get(one.url + "/v1/models?a=1", headers={"authorization": "Bearer secret"})
    assert models.json() == {"data": [{"id": "fake"}], "key": "Bearer secret"}
    one.post("c", headers={"authorization": "Bearer secret", "x-llmqueue-predicted": "3"}, max_tokens=1)
    seen = one.engine.seen[-1]
    assert seen["headers"]["authorization"] == "Bearer secret" and seen["name"] == "c"
    assert not any(name.startswith("x-llmqueue") for name in seen["headers"])
    assert "secret" not in json.dumps(one.log(2))


# Going away.


def test_cancellation_is_passed_on(proxied):
    one = proxied()
    with httpx.stream("POST", one.url + PATHS[0], json=SLOW, headers={"x-request-id": "a"}) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        assert one.engine.seen[0]["end"] is None
    until(lambda: one.engine.seen[0]["end"])
    assert one.engine.seen[0]["end"] == "cancelled"
    (line,) = one.log(1)
    assert line["status"] == 499 and line["id"] == "a"


def test_who_waits_and_goes_away_leaves_the_queue(proxied):
    one = proxied(options=["--window", "1"])
    with httpx.stream("POST", one.url + PATHS[0], json=SLOW) as answer:
        pieces = answer.iter_raw()
        next(pieces)
        with pytest.raises(httpx.ReadTimeout):
            one.post("gone", timeout=0.3, max_tokens=1)
        until(lambda: not len(one.proxy._window))
    assert one.post("next", max_tokens=1, timeout=5).status_code == 200
    assert [seen["name"] for seen in one.engine.seen][1:] == ["next"]
    assert [(line["status"], line["sent"] is None) for line in one.log(3) if line["id"] == "gone"] == [(499, True)]


# Restart.


def test_restart_of_the_engine(proxied):
    """Who is at the engine is told; who waits is sent when it is back, in order, and none gets another's answer."""
    one = proxied(options=["--window", "2"])
    n, answers = 12, {}

    def ask(k):
        answers[k] = one.post(f"r{k}", stream=True, max_tokens=LONG if k < 2 else 6 + k, pause=0.05)

    threads = [threading.Thread(target=ask, args=(k,)) for k in range(n)]
    for thread in threads[:2]:
        thread.start()
    until(lambda: len(one.engine.served) == 2)
    for thread in reversed(threads[2:]):
        thread.start()
    until(lambda: len(one.proxy._window) == n - 2)
    with pytest.MonkeyPatch.context() as patched:  # an answer that is cut is an error of the thread's
        patched.setattr(threading, "excepthook", lambda given: None)
        one.fake.crash()
        time.sleep(0.6)
        one.fake.start()
        for thread in threads:
            thread.join()
    for k, answer in answers.items():
        pieces = [json.loads(line[6:]) for line in answer.text.split("\n") if line.startswith('data: {"id"')]
        assert [one["choices"][0]["delta"]["content"] for one in pieces] == [f"r{k}:{i} " for i in range(6 + k)]
    assert sorted(answers) == list(range(2, n))  # all but the two that were under way
    sent = [line["predicted"] for line in sorted(one.log(n), key=lambda line: line["sent"])]
    assert sent == [LONG, LONG, *range(8, 6 + n)]


@pytest.mark.parametrize("window", [[], ["--window", "2"]])
def test_connections_that_are_cut_at_once(proxied, window):
    """An engine that ends takes connections and cuts them: with a window who is sent there comes back, to a limit."""
    one = proxied(options=window)
    one.fake.crash()
    dying = socket.create_server(("127.0.0.1", one.fake.port))

    def cut(times):
        for _ in range(times):
            taken, _ = dying.accept()
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # with a reset
            taken.close()
        dying.close()
        one.fake.start()

    cutter = threading.Thread(target=cut, args=(2,))
    cutter.start()
    answers = [one.post(f"r{k}", max_tokens=1) for k in range(1 if window else 2)]
    cutter.join()
    if window:
        assert answers[0].status_code == 200 and one.log(1)[0]["status"] == 200
    for answer in answers if not window else []:
        reason = answer.json()["error"]["message"]
        assert answer.status_code == 502 and re.fullmatch("the engine (broke off|cannot be reached): .+", reason)


def test_request_that_ends_the_engine_does_not_come_back_for_ever(proxied, monkeypatch):
    one = proxied(options=["--window", "2"])
    monkeypatch.setattr(one.modules.window, "RETRY", 0.01)
    one.fake.crash()
    dying, taken = socket.create_server(("127.0.0.1", one.fake.port)), []

    def cut():
        for _ in range(one.modules.proxy.CUTS + 1):
            connection, _ = dying.accept()
            taken.append(connection.recv(65_536))
            connection.close()

    cutter = threading.Thread(target=cut)
    cutter.start()
    assert one.post().status_code == 502
    cutter.join()
    dying.close()
    one.fake.start()
    assert len(taken) == one.modules.proxy.CUTS + 1 and one.post(max_tokens=1).status_code == 200


def test_who_waits_in_vain_is_told_in_time(proxied):
    one = proxied(options=["--window", "2", "--timeout", "1"])
    one.fake.crash()
    start = time.monotonic()
    assert one.post().status_code == 504 and time.monotonic() - start > 0.9
    one.fake.start()
    assert one.post(max_tokens=1).status_code == 200


# Load.


def test_fifty_streams_through_the_proxy_of_the_load_test():
    """One in ten goes away and the server is killed: nothing is lost or mixed up; see the experiment for a thousand."""
    load = pytest.importorskip("proxy_under_load", reason="experiments are not there")
    found = load.trial(50, 2, 8, restart=1, seats=8)
    assert all(load.holds(found, 1).values()), found
    assert 0 < found["told that the engine broke off, by round"][1] <= 8
