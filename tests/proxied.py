"""An exported proxy before a server without a model, both on ports of this machine, for tests."""

import asyncio
import importlib
import json
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from llmqueue_gym.export import export

_WHY = "is not installed: pip install 'llmqueue-gym[proxy]'"
httpx = pytest.importorskip("httpx", reason=f"httpx {_WHY}")
uvicorn = pytest.importorskip("uvicorn", reason=f"uvicorn {_WHY}")
fake_openai = pytest.importorskip("fake_openai", reason=f"starlette {_WHY}")

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
SLOW = {"max_tokens": 200, "pause": 0.05, "stream": True}
PLAIN = httpx.create_ssl_context()  # one for all, as each takes longer than an answer
TURNS = 5  # of a server's loop, in which what it has just taken becomes a connection


def modules_of(folder):
    """Return the modules of an exported proxy by name, without the `llmqueue_`; those of another export stay apart."""
    names = ("rank", "window", "engines", "lengths", "log", "answer", "proxy", "serve")
    sys.path.insert(0, str(folder))
    try:
        return SimpleNamespace(**{name: importlib.import_module(f"llmqueue_{name}") for name in names})
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(f"llmqueue_{name}", None)


class Served:
    """A server in a thread, that can be ended as a crash does, and started again at its port."""

    def __init__(self, app, **how):
        self.app, self.port, self.how = app, 0, how
        self.start()

    def start(self):
        config = uvicorn.Config(self.app, port=self.port, log_level="critical", timeout_graceful_shutdown=1, **self.how)
        config.server_header = config.date_header = False
        self.server = uvicorn.Server(config)
        listening = config.bind_socket()
        self.port = listening.getsockname()[1]
        self.thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self.thread.start()
        until(lambda: self.server.started)

    def _run(self, listening):
        try:
            self.server.run([listening])
        finally:
            listening.close()

    def crash(self):
        """Listen no more and cut all connections, in one moment, as the end of a process does."""
        (listening,) = self.server.servers
        asyncio.run_coroutine_threadsafe(self._die(listening), listening.get_loop()).result()
        self.stop()

    async def _die(self, listening):
        listening.close()
        for _ in range(TURNS):
            for connection in list(self.server.server_state.connections):
                connection.transport.abort()
            await asyncio.sleep(0)

    def stop(self):
        self.server.should_exit = True
        self.thread.join()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"


class Proxied:
    """A proxy before an engine.

    Args:
        folder: to write the export and the log to.
        policy: that is exported.
        options: of the proxy's command line.
        seats: of the engine.
        order: by which the engine goes.
    """

    def __init__(self, folder, policy="sjf", options=(), seats=float("inf"), order="vllm"):
        made, self._log = export(policy, "priority-proxy", folder / "proxy"), folder / "log.jsonl"
        self.engine = fake_openai.Engine(seats, order)
        self.fake = Served(fake_openai.app_of(self.engine))
        self.modules = modules_of(made)
        given = ["--backend", self.fake.url, "--engine", order, "--log", str(self._log), *options]
        self.app = self.modules.serve.app_of(self.modules.serve.arguments(given))
        self.served = Served(self.app, http=self.modules.serve.Timely)
        self.url = self.served.url

    @property
    def proxy(self):
        return self.app.routes[0].app

    def log(self, n):
        """Return the lines of the log when there are n, which come when answers have ended."""
        until(lambda: len(self._log.read_text().splitlines()) >= n)
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        assert len(lines) == n
        return lines

    def close(self):
        self.served.stop()
        self.fake.stop()

    def post(self, name="a", path="/v1/chat/completions", headers=(), timeout=20, **body):
        headers = {"x-request-id": name, **dict(headers)}
        return httpx.post(self.url + path, json=body, headers=headers, timeout=timeout, verify=PLAIN)

    def at_once(self, bodies, there=None):
        """Post bodies by name at one time, each from a thread; returns the answers.

        Where `there` is given, a request named "first" is posted before and holds its seat until that is true of the
        answers, however long the others take to come.
        """
        answers, self.engine.holds = {}, there is not None

        def ask(name, body):
            answers[name] = self.post(name, **body)

        first = {"first": {"max_tokens": 1, "held": True}} if there else {}
        threads = [threading.Thread(target=ask, args=one) for one in (first | bodies).items()]
        for thread in threads[: len(first)]:
            thread.start()
            until(lambda: self.engine.served)
        for thread in threads[len(first) :]:
            thread.start()
        if there:
            until(lambda: there(answers))
        self.engine.holds = False
        for thread in threads:
            thread.join()
        return answers


def until(true, limit=10.0):
    """Wait until something is true."""
    end = time.monotonic() + limit
    while not true():
        assert time.monotonic() < end, "it does not come true"
        time.sleep(0.005)
