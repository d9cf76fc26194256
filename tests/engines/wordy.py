"""Stands for a GPU and its model in vLLM's own server: answers each prompt with its name and a count.

`serve_vllm.py` starts the server; this is loaded in the engine's process, which has its settings from the environment.
It writes down what happens in the scheduler's queue, looking on from outside: `began`, the engine; `queued`, a request,
with its `priority`; `seated`, when it is first given a seat; `gone`, when it ends or its sender went away.
"""

import json
import os
import time
from concurrent.futures import Future
from typing import Any

from drive_vllm import MadeUp
from made_up_model import NAMES, token_of
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.outputs import ModelRunnerOutput

NOTES = open(os.environ["WORDY_NOTES"], "a", buffering=1)  # noqa: SIM115 (as long as the engine lives)


def note(what: str, name: str, **more: Any) -> None:
    """Write a line."""
    NOTES.write(json.dumps({"what": what, "id": name, **more}) + "\n")


class Wordy(MadeUp):
    """Word k of the answer to n5 is n5:k."""

    size, blocks = 32, 8192

    def _init_executor(self) -> None:
        super()._init_executor()
        self.pause, self.names = float(os.environ["WORDY_PAUSE"]), int(os.environ["WORDY_NAMES"])
        self.asked: dict[str, int] = {}
        note("began", "")

    def collective_rpc(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        return [("generate",)] if method == "get_supported_tasks" else super().collective_rpc(method, *args, **kwargs)

    def execute_model(self, scheduled: Any, non_block: bool = False) -> Any:
        for new in scheduled.scheduled_new_reqs:
            name = new.prompt_token_ids[0] - NAMES
            self.asked[new.req_id], self.made[new.req_id] = name, 0
            note("seated", new.req_id)
        for gone in scheduled.finished_req_ids:
            self.asked.pop(gone, None)
            self.made.pop(gone, None)
        if scheduled.total_num_scheduled_tokens:
            time.sleep(self.pause)
        value = super().execute_model(scheduled)
        return _done(value) if non_block else value

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        ids = list(self.batch.num_scheduled_tokens)
        numbers = {name: k for k, name in enumerate(ids)}
        made = ModelRunnerOutput(
            req_ids=ids, req_id_to_index=numbers, sampled_token_ids=[[self.token(name)] for name in ids]
        )
        return _done(made) if non_block else made

    def token(self, name: str) -> int:
        k = self.made[name]
        self.made[name] = k + 1
        return token_of(self.asked[name], k, self.names)


def watch() -> None:
    """Note who is added to the scheduler and who leaves it."""
    add, finish = Scheduler.add_request, Scheduler.finish_requests

    def added(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        note("queued", request.request_id, priority=request.priority)
        return add(self, request, *args, **kwargs)

    def finished(self: Any, ids: Any, *args: Any, **kwargs: Any) -> Any:
        for name in [ids] if isinstance(ids, str) else list(ids or ()):
            note("gone", name)
        return finish(self, ids, *args, **kwargs)

    Scheduler.add_request, Scheduler.finish_requests = added, finished


def _done(value: Any) -> Any:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


watch()
