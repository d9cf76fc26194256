"""The rule sets by name, each what differs from vLLM 0.33.0; see `rules` for what the fields mean."""

from dataclasses import dataclass
from typing import ClassVar

from llmqueue_gym.engines.batching.rules import Rules
from llmqueue_gym.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Vllm0191(Rules):
    """vLLM 0.19.1: the threshold also holds for a lone request, no pass survives its asker, no watermark, plain LRU."""

    name: ClassVar[str] = "vllm-0.19.1"
    threshold_alone: bool = True
    priority_stops: bool = True
    no_watermark: bool = True
    released_last: bool = True


@dataclass(frozen=True, kw_only=True)
class _Vidur(Rules):
    """What the schedulers have in common that Vidur writes down."""

    allocation: str = "known"
    max_seqs: int | None = 128
    watermark: float = 0.01
    pause: bool = False
    asker_stops: bool = False
    watermark_always: bool = True
    null_block: bool = False
    by_arrival: bool = True
    room_for_one: bool = True


@dataclass(frozen=True, kw_only=True)
class VllmV0(_Vidur):
    """vLLM before its rewrite, as Vidur has it: whole prompts alone if any fit, else one token for every decode."""

    name: ClassVar[str] = "vllm-v0"
    order: str = "prefill-first"
    token_budget: int | None = 4096
    chunked: bool = False
    padded: bool = True


@dataclass(frozen=True, kw_only=True)
class Sarathi(_Vidur):
    """Sarathi-Serve as Vidur has it: decodes first, then begun prefills, then new ones, in chunks of one budget."""

    name: ClassVar[str] = "sarathi"
    order: str = "decode-first"
    token_budget: int | None = 512


@dataclass(frozen=True, kw_only=True)
class VidurSarathi(Sarathi):
    """`sarathi` with Vidur's trap."""

    name: ClassVar[str] = "vidur-sarathi"
    forget_unread: bool = True


@dataclass(frozen=True, kw_only=True)
class Orca(Rules):
    """Orca: iteration level, whole prompts, memory reserved for the greatest length, so that nobody is preempted."""

    name: ClassVar[str] = "orca"
    allocation: str = "longest"
    token_budget: int | None = 1 << 30  # tokens; no limit
    max_seqs: int | None = 128
    max_model_len: int = 2048
    chunked: bool = False
    null_block: bool = False


@dataclass(frozen=True, kw_only=True)
class Static(Orca):
    """FasterTransformer: as `orca`, but nobody joins or leaves a batch before its last request has ended."""

    name: ClassVar[str] = "static"
    request_level: bool = True


@dataclass(frozen=True, kw_only=True)
class Sglang(Rules):
    """SGLang 0.5.23 over its radix cache: whole prompts in batches of their own, then a token for every decode.

    SGLang's rules are what the cache does and the orders of the queue, step by step (`radix`, `radix_order`; logs of
    its classes are replayed by experiments/fidelity/sglang.py); that prefills go before decodes; that on admission a
    prompt counts with the tokens that are not cached, against the budget and against free and evictable memory; that a
    prompt joins the tree when it is computed and an output when its request leaves; and that where memory is short
    leaves go before running requests do. The page is a token, the budget that of `max_prefill_tokens` by default.

    The engine's own rules are the others. Only the known tokens need room on admission, where SGLang keeps some for the
    output. The last to be admitted is preempted and goes to the front of the queue, where SGLang takes the one of least
    output and puts it at the end. Seats are those of vLLM. A prompt beyond the budget is refused. While the head of the
    queue waits for memory the queue is not looked at. Policies with ranks order the queue themselves.
    """

    name: ClassVar[str] = "sglang"
    order: str = "prefill-first"
    block_size: int = 1
    token_budget: int | None = 16_384
    chunked: bool = False
    pause: bool = False
    asker_stops: bool = False
    null_block: bool = False
    caching: str = "radix"


@dataclass(frozen=True, kw_only=True)
class Splitwise(Rules):
    """Splitwise's machines: whole prompts first, batches of decodes that go on until something changes."""

    name: ClassVar[str] = "splitwise"
    batching: str = "blocks"
    block_size: int = 1
    token_budget: int | None = 2048
    max_seqs: int | None = 512
    chunked: bool = False
    null_block: bool = False
    horizon: float = 86_400.0


@dataclass(frozen=True, kw_only=True)
class DistServe(Rules):
    """DistServe's simulator: prompts first, and requests take turns; what decodes read is bounded, memory is not."""

    name: ClassVar[str] = "distserve"
    batching: str = "turns"
    block_size: int = 1
    token_budget: int | None = 65_536
    max_seqs: int | None = 65_536
    chunked: bool = False
    null_block: bool = False
    counted_twice: bool = True


_HERE = "llmqueue_gym.engines.batching.rule_sets"

RULE_SETS = Registry(
    "rule set",
    {
        "vllm-v1": "llmqueue_gym.engines.batching.rules:Rules",
        "vllm-0.19.1": f"{_HERE}:Vllm0191",
        "vllm-v0": f"{_HERE}:VllmV0",
        "sarathi": f"{_HERE}:Sarathi",
        "vidur-sarathi": f"{_HERE}:VidurSarathi",
        "sglang": f"{_HERE}:Sglang",
        "orca": f"{_HERE}:Orca",
        "static": f"{_HERE}:Static",
        "splitwise": f"{_HERE}:Splitwise",
        "distserve": f"{_HERE}:DistServe",
    },
    Rules,
)
rule_set = RULE_SETS.__call__  # a rule set from a spec such as `vllm-v1:token_budget=512`, or itself
