"""A proxy that speaks OpenAI's interface: it predicts, ranks, and sets the whole number that an engine ranks by.

One artefact serves vLLM, SGLang and Dynamo, of which the first serves small numbers first and the others large ones.
A number is fixed when a request is sent. What moves after that, a rank with an age in it, is for the proxy's own queue,
its window, which needs no priorities of the engine. Whom to preempt the engine decides, by the numbers that it has.

Source: vllm 0.33.0, entrypoints/openai/*/protocol.py; sglang 0.5.23, managers/schedule_policy.py; Dynamo 1.5, priority
scheduling and agent hints.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from llmqueue_gym.export import sglang, vllm
from llmqueue_gym.export.chosen import Chosen
from llmqueue_gym.export.target import FROM_SENDER, Target

_FROM_BODY = ("prompt", "arrival", "ready", "priority", "first_predicted")
_NOTHING_YET = ("generated", "computed", "preemptions")  # of a request that is not sent

FIELDS = {  # of a line of the proxy's log; times in s since 1970
    "id": "that of the request, x-request-id",
    "path": "asked for",
    "model": "asked for",
    "class": "as stated",
    "tenant": "as stated",
    "stream": "whether the answer was to come piece by piece",
    "arrival": "time",
    "queued": "time at which it was ranked and began to wait, anew where the engine was not there",
    "sent": "time at which it went to the engine; null where it never did",
    "first_token": "time of the first piece with text in it; null where the answer came whole",
    "end": "time",
    "prompt": "tokens of the prompt as the rank saw it, by its letters",
    "prompt_tokens": "as the engine counted them; null where it did not say",
    "output_tokens": "likewise; where it did not say, pieces with text in them",
    "counted": "by whom the output was counted: engine or proxy; null where there is none",
    "predicted": "output tokens",
    "rank": "when it was sent",
    "priority": "the number that the engine was told; null where it was told none",
    "status": "that of the answer; 499 where its sender went away",
    "error": "what went wrong, null where nothing did",
}


class PriorityProxy(Target):
    """A proxy before vLLM, SGLang or Dynamo."""

    name: ClassVar[str] = "priority-proxy"
    module: ClassVar[str] = "llmqueue_rank.py"
    template: ClassVar[str] = "proxy_rank.py.jinja"
    more: ClassVar[Mapping[str, str]] = {
        "llmqueue_proxy.py": "proxy.py.jinja",
        "llmqueue_serve.py": "proxy_serve.py.jinja",
        "llmqueue_answer.py": "proxy_answer.py.jinja",
        "llmqueue_window.py": "proxy_window.py.jinja",
        "llmqueue_engines.py": "proxy_engines.py.jinja",
        "llmqueue_lengths.py": "proxy_lengths.py.jinja",
        "llmqueue_log.py": "proxy_log.py.jinja",
        "requirements.txt": "proxy_requirements.txt.jinja",
    }
    fields: ClassVar[tuple[str, ...]] = ("rank",)
    request: ClassVar[frozenset[str]] = frozenset((*_FROM_BODY, *_NOTHING_YET, *FROM_SENDER))
    system: ClassVar[frozenset[str]] = frozenset(("clock", "running", "waiting"))
    versions: ClassVar[tuple[str, ...]] = ("vLLM 0.33.0", "SGLang 0.5.23", "Dynamo 1.5.1")

    def obstacles(self, chosen: Chosen) -> Iterator[str]:
        """Yield what a proxy cannot do of a policy."""
        yield from super().obstacles(chosen)
        for rule in sorted(set(chosen.policy.rules) - (set(vllm.OPTIONS) & set(sglang.OPTIONS))):
            yield f"changes the rule {rule!r}, for which not every engine has an option"

    def said(self, chosen: Chosen, command: str) -> dict[str, Any]:
        """Return what the templates are filled with."""
        said = super().said(chosen, command)
        rules, ranked = chosen.policy.rules, chosen.policy.rank is not None
        starts = {
            "vllm": f"vllm serve MODEL --scheduling-policy {'priority' if ranked else 'fcfs'}",
            "sglang": "python -m sglang.launch_server --model-path MODEL --schedule-policy fcfs"
            + (" --enable-priority-scheduling --disable-priority-preemption" if ranked else ""),
        }
        for name, options in (("vllm", vllm.OPTIONS), ("sglang", sglang.OPTIONS)):
            starts[name] += "".join(f" {options[rule]} {value}" for rule, value in rules.items())
        moves = chosen.policy.ages and bool(chosen.reads("rank", of="system"))
        window = " --window 64" if moves else ""
        return {
            **said,
            "moves": moves,
            "told": str(tuple(FROM_SENDER)).replace("'", '"'),
            "starts": starts,
            "log_fields": FIELDS,
            "run": f"python llmqueue_proxy.py --backend http://127.0.0.1:8000 --engine vllm{window}",
        }
