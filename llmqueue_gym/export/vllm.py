"""vLLM: a class for `--scheduler-cls`, over its own schedulers, that sets the priority which they go by.

vLLM admits by (priority, arrival) and preempts the running request in which both are largest, so a rank is the priority
of who waits, and the policy's `victim` value, or its rank as it is now, that of who runs. Both are Python floats there;
the whole numbers of its HTTP interface are what senders state, `request.priority`.

A rank is made when somebody joins the queue. Where ranks move with time they are made anew only in a step in which the
head of the queue is looked at and the least request could fit, and values of victims only when a running request gets
no blocks. At these moments the policy is shown what the simulator shows it, so both decide alike; `make test-engines`
holds them side by side.

Source: vllm 0.33.0 and 0.19.1, v1/core/sched/scheduler.py and request_queue.py.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

from llmqueue_gym.export.chosen import Chosen
from llmqueue_gym.export.target import FROM_SENDER, Target

OPTIONS = {  # of `vllm serve`, by the field of the rule set
    "token_budget": "--max-num-batched-tokens",
    "max_seqs": "--max-num-seqs",
    "max_model_len": "--max-model-len",
    "block_size": "--block-size",
    "long_prefill_threshold": "--long-prefill-token-threshold",
}
_FROM_ENGINE = ("prompt", "generated", "computed", "arrival", "ready", "preemptions", "priority", "first_predicted")


class Vllm(Target):
    """vLLM's v1 engine, with its synchronous scheduler and its asynchronous one."""

    name: ClassVar[str] = "vllm"
    module: ClassVar[str] = "llmqueue_scheduler.py"
    template: ClassVar[str] = "vllm.py.jinja"
    request: ClassVar[frozenset[str]] = frozenset((*_FROM_ENGINE, *FROM_SENDER))
    system: ClassVar[frozenset[str]] = frozenset(("clock", "free", "blocks", "running", "waiting", "iterations"))
    versions: ClassVar[tuple[str, ...]] = ("0.33.0", "0.19.1")

    def obstacles(self, chosen: Chosen) -> Iterator[str]:
        """Yield what vLLM cannot do of a policy."""
        yield from super().obstacles(chosen)
        for rule in sorted(set(chosen.policy.rules) - set(OPTIONS)):
            yield f"changes the rule {rule!r}, for which vllm serve has no option"

    def said(self, chosen: Chosen, command: str) -> dict[str, Any]:
        """Return what the templates are filled with."""
        said = super().said(chosen, command)
        order = "priority" if chosen.policy.rank else "fcfs"
        scheduler = f"--scheduler-cls {said['module_name']}.{said['class_name']} --scheduling-policy {order}"
        options = [f"{OPTIONS[rule]} {value}" for rule, value in chosen.policy.rules.items()]
        return {
            **said,
            "run": " ".join(["vllm serve MODEL", scheduler, *options]),
        }
