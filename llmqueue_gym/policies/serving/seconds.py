"""What a prompt, or a batch of decodes, takes under a cost profile, for policies that rank by seconds."""

from typing import Any

import numpy as np

from llmqueue_gym.errors import BadInput


def prefill_seconds(profile: Any, prompts: np.ndarray) -> np.ndarray:
    """Return the time of an iteration that computes one whole prompt and nothing else, s.

    Args:
        profile: `Profile` of any form but "vidur-tables".
        prompts: lengths of the prompts `(n,)`, tokens.
    """
    numbers, tokens = profile.numbers, np.asarray(prompts, float)
    if profile.form == "roofline":
        floor, base, token, pair, _ = numbers
        return np.maximum(floor, base + token * tokens) + pair * tokens**2 / 2
    if profile.form == "experts":
        read = numbers[0] + numbers[1] * (1 - (1 - numbers[2]) ** tokens)
        return np.maximum(read, numbers[3] * read + numbers[4] * tokens) + numbers[5] * tokens**2 / 2
    if profile.form == "phases":
        base, token, square = numbers[:3]
        return base + token * tokens + square * tokens**2 + numbers[10] + numbers[11] * tokens
    if profile.form == "splitwise":
        k = int(numbers[1])
        times = _along(numbers[2 : 2 + k], numbers[2 + k : 2 + 2 * k], tokens)
        return np.maximum(times, numbers[2 + k] / 2)
    raise BadInput(f"profile {profile.name!r}: form {profile.form!r} has no seconds for policies; use a fitted profile")


def decode_seconds(profile: Any, decodes: int, context: float) -> float:
    """Return the time of an iteration in which so many requests decode and nothing else happens, s.

    Args:
        profile: as in `prefill_seconds`.
        decodes: requests.
        context: keys and values that each reads, tokens.
    """
    numbers, read = profile.numbers, decodes * context
    if profile.form == "roofline":
        floor, base, token, _, each = numbers
        return float(max(floor, base + token * decodes) + each * read)
    if profile.form == "experts":
        weights = numbers[0] + numbers[1] * (1 - (1 - numbers[2]) ** decodes)
        return float(max(weights, numbers[3] * weights + numbers[4] * decodes) + numbers[6] * read)
    if profile.form == "phases":
        base, each, request = numbers[4:7] if decodes < numbers[3] else numbers[7:10]
        return float(base + each * read + request * decodes + numbers[10] + numbers[11] * decodes)
    if profile.form == "splitwise":
        at = 2 + 2 * int(numbers[1])
        b, c = int(numbers[at]), int(numbers[at + 1])
        rows, columns, table = np.split(numbers[at + 2 :], [b, b + c])
        by_rows = [_along(columns, times, context) for times in table.reshape(b, c)]
        return float(max(_along(rows, np.array(by_rows), decodes), table[0] / 2))
    raise BadInput(f"profile {profile.name!r}: form {profile.form!r} has no seconds for policies; use a fitted profile")


def _along(grid: np.ndarray, values: np.ndarray, x: Any) -> Any:
    """Interpolate linearly, beyond the grid along its end pieces."""
    i = np.clip(np.searchsorted(grid, x, side="right") - 1, 0, len(grid) - 2)
    return values[i] + (values[i + 1] - values[i]) / (grid[i + 1] - grid[i]) * (x - grid[i])
