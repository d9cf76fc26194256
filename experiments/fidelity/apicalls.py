"""Are wastes, swap limits, decisions and ranks of InferCept and of LAMPS (MARS) those of their own code?

Computes each row of the tables of WukLab/InferCept 3a1a4da and mars-repository/mars-codebase 4cedd10 anew: values by
the functions that the policies call, decisions by the policies themselves, compiled, in the passes of the engine.
Prints a line for each table: rows, worst relative error, decisions that are the same. Exits 1 where an error is above
1e-12 or a decision differs, 2 if a table is missing or is none.

    python experiments/fidelity/apicalls.py DIR

DIR holds the tables, `.csv` or `.csv.gz`.
"""

import argparse
import csv
import gzip
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from llmqueue_gym._jit import records
from llmqueue_gym.engines.retention import decide, settle
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.retention import RetentionPolicy, retention_policy
from llmqueue_gym.policies.retention.costs import PUBLISHED
from llmqueue_gym.policies.retention.lamps import wastes
from llmqueue_gym.policies.retention.waste import discard_waste, preserve_waste, swap_in_blocks, swap_out_blocks
from llmqueue_gym.policies.serving.lamps import memory_time
from llmqueue_gym.requests import AWAY, DISCARD, PRESERVE, SWAP, SYSTEM

TOLERANCE = 1e-12
STRATEGIES = {"preserve": PRESERVE, "recompute": DISCARD, "swap": SWAP}
NO_SYSTEM = records(np.zeros(1, SYSTEM))[0]  # neither policy looks at it
Row = dict[str, str]
Numbers = list[tuple[float, float]]  # here, in the table
Choices = list[tuple[Any, Any]]
Compare = Callable[[Row], tuple[Numbers, Choices]]


def main() -> int:
    """Compare every table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder of the tables")
    folder, status = parser.parse_args().folder, 0
    for compare in TABLES:
        try:
            good, words = verdict(read(folder, compare.__name__), compare)
        except BadInput as problem:
            print(f"error: {problem}", file=sys.stderr)
            return 2
        print(f"{compare.__name__:22} {words}", flush=True)
        status = max(status, 0 if good else 1)
    return status


def verdict(rows: list[Row], compare: Compare) -> tuple[bool, str]:
    """Return whether a table is met, and its rows, worst error and choices in words."""
    numbers: Numbers = []
    choices: Choices = []
    for k, row in enumerate(rows, 1):
        try:
            more, chosen = compare(row)
        except KeyError as missing:
            raise BadInput(f"{compare.__name__}, row {k}: there is no {missing}") from None
        except (ValueError, TypeError, AttributeError, OverflowError, ZeroDivisionError) as problem:
            raise BadInput(f"{compare.__name__}, row {k} is not as it should be: {problem}") from None
        numbers += more
        choices += chosen
    worst = max((error(*pair) for pair in numbers), default=0.0)
    wrong = sum(ours != theirs for ours, theirs in choices)
    words = f"{len(rows)} rows"
    if numbers:
        same = sum(ours == theirs for ours, theirs in numbers)
        words += f", worst relative error {worst:.1e}, {same} of {len(numbers)} numbers to the last bit"
    if choices:
        words += f", {len(choices) - wrong} of {len(choices)} choices the same"
    return worst <= TOLERANCE and wrong == 0, words


def error(ours: float, theirs: float) -> float:
    """Return the relative error; infinity where either is no number."""
    if ours == theirs:
        return 0.0
    found = abs(ours - theirs) / max(abs(theirs), 1e-300)
    return found if np.isfinite(found) else np.inf


def read(folder: Path, name: str) -> list[Row]:
    """Return the rows of a table.

    Raises:
        BadInput: there is none of this name, or it is none.
    """
    path = next((path for path in (folder / f"{name}.csv.gz", folder / f"{name}.csv") if path.is_file()), None)
    if path is None:
        raise BadInput(f"{folder} has no table {name}.csv.gz")
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as text:
            rows = list(csv.DictReader(text))
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as problem:
        raise BadInput(f"{path} cannot be read: {problem}") from None
    if not rows:
        raise BadInput(f"{path} has no rows")
    return rows


def infercept_waste(row: Row) -> tuple[Numbers, Choices]:
    """Compare both wastes of a paused request."""
    context = int(row["ctx_blocks"]) * int(row["block_size"])
    held = int(row["running_blocks"]) * int(row["block_size"])
    costs = PUBLISHED["infercept"]
    kept = preserve_waste(float(row["api_remaining_s"]), context)
    again = discard_waste(context, int(row["running_tokens"]), held, costs.per_token, costs.base, int(costs.budget))
    return [(kept, float(row["preserve"])), (again, float(row["discard"]))], []


def infercept_swap_budget(row: Row) -> tuple[Numbers, Choices]:
    """Compare the blocks that may move in a step."""
    free, block = int(row["free_tokens"]), int(row["block_size"])
    ours = swap_in_blocks(free, block), swap_out_blocks(free, block)
    theirs = float(row["max_swap_in_blocks"]), float(row["max_swap_out_blocks"])
    return list(zip(ours, theirs, strict=True)), []


def infercept_decisions(row: Row) -> tuple[Numbers, Choices]:
    """Compare who is discarded in a step, and who stays as the first victims."""
    block, now = int(row["block_size"]), float(row["now"])
    running, paused = json.loads(row["running_blocks_tokens"]), json.loads(row["paused_id_blocks_exec_calltime"])
    away = np.zeros(len(paused), AWAY)
    away["block_size"], away["clock"] = block, now
    away["scheduled"] = sum(tokens for _, tokens in running)
    away["held"] = block * sum(blocks for blocks, _ in running)
    for place, (_, blocks, gap, since) in zip(away, paused, strict=True):
        place["blocks"], place["context"] = blocks, blocks * block
        place["predicted_gap"], place["since"] = gap, since
    away["elapsed"] = away["clock"] - away["since"]
    kept, first = decided(retention_policy("infercept"), away)
    names = [name for name, *_ in paused]
    return [], [
        (chosen(names, kept == DISCARD), json.loads(row["discarded_now"])),
        (chosen(names, first), json.loads(row["kept_as_victims"])),
    ]


def mars_waste_rank(row: Row) -> tuple[Numbers, Choices]:
    """Compare the three wastes of a request, the strategy that is fixed, and its rank under each."""
    names = ("prompt", "pred_pre_api_tokens", "api_return_tokens", "running_tokens", "api_calls_left", "block_size")
    prompt, predicted, returned, load, left, block = (int(row[name]) for name in names)
    gap, policy, away = float(row["pred_api_s"]), retention_policy("lamps"), np.zeros(1, AWAY)
    away["blocks"], away["block_size"] = (prompt + predicted + block - 1) // block, block
    away["predicted_gap"], away["calls_left"] = gap, left
    away["scheduled"], away["held"] = load, block * int(row["running_blocks"])
    theirs = [float(row[name]) for name in ("preserve", "discard", "swap")]
    numbers = list(zip(wastes(away.view(np.recarray)[0], policy.params_for()), theirs, strict=True))
    for name, strategy in STRATEGIES.items():
        score = memory_time(prompt, predicted, returned, gap, left, strategy, load)
        numbers.append((score, float(row[f"score_{name}"])))
    settled(policy, away)
    numbers.append((float(away["stored"][0]), min(theirs)))
    return numbers, [(away["strategy"][0], STRATEGIES[row["strategy"]])]


def mars_decisions(row: Row) -> tuple[Numbers, Choices]:
    """Compare who is discarded, who is swapped and who stays as the first victims, by what was fixed before."""
    paused = json.loads(row["paused_id_strategy_waste"])
    away = np.zeros(len(paused), AWAY)
    for place, (_, strategy, waste) in zip(away, paused, strict=True):
        place["strategy"], place["stored"] = STRATEGIES[strategy], waste
    kept, first = decided(retention_policy("lamps"), away)
    names = [name for name, *_ in paused]
    return [], [
        (chosen(names, kept == DISCARD), json.loads(row["discarded_now"])),
        (chosen(names, kept == SWAP), json.loads(row["swapped_now"])),
        (chosen(names, first), json.loads(row["kept_as_victims"])),
    ]


def decided(policy: RetentionPolicy, away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a policy says of contexts that are away `(n,)`, and who goes first `(n,)`, in the engine's pass."""
    kept, first, params = np.zeros(len(away)), np.zeros(len(away), bool), policy.params_for()
    keep, waste, *_ = policy.compiled()
    decide(records(away), NO_SYSTEM, keep, waste, policy.ranked, params, kept, first)
    policy.refuse_failure(params)
    return kept, first


def settled(policy: RetentionPolicy, away: np.ndarray) -> None:
    """Let a policy fix what happens to contexts `(n,)`."""
    params = policy.params_for()
    _, waste, fix, *_ = policy.compiled()
    settle(records(away), NO_SYSTEM, fix, waste, params)
    policy.refuse_failure(params)


def chosen(names: list[str], which: np.ndarray) -> list[str]:
    """Return the names of those chosen."""
    return [name for name, one in zip(names, which, strict=True) if one]


TABLES = (infercept_waste, infercept_swap_budget, infercept_decisions, mars_waste_rank, mars_decisions)


if __name__ == "__main__":
    sys.exit(main())
