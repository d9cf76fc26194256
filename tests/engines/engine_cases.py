"""Cases for vLLM's own engine and for the simulator: who asks for what, in how little memory, under which policy.

All times are multiples of 2^-13 s, so that every sum is exact and both clocks are the same to the last bit.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fidelity import vllm as fidelity

from llmqueue_gym.cli.asked import function_in_file
from llmqueue_gym.evaluation.watch import watch
from llmqueue_gym.export import export
from llmqueue_gym.export.chosen import chosen as exported
from llmqueue_gym.export.folder import read_card
from llmqueue_gym.policies.serving import SERVING_POLICIES
from llmqueue_gym.predictors.lengths import LENGTH_PREDICTORS
from llmqueue_gym.requests import Requests, request_table
from llmqueue_gym.systems.serve import placed

REQUESTS = 50
COST = {"c0": 1 / 64, "c1": 1 / 8192}
NAMES = {  # of the rule set's fields in a log
    "token_budget": "max_num_batched_tokens",
    "max_seqs": "max_num_seqs",
    "max_model_len": "max_model_len",
    "block_size": "block_size",
    "chunked": "enable_chunked_prefill",
    "long_prefill_threshold": "long_prefill_token_threshold",
    "watermark": "watermark",
    "reserve_known": "scheduler_reserve_full_isl",
}
_OWN = f"{Path(__file__).parent / 'orders.py'}"
POLICIES = {  # by the spec of the policy, that of the predictor
    "fcfs": "lognormal:sigma=0.5",
    "vllm-priority:by=stated": "lognormal:sigma=0.5",
    "vllm-priority": "ranking",
    "sjf": "trail:every=4",
    "sjf-total": "lognormal:sigma=0.5",
    "ssjf:longest_wait=2.0,stretch=4.0": "lognormal:sigma=0.5",
    "tie": "lognormal:sigma=0.5",
    "gittins-lengths": "lognormal:sigma=0.5",
    "memory-time": "trail:every=8",
    "remaining-seconds": "trail",
    "sageserve-like": "lognormal:sigma=0.5",
    "learned-llm": "lognormal:sigma=0.5",
    "learned-llm-azure-conv": "trail:every=8",
    "asked sjf": "trail:every=4",  # its predictions are made in the engine, by `ASKED`
    f"{_OWN}:shortest_prompt": "lognormal:sigma=0.5",
    f"{_OWN}:shortest_remaining": "trail:every=4",
    f"{_OWN}:feedback": "lognormal:sigma=0.5",
    f"{_OWN}:response_ratio": "lognormal:sigma=0.5",
    f"{_OWN}:by_iterations": "lognormal:sigma=0.5",
}
ASKED = '''"""A predictor that runs in the engine: it looks predictions up in a table that came with the request."""

from llmqueue_scheduler import Sjf, SjfSync


class Asked:
    predict_every = 4

    def predict(self, request):
        table = request.sampling_params.extra_args["table"]
        return table[min(request.num_output_tokens // 4, len(table) - 1)]


class Mine(Asked, Sjf):
    pass


class MineSync(Asked, SjfSync):
    pass
'''


@dataclass(frozen=True)
class Case:
    """Requests, an engine and a policy.

    Attributes:
        engine: what `drive_vllm` takes.
        given: the same requests for the simulator.
        policy: the policy.
        profile: cost profile of the engine's clock.
        rules: rule set.
    """

    engine: dict
    given: Requests
    policy: object
    profile: object
    rules: object

    def simulated(self):
        """Return the simulator's calls, as those of the engine."""
        calls, added = [], []
        for one in watch(self.given, self.policy, self.profile, self.rules):
            added += one.added
            if not (one.scheduled or one.preempted):
                continue
            scheduled = [[named(i), n] for i, n in one.scheduled]
            admitted = [[named(i), computed, back] for i, computed, back in one.admitted]
            lists = [
                [named(i) for i in rows] for rows in (added, one.preempted, one.running, one.waiting, one.finished)
            ]
            new, preempted, running, waiting, finished = lists
            calls.append(
                [one.clock, new, scheduled, admitted, preempted, running, waiting, one.free, finished, one.free_after]
            )
            added = []
        return calls


FIELDS = ("time", "added", "scheduled", "admitted", "preempted", "running", "waiting", "free", "finished", "free after")


def named(row):
    return f"{row:06d}"


def first_difference(case, found):
    """Return how the calls of the engine and of the simulator differ first, in words; nothing where they do not."""
    ours, theirs = case.simulated(), found["calls"]
    for n, (mine, real) in enumerate(zip(ours, theirs, strict=False)):
        for name, a, b in zip(FIELDS, mine, real, strict=True):
            if name == "waiting" and case.policy.ages:  # they are in order only where somebody can be admitted
                a, b = sorted(a), sorted(b)
            if a != b:
                return f"call {n}, {name}: {a} simulated, {b} in vLLM {found['vllm']}"
    return "" if len(ours) == len(theirs) else f"{len(ours)} calls simulated, {len(theirs)} in vLLM {found['vllm']}"


def config_of(seed, version, caching):
    """Return an engine of little memory, as in the header of a log."""
    rng = np.random.default_rng((seed, 1))
    chunked = seed % 4 != 3
    return {
        "num_blocks": int(rng.integers(45, 75)),
        "block_size": int(rng.choice([8, 16])),
        "max_num_batched_tokens": int(rng.choice([96, 200, 512])) if chunked else 640,
        "max_num_seqs": int(rng.integers(6, 20)),
        "max_model_len": 320,
        "enable_chunked_prefill": chunked,
        "long_prefill_token_threshold": int(rng.choice([0, 0, 48])),
        "watermark": float(rng.choice([0.0, 0.03])) if version != "0.19.1" else 0.0,
        "scheduler_reserve_full_isl": bool(rng.random() < 0.7),
        "enable_prefix_caching": caching,
        **COST,
    }


def requests_of(seed, predictor, caching):
    """Return requests as the simulator has them, and as senders of them would tell them."""
    rng = np.random.default_rng((seed, 2))
    ticks = np.cumsum(np.where(rng.random(REQUESTS) < 0.4, 0, rng.integers(0, 160, REQUESTS)))
    prompts, outputs = rng.integers(2, 200, REQUESTS), np.ceil(rng.lognormal(3.0, 0.9, REQUESTS)).astype(np.int64)
    outputs = np.clip(outputs, 1, 100)
    table = request_table(
        ticks / 512.0,
        prompts,
        weight=rng.integers(1, 5, REQUESTS) / 2.0,
        klass=rng.integers(0, 3, REQUESTS),
        priority=rng.integers(0, 4, REQUESTS),
        tenant=rng.integers(0, 3, REQUESTS),
    )
    wanted = np.where(rng.random(REQUESTS) < 0.2, np.inf, rng.integers(1, 5000, REQUESTS) / 512.0)
    table["deadline"] = table["arrival"] + wanted
    forecast = LENGTH_PREDICTORS(predictor).bind(outputs).predict(table, outputs, np.random.default_rng((seed, 3)))
    for column in ("predicted", "lower", "upper"):
        table[column] = getattr(forecast, column)
    table["first_predicted"] = forecast.predicted
    rows = []
    for i in range(REQUESTS):
        told = {name: table[name][i].item() for name in ("lower", "upper", "klass", "tenant", "weight")}
        if np.isfinite(wanted[i]):
            told["deadline"] = float(wanted[i])
        start, end = forecast.refreshed.start[i : i + 2]
        told["predicted"] = float(forecast.predicted[i])
        if forecast.refreshed.every:
            later = forecast.refreshed.total[start + 1 : end]
            told["predicted"] = [told["predicted"], *later.tolist()]
            told["predicted_every"] = forecast.refreshed.every
        begins = [[5000 + int(rng.integers(2)), 0, int(rng.integers(8, 120))]] if caching and rng.random() < 0.7 else []
        rows.append(
            {
                "id": i,
                "arrival": float(table["arrival"][i]),
                "prompt": int(prompts[i]),
                "out": int(outputs[i]),
                "priority": int(table["priority"][i]),
                "told": told,
                "segs": cut([*begins, [1 + i, 0, int(prompts[i])]], int(prompts[i])),
            }
        )
    contexts = fidelity.contexts_of(list(range(REQUESTS)), rows) if caching else None
    return Requests(table, outputs, forecast.refreshed, contexts), rows


def cut(pieces, tokens):
    """Return the first so many tokens of pieces (text, start, length)."""
    kept = []
    for text, start, length in pieces:
        if tokens > 0:
            kept.append([text, start, min(length, tokens)])
            tokens -= length
    return kept


def case_of(spec, seed, version, asynchronous, folder):
    """Return a case, whose exported class lies in a folder of its own within `folder`."""
    predictor = POLICIES[spec]
    caching = seed % 2 == 1
    config = {**config_of(seed, version, caching), "async_scheduling": asynchronous}
    given, rows = requests_of(seed, predictor, caching)
    asked, spec = spec.startswith("asked "), spec.removeprefix("asked ")
    told = function_in_file(spec) or spec
    policy = SERVING_POLICIES(told)
    config["policy"] = "priority" if policy.rank else "fcfs"
    rules, profile = fidelity.rules_of({"config": config, "vllm": version}), fidelity.cost(config)
    place, chosen = placed(policy, profile, rules, {})
    bound = place.under(chosen).bound_rules
    config |= {theirs: getattr(bound, ours) for ours, theirs in NAMES.items() if ours in policy.rules}
    if policy.prepare:  # its numbers as they are exported, for another profile than this one
        policy = replace(policy, prepare=None, params=exported(told).params)
    out = folder / "".join(c if c.isalnum() else "-" for c in f"{asked} {spec.rpartition('/')[2]}")
    if not out.exists():
        export(told, "vllm", out)
    named = next(word for word in read_card(out)["run"].split() if word.startswith("llmqueue_scheduler."))
    if asked:
        (out / "mine.py").write_text(ASKED)
        named = "mine.Mine"
        for row in rows:
            row["told"] = {"table": row["told"]["predicted"]}
    engine = {
        "config": config,
        "requests": rows,
        "asynchronous": asynchronous,
        "scheduler": named if asynchronous else f"{named}Sync",
        "folder": str(out),
    }
    return Case(engine, given, policy, profile, rules)
