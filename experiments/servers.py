"""Servers in processes of their own: an exported proxy, and what stands behind it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmqueue_gym.export import export

PAUSE = 0.05  # s before each piece of an answer
START = 300.0  # s that a server may take until it listens
_HERE = Path(__file__).parent


@dataclass
class Server:
    """A process, with those that it starts, that listens at a port."""

    command: list[str]
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process = subprocess.Popen(self.command, start_new_session=True)
        end = time.monotonic() + START
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        self.kill()
        raise RuntimeError(f"{self.command[1]} does not start")

    def kill(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    @property
    def memory(self) -> float:
        """Its resident memory, MiB."""
        assert self.process is not None
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass
class Proxied:
    """A proxy before an engine.

    Attributes:
        engine: behind the proxy.
        proxy: of `sjf`.
        log: the proxy's.
        notes: file with what happened in the scheduler's queue, which vLLM's engine alone writes.
    """

    engine: Server
    proxy: Server
    log: Path
    notes: Path

    def logged(self, n: int) -> list[dict[str, Any]]:
        """Return the lines of the log, when there are n or 5 s later; those who went away last come late."""
        for _ in range(100):
            lines = lines_of(self.log)
            if len(lines) == n:
                break
            time.sleep(0.05)
        return lines


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Return the JSON objects of a file, none where there is no file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@contextlib.contextmanager
def proxied(folder: Path, seats: int, window: int | None, vllm: str | None = None, names: int = 0) -> Iterator[Proxied]:
    """Export a proxy into a folder and run it before an engine that is priority scheduled.

    Args:
        folder: for the export, the log and what else is written.
        seats: of the engine.
        window: of the proxy.
        vllm: the Python of an environment with vLLM, whose own server it then is, else `fake_openai.py`.
        names: that vLLM's made-up model knows, n0, n1, ...
    """
    made = export("sjf", "priority-proxy", folder / "proxy")
    log, notes = folder / "log.jsonl", folder / "notes.jsonl"
    here, there = _free_port(), _free_port()
    if vllm:
        given = ["--names", str(names), "--pause", str(PAUSE), "--notes", str(notes), "--folder", str(folder)]
        command = [vllm, str(_HERE.parent / "tests" / "engines" / "serve_vllm.py"), *given]
    else:
        command = [sys.executable, str(_HERE / "fake_openai.py")]
    engine = Server([*command, "--port", str(there), "--seats", str(seats)], there)
    options = ["--backend", f"http://127.0.0.1:{there}", "--engine", "vllm", "--port", str(here), "--log", str(log)]
    options += ["--window", str(window)] if window else []
    proxy = Server([sys.executable, str(made / "llmqueue_proxy.py"), *options], here)
    try:
        engine.start()
        proxy.start()
        yield Proxied(engine, proxy, log, notes)
    finally:
        proxy.kill()
        engine.kill()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
