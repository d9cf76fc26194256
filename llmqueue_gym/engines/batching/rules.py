"""Rule sets: how a real engine fills an iteration, each a handful of switches on the same passes.

`vllm-v1` decides what the scheduler of vLLM 0.33.0 decides, call by call. Its rules, in the order in which they act:

 3. A step has one budget of tokens; every scheduled token costs 1.
 4. Running requests first, in the order of their admission; each wants the tokens known but not yet computed.
 5. A prefill chunk is at most `long_prefill_threshold` tokens, unless the request is alone.
 7. Where blocks are short, the last running request is preempted; under a policy with ranks the one of greatest rank,
    among equals the one that came last.
 8. A request that had to preempt itself ends the pass under first come first served.
 9. A preempted request loses its blocks and goes to the front of the queue, or back to its place under ranks.
10. Nobody is admitted in a step that preempted.
12. Only the head of the queue is looked at; without chunked prefill it must fit whole into the budget.
13. It is admitted only if all its known tokens would fit in the free blocks (`reserve_known`), which are not all taken.
15. `watermark` of all blocks stays free on admission while anything runs.
17. A token is sampled when everything known is computed; its keys and values are computed in the next step.

With prefix caching (`caching="vllm"`):

19. A block holds all tokens up to its end. On admission the longest run of blocks that some block holds is taken over,
    at most floor((known tokens - 1) / block size).
20. A full block is found by others from the moment at which its last token is scheduled.
21. A block that nobody uses is free and can be found; who finds it takes it out of the free ones.
22. Free blocks are taken from the front of a queue. Released ones go, a request's last one first, to its back, and to
    its front if they are not full.
23. Of blocks that hold the same the one that came to hold it first is found.

With the asynchronous scheduler (`asynchronous`):

24. A step is put together when the one before begins; a token that is being computed counts as known.
25. Who is known to end with it (`ends_known`) is left out. A preempted request gets it still, and may end in the queue.

`vllm-0.19.1` differs in rules 5, 8, 15 and 22. `vllm-v0` and `sarathi` are the schedulers as Vidur has them;
`vidur-sarathi` also has Vidur's trap, by which a half-read prompt that is preempted becomes output to generate. `orca`
reserves the greatest length; `static` serves a batch to the end of its last request, as FasterTransformer does.
"""

import re
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.batching.cache import BLOCKS, NO_CACHE, TREE
from llmqueue_gym.engines.batching.radix_order import DFS_WEIGHT, FCFS, LPM
from llmqueue_gym.engines.batching.tables import (
    BY_BLOCKS,
    BY_PASSES,
    BY_TURNS,
    CHUNK,
    DECODE_FIRST,
    FREE,
    KNOWN,
    LONGEST,
    PREFILL_FIRST,
    RECOMPUTE,
    RULES,
    RUNNING_FIRST,
    SWAP,
)
from llmqueue_gym.errors import BadInput, nearest
from llmqueue_gym.registry import spec_of

ORDERS = {"running-first": RUNNING_FIRST, "prefill-first": PREFILL_FIRST, "decode-first": DECODE_FIRST}
ALLOCATIONS = {"chunk": CHUNK, "known": KNOWN, "longest": LONGEST}
PREEMPTIONS = {"recompute": RECOMPUTE, "swap": SWAP, "free": FREE}
BATCHINGS = {"passes": BY_PASSES, "blocks": BY_BLOCKS, "turns": BY_TURNS}
CACHING = {"none": NO_CACHE, "vllm": BLOCKS, "radix": TREE}
QUEUE_ORDERS = {"fcfs": FCFS, "lpm": LPM, "dfs-weight": DFS_WEIGHT}
EVICTIONS = {"lru": False, "lfu": True}
_CODES: dict[str, dict[str, Any]] = {
    "order": ORDERS,
    "allocation": ALLOCATIONS,
    "preemption": PREEMPTIONS,
    "caching": CACHING,
    "queue_order": QUEUE_ORDERS,
    "eviction": EVICTIONS,
    "batching": BATCHINGS,
}
# What prefix caching and the asynchronous scheduler take as it is in vLLM's v1 scheduler.
OF_V1 = (
    "order",
    "allocation",
    "preemption",
    "keep_head",
    "lookahead",
    "room_for_one",
    "padded",
    "request_level",
    "batching",
)


MOST = 2**30  # of a number of tokens, blocks, requests or iterations: tables hold 32 bits

# What `vllm serve` takes, 0.19 and later, on most GPUs, and on those of 70 GiB and more other than the A100.
SERVED = ({"max_seqs": 256, "token_budget": 2048}, {"max_seqs": 1024, "token_budget": 8192})
LARGE = re.compile(r"\b(GH200|H[128]00|H20|G?B[123]00|MI3\d\d)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """A rule set. The defaults are those of vLLM 0.33.0's scheduler; lengths are in tokens.

    Attributes:
        name: of the rule set.
        blocks: KV blocks of the replica; None takes what the cost profile's memory holds.
        block_size: tokens a block.
        token_budget: most tokens in an iteration; None takes what `vllm serve` takes on the GPU, see `SERVED`.
        max_seqs: most requests in the running list; None likewise.
        max_model_len: a request ends at this many tokens, prompt and output; 0 stands for what the blocks hold.
        chunked: whether a prompt may be cut to fit the budget.
        long_prefill_threshold: longest prefill chunk; 0 for no limit.
        watermark: share of the blocks that stays free on admission.
        reserve_known: whether admission asks for room for all known tokens, not only for the first chunk.
        lookahead: tokens of room beyond those computed; 1 counts the new token's own keys and values at once, as the
            discrete model of theory does.
        order: "running-first", "prefill-first" (whole prompts alone, then decodes) or "decode-first".
        allocation: blocks taken on admission: "chunk", "known" (all known tokens) or "longest" (max_model_len).
        preemption: "recompute", "swap" (blocks move to the host and back) or "free" (back at no cost).
        keep_head: whether recomputation keeps the head of the cache, and only as many blocks as are missing are taken
            from the tail; a policy with a merged queue takes all.
        bandwidth: of the link to the host in one direction, bytes/s; needed for "swap".
        overlapped: whether transfers run beside the iteration, which then lasts as long as the longer of the two.
        pause: whether nobody is admitted in an iteration that preempted.
        asker_stops: whether a request that preempts itself ends the pass under first come first served.
        priority_stops: the same under ranks.
        threshold_alone: whether the threshold holds for a request that is alone, too.
        watermark_always: whether the watermark holds on an empty replica, too.
        no_watermark: whether the watermark is not looked at.
        null_block: whether there is one more block that nobody can use; only the watermark counts it (vLLM).
        by_arrival: whether the running list is in order of arrival rather than of admission.
        room_for_one: whether a decode asks for a free block even where it needs none (Vidur).
        padded: whether admitted prompts count as if padded to the longest (Vidur's vLLM).
        request_level: whether a batch is served to the end of its last request.
        forget_unread: Vidur's trap, see above.
        caching: "none"; "vllm": prompts that begin with the same tokens share the blocks that hold them; or "radix":
            the same by a tree of texts, outputs among them, as in SGLang, whose pages are the blocks.
        queue_order: with a tree, the order of the queue for policies without ranks: "fcfs", "lpm" (longest prefix
            match) or "dfs-weight"; see `radix_order`.
        eviction: with a tree, the leaf that goes first: "lru" or "lfu".
        released_last: whether released blocks that are not full go to the back of the queue, too.
        asynchronous: whether two steps are in flight, the scheduler's usual way.
        ends_known: whether it is known when a request ends; one that stops by itself is in one step more, whose token
            is dropped. It matters to the asynchronous scheduler alone.
        batching: "passes" over the lists as `order` says, before every iteration; "blocks" of iterations that go on
            until something changes (`block_pass`); or "turns" (`turns_pass`).
        overdue: times that a request is passed over by batches before it goes first, by "blocks".
        context_budget: most tokens that the decodes of an iteration read, by "turns".
        stages: of the pipeline that the model is cut into, each with a batch of its own under way, by "turns".
        counted_twice: DistServe's trap, by "turns": each piece of a prompt leaves twice as much less of the budget.
        horizon: s of simulated time after which a run is cut off.
        patience: iterations without progress in output tokens after which a run counts as a livelock.
    """

    name: ClassVar[str] = "vllm-v1"
    blocks: int | None = None
    block_size: int = 16
    token_budget: int | None = None
    max_seqs: int | None = None
    max_model_len: int = 0
    chunked: bool = True
    long_prefill_threshold: int = 0
    watermark: float = 0.0
    reserve_known: bool = True
    lookahead: int = 0
    order: str = "running-first"
    allocation: str = "chunk"
    preemption: str = "recompute"
    keep_head: bool = False
    bandwidth: float = 32e9
    overlapped: bool = False
    pause: bool = True
    asker_stops: bool = True
    priority_stops: bool = False
    threshold_alone: bool = False
    watermark_always: bool = False
    no_watermark: bool = False
    null_block: bool = True
    by_arrival: bool = False
    room_for_one: bool = False
    padded: bool = False
    request_level: bool = False
    forget_unread: bool = False
    caching: str = "none"
    queue_order: str = "fcfs"
    eviction: str = "lru"
    released_last: bool = False
    asynchronous: bool = False
    ends_known: bool = True
    horizon: float = float("inf")
    patience: int = 100_000
    batching: str = "passes"
    overdue: int = 4
    context_budget: int = 50_000
    stages: int = 1
    counted_twice: bool = False

    def __post_init__(self) -> None:
        for key, table in _CODES.items():
            if getattr(self, key) not in table:
                raise BadInput(f"{self.name}: {key}={getattr(self, key)!r}; {nearest(getattr(self, key), table)}")
        for least, keys in (
            (
                1,
                ("block_size", "token_budget", "max_seqs", "patience", "blocks", "overdue", "context_budget", "stages"),
            ),
            (0, ("max_model_len", "long_prefill_threshold", "lookahead")),
        ):
            for key in keys:
                if getattr(self, key) is not None and not least <= getattr(self, key) <= MOST:
                    raise BadInput(
                        f"{self.name}: {key}={getattr(self, key)} must be at least {least}, {MOST:,} at most"
                    )
        if not 0 <= self.watermark < 1:
            raise BadInput(f"{self.name}: watermark={self.watermark:g} is a share of the blocks, from 0 to below 1")
        if not self.bandwidth > 0:
            raise BadInput(f"{self.name}: bandwidth={self.bandwidth:g} must be positive, in bytes/s")
        if self.request_level and self.allocation != "longest":
            raise BadInput(
                f"{self.name}: request_level=true holds a batch to its end, which allocation={self.allocation} cannot; "
                "add allocation=longest"
            )
        if self.stages > 1 and self.batching != "turns":
            raise BadInput(f"{self.name}: stages={self.stages} needs requests that take turns; add batching=turns")
        if self.request_level and self.room_for_one:
            raise BadInput(
                f"{self.name}: request_level=true holds a batch to its end, but room_for_one=true sends some away; "
                "add room_for_one=false"
            )
        if self.request_level and self.batching == "blocks":
            raise BadInput(
                f"{self.name}: request_level=true holds a batch to its end, which batching=blocks puts together anew; "
                "choose batching=passes"
            )
        if self.caching != "none" or self.asynchronous:
            self._refuse_beside_v1()
        if self.caching == "radix" and self.asynchronous:
            raise BadInput(f"{self.name}: asynchronous=true has no place beside caching=radix; choose caching=vllm")
        for key in ("queue_order", "eviction"):
            if self.caching != "radix" and getattr(self, key) != getattr(Rules, key):
                raise BadInput(f"{self.name}: {key}={getattr(self, key)} looks into a tree; add caching=radix")
        if not self.horizon > 0:
            raise BadInput(f"{self.name}: horizon={self.horizon:g} must be positive, in s")

    def _refuse_beside_v1(self) -> None:
        """Refuse what has no place beside prefix caching and two steps in flight, which are of vLLM's v1 scheduler."""
        asked = "asynchronous=true" if self.caching == "none" else f"caching={self.caching}"
        for field in fields(Rules):
            value = getattr(self, field.name)
            if self.caching == "radix" and field.name == "order":
                continue
            if field.name in OF_V1 and value != field.default:
                told = str(value).lower() if isinstance(value, bool) else value
                raise BadInput(f"{self.name}: {asked} has no place beside {field.name}={told}; choose vllm-v1")

    def __str__(self) -> str:
        """Return the spec that gives this rule set: what differs from the named one."""
        base = type(self)()
        return spec_of(self, self.name, **{field.name: getattr(base, field.name) for field in fields(base)})

    def on(self, kv_tokens: int, gpu: str = "") -> "Rules":
        """Return these rules with all set that is None.

        Args:
            kv_tokens: tokens that the memory of the replica holds.
            gpu: of the replica, in words.
        """
        usual = SERVED[LARGE.search(gpu) is not None] | {"blocks": kv_tokens // self.block_size}
        unset: dict[str, Any] = {key: value for key, value in usual.items() if getattr(self, key) is None}
        return replace(self, **unset)

    @property
    def spare_blocks(self) -> int:
        """The blocks that stay free on admission."""
        return 0 if self.no_watermark else int(self.watermark * ((self.blocks or 0) + self.null_block))

    @property
    def held(self) -> int:
        """The tokens that the blocks hold."""
        return (self.blocks or 0) * self.block_size

    @property
    def longest(self) -> int:
        """The most tokens that a request can have."""
        usable = (self.blocks or 0) - (self.spare_blocks if self.watermark_always else 0)
        held = usable * self.block_size - self.lookahead + 1  # the last token needs no room
        if self.batching == "turns":
            held = self.context_budget
        return min(held, self.max_model_len or MOST)

    @property
    def widest(self) -> int:
        """The most tokens that a prompt can have."""
        return MOST if self.chunked or self.batching == "blocks" else self.token_budget or MOST

    def to_record(self, kv_bytes_per_token: float) -> Any:
        """Return the `RULES` record.

        Args:
            kv_bytes_per_token: of the model, for the time of transfers.

        Raises:
            BadInput: blocks, token budget or seats are not set; see `on`.
        """
        for key in ("blocks", "token_budget", "max_seqs"):
            if getattr(self, key) is None:
                raise BadInput(f"{self.name}: {key} is not set; use rules.on(kv_tokens, gpu)")
        row = np.zeros(1, RULES)
        for key in RULES.names or ():
            if hasattr(self, key):
                value = getattr(self, key)
                table = _CODES.get(key)
                row[key] = table[value] if table else value
        row["watermark"] = self.spare_blocks
        row["max_model_len"] = self.longest
        row["threshold"] = self.long_prefill_threshold
        row["block_seconds"] = self.block_size * kv_bytes_per_token / self.bandwidth
        return records(row)[0]

    def serves(self, prompts: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return which requests of so many prompt and output tokens `(n,)` could ever be served."""
        needed = np.minimum(prompts + outputs, self.max_model_len or MOST)
        fits: np.ndarray = (needed <= self.longest) & (prompts < self.longest) & (prompts <= self.widest)
        return fits

    def check(self, requests: np.ndarray, outputs: np.ndarray) -> None:
        """Refuse requests that could never be served, with their row.

        Args:
            requests: `REQUEST` rows `(n,)`.
            outputs: true output tokens `(n,)`.

        Raises:
            BadInput: a prompt that is too long for memory, model or budget.
        """
        prompts = requests["prompt"].astype(np.int64)
        needed = np.minimum(prompts + outputs, self.max_model_len or np.iinfo(np.int64).max)
        bad = np.flatnonzero((needed > self.longest) | (prompts >= self.longest))
        if len(bad):
            i = bad[0]
            raise BadInput(
                f"request {i + 1} has {prompts[i]} prompt and {outputs[i]} output tokens, more than the {self.longest} "
                f"that fit ({self.name}); leave out longer ones with max_tokens={self.longest}"
            )
        if not self.chunked and self.token_budget is not None and self.batching != "blocks":
            bad = np.flatnonzero(prompts > self.token_budget)
            if len(bad):
                raise BadInput(
                    f"request {bad[0] + 1} has {prompts[bad[0]]} prompt tokens, and {self.name} does not cut prompts: "
                    f"raise token_budget={self.token_budget} to {prompts.max()}"
                )
