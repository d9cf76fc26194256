"""SGLang: a plug-in that puts the waiting queue in order after SGLang's own `SchedulePolicy.calc_priority`.

That is called only where somebody may be admitted, so nothing is ranked in vain. Who is retracted where memory runs
short SGLang decides itself, so a policy with a `victim` of its own is refused.

Source: sglang 0.5.23, srt/managers/schedule_policy.py and srt/plugins.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from llmqueue_gym.export.chosen import Chosen
from llmqueue_gym.export.target import FROM_SENDER, Target

OPTIONS = {"token_budget": "--chunked-prefill-size", "max_seqs": "--max-running-requests", "block_size": "--page-size"}
_FROM_ENGINE = ("prompt", "generated", "arrival", "ready", "priority", "first_predicted", "cached")


class Sglang(Target):
    """SGLang's scheduler."""

    name: ClassVar[str] = "sglang"
    module: ClassVar[str] = "llmqueue_order.py"
    template: ClassVar[str] = "sglang.py.jinja"
    more: ClassVar[Mapping[str, str]] = {"pyproject.toml": "sglang.toml.jinja"}
    fields: ClassVar[tuple[str, ...]] = ("rank",)
    request: ClassVar[frozenset[str]] = frozenset((*_FROM_ENGINE, *FROM_SENDER))
    system: ClassVar[frozenset[str]] = frozenset(("clock", "waiting"))
    versions: ClassVar[tuple[str, ...]] = ("0.5.23",)

    def obstacles(self, chosen: Chosen) -> Iterator[str]:
        """Yield what SGLang cannot do of a policy."""
        yield from super().obstacles(chosen)
        if chosen.policy.rank is None:
            yield "has no rank, and first come first served is what SGLang does with --schedule-policy fcfs"
        if chosen.policy.victim is not None:
            yield "chooses by itself whom to preempt, which SGLang does by its own order"
        for rule in sorted(set(chosen.policy.rules) - set(OPTIONS)):
            yield f"changes the rule {rule!r}, for which SGLang has no option"

    def said(self, chosen: Chosen, command: str) -> dict[str, Any]:
        """Return what the templates are filled with."""
        said = super().said(chosen, command)
        order = "lpm" if "cached" in said["reads"] else "fcfs"  # only the former looks prompts up in the cache
        options = [f"{OPTIONS[rule]} {value}" for rule, value in chosen.policy.rules.items()]
        start = (
            f"SGLANG_PLUGINS=llmqueue_order python -m sglang.launch_server --model-path MODEL --schedule-policy {order}"
        )
        return {**said, "run": " ".join([start, *options])}
