"""Drives vLLM's own EngineCore on a computer without a GPU, and writes down what its scheduler decides.

    PYTHON_OF_AN_ENVIRONMENT_WITH_VLLM tests/engines/drive_vllm.py CASES RESULTS

Everything is vLLM's, the core's loop, its scheduler and its blocks, but for the model: its place is taken by an
executor that makes up tokens and lets a clock go on by c0 + c1 * tokens for each batch, when somebody waits for the
result. It needs vLLM, and `made_up_model.py` beside it. It reads a JSON object a line and writes one for each.

A case has `config` and `requests` with the keys of a decision log (see experiments/fidelity/vllm.py), `asynchronous`,
and where a class is to be tried, `scheduler`, "module.Class", with `folder`, in which the module lies; such a class has
its clock set (`now` and `origin`). What a request tells in `vllm_xargs` is its `told`. A request's `out` ends it by
`max_tokens`, or by a stop token where the config's `stop` says "eos".

A result has `vllm`, the version, `scheduler`, the class that ran, and `calls`, a list for each call of `schedule`:
the time, then lists: added, scheduled (id, tokens), admitted (id, tokens computed before, whether it comes back),
preempted, running, waiting (the head first), then the free blocks, who finished, and the free blocks after that.
"""

import json
import logging
import os
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

os.environ.update(
    HF_HUB_OFFLINE="1", VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR", PYTHONHASHSEED="0", CUDA_VISIBLE_DEVICES=""
)
logging.disable(logging.WARNING)

import torch  # noqa: E402
import vllm  # noqa: E402
from made_up_model import STOP, made_up_model  # noqa: E402
from vllm.config import CacheConfig, DeviceConfig, ModelConfig, SchedulerConfig, VllmConfig  # noqa: E402
from vllm.sampling_params import SamplingParams  # noqa: E402
from vllm.v1.engine import EngineCoreRequest  # noqa: E402
from vllm.v1.engine.core import EngineCore  # noqa: E402
from vllm.v1.executor.abstract import Executor  # noqa: E402
from vllm.v1.kv_cache_interface import FullAttentionSpec  # noqa: E402
from vllm.v1.outputs import ModelRunnerOutput  # noqa: E402

TEXT, OUTPUTS = 1 << 20, 1 << 16  # token `pos` of text `seg` is seg * TEXT + pos; see a log's `token_rule`
SAME = ("max_num_batched_tokens", "max_num_seqs", "max_model_len", "enable_chunked_prefill", "policy")
SAME += ("long_prefill_token_threshold", "scheduler_reserve_full_isl", "watermark", "max_num_active_seqs")


class Clock:
    """The time of a run, s."""

    now = 0.0


class Later(Future):  # type: ignore[type-arg]
    """What a batch gives: not there before somebody waits for it, and then the clock goes on."""

    def __init__(self, value: Any, seconds: float):
        super().__init__()
        self.value, self.seconds, self.known = value, seconds, False

    def done(self) -> bool:
        return self.known

    def result(self, timeout: float | None = None) -> Any:
        if not self.known:
            Clock.now += self.seconds
            self.known = True
        return self.value


class MadeUp(Executor):
    """Stands for a GPU and its model."""

    blocks = size = 0
    cost = (0.0, 0.0)  # s for a batch, and for each of its tokens
    ends: ClassVar[
        dict[str, tuple[int, bool]]
    ] = {}  # by request: output tokens, and whether the last one is a stop token

    def _init_executor(self) -> None:
        self.batch: Any = None
        self.made: dict[str, int] = {}
        self.scheduler: Any = None

    @property
    def max_concurrent_batches(self) -> int:
        """Return how many batches are under way at once; the executor says it in 0.19.1, the configuration later."""
        return 2 if self.vllm_config.scheduler_config.async_scheduling else 1

    def collective_rpc(
        self, method: Any, timeout: Any = None, args: Any = (), kwargs: Any = None, non_block: bool = False, **_: Any
    ) -> Any:
        spec = FullAttentionSpec(block_size=self.size, num_kv_heads=1, head_size=16, dtype=torch.float16)
        if method == "get_kv_cache_spec":
            return [{"layer.0": spec}]
        if method == "determine_available_memory":
            return [spec.page_size_bytes * self.blocks]
        if method == "get_supported_kv_cache_layouts":
            from vllm.config.cache import KVCacheLayout

            return [[layout.name for layout in KVCacheLayout]]
        return []

    def execute_model(self, scheduled: Any, non_block: bool = False) -> Any:
        self.batch = scheduled
        empty = None if scheduled.total_num_scheduled_tokens else ModelRunnerOutput(req_ids=[], req_id_to_index={})
        return Later(empty, 0.0) if non_block else empty

    def sample_tokens(self, grammar_output: Any, non_block: bool = False) -> Any:
        ids = list(self.batch.num_scheduled_tokens)
        tokens = [[] if self.scheduler.requests[i].is_prefill_chunk else [self.token(i)] for i in ids]
        made = ModelRunnerOutput(
            req_ids=ids, req_id_to_index={i: k for k, i in enumerate(ids)}, sampled_token_ids=tokens
        )
        later = Later(made, self.cost[0] + self.cost[1] * self.batch.total_num_scheduled_tokens)
        return later if non_block else later.result()

    def token(self, name: str) -> int:
        k = self.made.get(name, 0)
        self.made[name] = k + 1
        length, stops = self.ends[name]
        return STOP if stops and k + 1 == length else (OUTPUTS + int(name)) * TEXT + k

    def check_health(self) -> None:
        pass


class Watched:
    """Writes down what an engine's scheduler decides, by looking on from outside."""

    def __init__(self, scheduler: Any):
        self.scheduler, self.calls = scheduler, []  # type: ignore[var-annotated]
        self.added: list[str] = []
        self.victims: list[str] = []
        self.due: deque[list[Any]] = deque()
        self.inner = {name: getattr(scheduler, name) for name in ("schedule", "_preempt_request", "update_from_output")}
        scheduler.schedule, scheduler._preempt_request = self.schedule, self.preempt
        scheduler.update_from_output = self.update

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        self.victims, before, t = [], [request.request_id for request in self.scheduler.running], Clock.now
        scheduled = self.inner["schedule"](*args, **kwargs)
        running = [request.request_id for request in self.scheduler.running]
        tokens, requests = scheduled.num_scheduled_tokens, self.scheduler.requests
        stayed = {name for name in before if name not in self.victims}
        joined = [name for name in running if name not in stayed]
        call = [
            t,
            self.added,
            [[name, tokens[name]] for name in tokens],
            [
                [name, requests[name].num_computed_tokens - tokens[name], requests[name].num_preemptions > 0]
                for name in joined
            ],
            self.victims,
            running,
            self.waiting(),
            self.free(),
            [],
            0,
        ]
        self.due.append(call)
        if tokens or self.victims:
            self.calls.append(call)
            self.added = []
        return scheduled

    def preempt(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        self.victims.append(request.request_id)
        return self.inner["_preempt_request"](request, *args, **kwargs)

    def update(self, scheduled: Any, output: Any) -> Any:
        outputs = self.inner["update_from_output"](scheduled, output)
        call = self.due.popleft()
        call[8] = [
            one.request_id for group in outputs.values() for one in group.outputs if one.finish_reason is not None
        ]
        call[9] = self.free()
        return outputs

    def waiting(self) -> list[str]:
        queues = ("waiting", "kv_holding_waiting", "skipped_waiting")
        return [
            one.request_id for name in queues if hasattr(self.scheduler, name) for one in getattr(self.scheduler, name)
        ]

    def free(self) -> int:
        return int(self.scheduler.kv_cache_manager.block_pool.get_num_free_blocks())


def engine(case: dict[str, Any], model: str) -> EngineCore:
    """Return vLLM's engine for a case."""
    config = case["config"]
    known = SchedulerConfig.__dataclass_fields__
    rules = {key: config[key] for key in SAME if key in known and config.get(key) is not None}
    MadeUp.blocks, MadeUp.size, MadeUp.cost = config["num_blocks"], config["block_size"], (config["c0"], config["c1"])
    stops = config.get("stop", "max_tokens") == "eos"
    MadeUp.ends = {name_of(one): (one["out"], stops) for one in case["requests"]}
    if case.get("folder"):
        sys.path.insert(0, case["folder"])
        for name in [path.stem for path in Path(case["folder"]).glob("*.py") if path.stem in sys.modules]:
            del sys.modules[name]
    settings = VllmConfig(
        scheduler_config=SchedulerConfig(
            is_encoder_decoder=False,
            async_scheduling=case["asynchronous"],
            scheduler_cls=case.get("scheduler"),
            **rules,
        ),
        model_config=ModelConfig(
            model=model, skip_tokenizer_init=True, dtype="float16", seed=0, max_model_len=config["max_model_len"]
        ),
        cache_config=CacheConfig(
            block_size=config["block_size"],
            cache_dtype="auto",
            enable_prefix_caching=bool(config.get("enable_prefix_caching")),
        ),
        device_config=DeviceConfig(device="cpu"),
    )
    core = EngineCore(settings, MadeUp, log_stats=False)
    core.model_executor.scheduler = core.scheduler
    if case.get("folder"):
        sys.path.remove(case["folder"])
        core.scheduler.origin, core.scheduler.now = 0.0, lambda: Clock.now
    return core


def run(case: dict[str, Any], model: str) -> dict[str, Any]:
    """Serve the requests of a case, and return what was decided."""
    Clock.now = 0.0
    core = engine(case, model)
    assert bool(core.batch_queue is not None) == case["asynchronous"], "the engine chose another scheduling"
    watched = Watched(core.scheduler)
    coming = deque(sorted(case["requests"], key=lambda one: one["arrival"]))
    stops = case["config"].get("stop", "max_tokens") == "eos"
    while True:
        idle = core.scheduler.get_num_unfinished_requests() == 0 and not core.batch_queue
        if idle and not coming:
            break
        if idle:
            Clock.now = max(Clock.now, coming[0]["arrival"])
        while coming and coming[0]["arrival"] <= Clock.now:
            one = coming.popleft()
            core.add_request(*core.preprocess_add_request(as_sent(one, stops, case["config"]["max_model_len"])))
            watched.added.append(name_of(one))
        before = len(watched.calls), len(core.batch_queue or ()), Clock.now
        core.step_fn()
        if before == (len(watched.calls), len(core.batch_queue or ()), Clock.now) and not core.batch_queue:
            if not coming:  # nobody can run, and nobody comes
                break
            Clock.now = max(Clock.now, coming[0]["arrival"])
    kind = type(core.scheduler)
    core.scheduler.shutdown()
    return {"vllm": vllm.__version__, "scheduler": f"{kind.__module__}.{kind.__name__}", "calls": watched.calls}


def as_sent(one: dict[str, Any], stops: bool, longest: int) -> EngineCoreRequest:
    """Return a request as the engine's front end hands it on."""
    length = min(one["out"], longest - one["prompt"])
    sampling = SamplingParams(
        max_tokens=longest - one["prompt"] if stops else length,
        ignore_eos=True,
        stop_token_ids=[STOP] if stops else None,
        extra_args=one.get("told"),
    )
    pieces = one.get("segs") or [[1 + int(one["id"]), 0, one["prompt"]]]
    return EngineCoreRequest(
        request_id=name_of(one),
        prompt_token_ids=[text * TEXT + k for text, start, n in pieces for k in range(start, start + n)],
        mm_features=None,
        sampling_params=sampling,
        pooling_params=None,
        arrival_time=one["arrival"],
        lora_request=None,
        cache_salt=None,
        data_parallel_rank=None,
        priority=one.get("priority", 0),
    )


def name_of(one: dict[str, Any]) -> str:
    """Return a request's id as the engine knows it: texts of six digits sort as numbers do."""
    return f"{one['id']:06d}"


def main() -> None:
    """Run every case of a file."""
    with tempfile.TemporaryDirectory() as folder, open(sys.argv[1]) as given, open(sys.argv[2], "w") as out:
        model = made_up_model(folder)
        for n, line in enumerate(given):
            start = time.perf_counter()
            found = run(json.loads(line), model)
            out.write(json.dumps(found) + "\n")
            calls, took = len(found["calls"]), time.perf_counter() - start
            print(f"{n}: vllm {found['vllm']}, {found['scheduler']}, {calls} calls, {took:.2f} s", flush=True)


if __name__ == "__main__":
    main()
