"""What exported schedulers import of vLLM, as far as they use it."""

import heapq
import sys
import types


class Base:
    """Stands for vLLM's schedulers."""

    def __init__(self, order="priority", free=10):
        self.policy = types.SimpleNamespace(value=order)
        self.waiting, self.skipped_waiting = Heap(), Heap()
        self.running, self.scheduler_reserve_full_isl, self.block_size = [], True, 16
        self.cache_config = types.SimpleNamespace(enable_prefix_caching=False)
        group = types.SimpleNamespace(kv_cache_spec=type("FullAttentionSpec", (), {})())
        self.kv_cache_config = types.SimpleNamespace(kv_cache_groups=[group])
        pool = types.SimpleNamespace(get_num_free_blocks=lambda: free, num_gpu_blocks=101)
        full = types.SimpleNamespace(block_pool=pool, allocate_slots=lambda request, tokens: None)
        self.kv_cache_manager = full

    def add_request(self, request):
        self.waiting.add_request(request)

    def schedule(self):
        """Look at the head of the queue, as a pass does; nobody is ever admitted."""
        if self.waiting:
            self.waiting.peek_request()
        return types.SimpleNamespace(total_num_scheduled_tokens=0, preempted_req_ids=set())

    def preempt(self):
        """Preempt as vLLM does where memory is short."""
        self.kv_cache_manager.allocate_slots(self.running[0], 1)
        request = max(self.running, key=lambda one: (one.priority, one.arrival_time))
        self.running.remove(request)
        request.num_computed_tokens = 0
        request.num_preemptions += 1
        self.waiting.add_request(request)
        return request

    def in_order(self):
        return [(request.priority, request.request_id) for request in sorted(self.waiting._heap, key=key)]


class Heap:
    """Stands for vLLM's queue of priorities."""

    def __init__(self):
        self._heap = []

    def __len__(self):
        return len(self._heap)

    def add_request(self, request):
        heapq.heappush(self._heap, request)

    def peek_request(self):
        return self._heap[0]


class Request(types.SimpleNamespace):
    def __lt__(self, other):
        return key(self) < key(other)


def key(request):
    return request.priority, request.arrival_time, request.request_id


def request(arrival=0.0, prompt=10, told=None, name="a", **more):
    usual = {"num_output_tokens": 0, "num_computed_tokens": 0, "num_preemptions": 0, "priority": 0, "max_tokens": 99}
    usual |= {"num_tokens": prompt, "status": "running"}
    sampling = types.SimpleNamespace(extra_args=told)
    known = {"arrival_time": arrival, "num_prompt_tokens": prompt, "sampling_params": sampling, "request_id": name}
    return Request(**{**usual, **known, **more})


def beside_stubs(monkeypatch):
    """Return what runs an exported module beside stubs of vLLM."""
    for name in ("vllm", "vllm.v1", "vllm.v1.core", "vllm.v1.core.sched"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    stubs = {
        "core.sched.async_scheduler": {"AsyncScheduler": type("AsyncScheduler", (Base,), {})},
        "core.sched.scheduler": {"Scheduler": type("Scheduler", (Base,), {})},
        "core.sched.request_queue": {"PriorityRequestQueue": Heap},
        "request": {"RequestStatus": types.SimpleNamespace(RUNNING="running")},
    }
    for name, has in stubs.items():
        stub = types.ModuleType(name)
        vars(stub).update(has)
        monkeypatch.setitem(sys.modules, f"vllm.v1.{name}", stub)

    def loaded(folder):
        module = types.ModuleType("exported")
        exec(compile((folder / "llmqueue_scheduler.py").read_text(), str(folder), "exec"), module.__dict__)
        return module

    return loaded
