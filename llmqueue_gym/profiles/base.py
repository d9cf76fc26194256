"""A cost profile: how long an iteration of one model on one GPU takes, and what the replica holds, draws and costs.

The time of an iteration is one of a few forms (see `engines.batching.cost`), each with numbers; a profile is the name
of a form, its numbers, and where they come from.
"""

import re
from contextlib import suppress
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, Literal, get_args

import numpy as np

from llmqueue_gym.errors import BadInput, nearest

Form = Literal["roofline", "phases", "splitwise", "vidur-tables", "experts", "distserve"]

# How many numbers a form has, where that is fixed; of Vidur's tables the shapes stand in `engines.batching.cost`.
COUNTS = {
    "roofline": 5,
    "phases": 12,
    "experts": 7,
    "distserve": 24,
    "vidur-tables": 1 + 512 + 128 * 65 + 4096 + 65 * 512,
}
LEAST, MOST = 1e-9, 1e6  # s: what an iteration takes at least, and the most that a coefficient may be
MOST_TOKENS = 10**9  # of memory
MOST_OF = 1e15  # of all other numbers
PUE, GRID = 1.1, 429.0  # where GPT-3 was trained: LLMCarbon, data/database.csv, after Patterson et al., 2021
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # and halves of pairs, which no file can hold


@dataclass(frozen=True)
class Power:
    """Watts of the whole replica (all its GPUs) in each state, and where they come from."""

    idle: float
    prefill: float
    decode: float
    source: str = ""


_UNKNOWN = Power(float("nan"), float("nan"), float("nan"))


@dataclass(frozen=True, eq=False)
class Profile:
    """Constants of one model on one replica.

    Attributes:
        name: in the registry.
        model: model served.
        gpu: GPUs of a replica, such as "2x A100-80GB".
        form: how the time of an iteration follows from its batch; see `engines.batching.cost`.
        numbers: coefficients `(k,)` of that form, in seconds.
        kv_tokens: tokens whose keys and values fit in memory.
        kv_bytes_per_token: 2 * layers * kv_heads * head_dim * bytes, over all GPUs; grouped-query aware.
        source: where the numbers come from.
        error: how well they fit, in words; "not stated" where nobody says.
        estimated: which parts are estimates rather than measurements, in words; empty where none.
        memory_gb: memory of the replica, GB of 1e9 bytes.
        power: watts by state.
        price_per_hour: USD an hour for the replica.
        price_source: where the price comes from.
        embodied_kg: CO2e of making its GPUs, kg.
        embodied_source: how that is reckoned.
        pue: energy that the building takes for each unit that the replica takes.
        grid: CO2e of a kWh where it stands, g.

    Raises:
        BadInput: an unknown form, numbers that are not of that form or give no time at all, or no room for a token.
    """

    name: str
    model: str
    gpu: str
    form: Form
    numbers: np.ndarray = field(repr=False)
    kv_tokens: int
    kv_bytes_per_token: float
    source: str
    error: str = "not stated"
    estimated: str = ""
    memory_gb: float = float("nan")
    power: Power = _UNKNOWN
    price_per_hour: float = float("nan")
    price_source: str = ""
    embodied_kg: float = float("nan")
    embodied_source: str = ""
    pue: float = PUE
    grid: float = GRID

    def __post_init__(self) -> None:
        for key in ("name", "model", "gpu", "source", "error", "estimated", "price_source", "embodied_source"):
            if odd := _CONTROL.search(getattr(self, key)):
                raise BadInput(f"profile: {key} has the character {odd[0]!r}; it must be one line of text")
        numbers = np.ascontiguousarray(self.numbers, dtype=np.float64)
        object.__setattr__(self, "numbers", numbers)
        if self.form not in get_args(Form):
            raise BadInput(f"profile {self.name!r}: unknown form {self.form!r}; {nearest(self.form, get_args(Form))}")
        if not (1 <= self.kv_tokens <= MOST_TOKENS and self.kv_tokens == int(self.kv_tokens)):
            raise BadInput(
                f"profile {self.name!r}: kv_tokens={self.kv_tokens:g} is not a whole number from 1 to "
                f"{MOST_TOKENS:g}; try 10000"
            )
        if self.kv_bytes_per_token == 0:
            raise BadInput(f"profile {self.name!r}: kv_bytes_per_token={self.kv_bytes_per_token:g} is not positive")
        if self.pue < 1:
            raise BadInput(f"profile {self.name!r}: pue={self.pue:g} must be at least 1, all energy over the replica's")
        for key in ("kv_bytes_per_token", "memory_gb", "price_per_hour", "embodied_kg", "pue", "grid"):
            _check_number(self.name, key, getattr(self, key))
        for key in ("idle", "prefill", "decode"):
            _check_number(self.name, f"power.{key}", getattr(self.power, key))
        object.__setattr__(self, "kv_tokens", int(self.kv_tokens))
        if wrong := _wrong(self.form, numbers):
            raise BadInput(f"profile {self.name!r}: {wrong}")

    @property
    def shortest(self) -> float:
        """S that an iteration takes at least, whatever its batch; 0 for a form of which this is not known."""
        numbers = self.numbers
        if self.form == "roofline" and (numbers[2:] >= 0).all():
            return max(float(numbers[0]), float(numbers[1] + numbers[2]), 0.0)
        if self.form == "experts" and (numbers[[0, 1, 2, 5, 6]] >= 0).all() and numbers[2] <= 1:
            return float(numbers[0] + numbers[1] * numbers[2])  # one token reads no less than its own share
        return 0.0

    def check_transfers(self, who: str) -> None:
        """Refuse to time moves of blocks to the host and back, which `who` makes, where the bytes are not known."""
        if np.isnan(self.kv_bytes_per_token):
            raise BadInput(
                f"{who} swaps blocks to the host, and profile {self.name!r} does not say how many bytes a token has: "
                "fit it with --kv-bytes-per-token, or read it as file:PATH,kv_bytes_per_token=131072 (Llama-3-8B)"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, as `from_dict` reads them back; the numbers as a list."""
        told = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**told, "numbers": self.numbers.tolist(), "power": asdict(self.power)}

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> "Profile":
        """Return the profile of which `told` has the fields.

        Raises:
            BadInput: a field that is unknown, missing or of the wrong type.
        """
        power = told.get("power", {})
        if not isinstance(power, dict):
            raise BadInput(f"power={power!r} is not an object with idle, prefill and decode")
        made = _read(Power, power, "power") if power else _UNKNOWN
        return _read(cls, {**told, "power": made}, "profile")


def kv_bytes(layers: int, kv_heads: int, head_dim: int, bytes_each: float = 2) -> float:
    """Return the bytes of the keys and values of one token, over all GPUs of a replica.

    With grouped queries `kv_heads` is fewer than the heads of queries; a number takes 2 bytes in fp16 and bf16.
    """
    return float(2 * layers * kv_heads * head_dim * bytes_each)


def kv_capacity(memory_bytes: float, weight_bytes: float, bytes_per_token: float, share: float = 0.9) -> int:
    """Return the tokens whose keys and values fit beside the weights in a share of the memory.

    The default share is vLLM's default `gpu_memory_utilization`; activations are not subtracted.
    """
    return int((share * memory_bytes - weight_bytes) // bytes_per_token)


def _check_number(name: str, key: str, value: float) -> None:
    """Refuse what is neither unknown (NaN) nor in proportion."""
    if not (np.isnan(value) or 0 <= value <= MOST_OF):
        raise BadInput(f"profile {name!r}: {key}={value:g} must lie between 0 and {MOST_OF:g}")


def _wrong(form: str, numbers: np.ndarray) -> str:
    """Return what is wrong with the numbers of a form, or nothing."""
    if numbers.ndim != 1 or numbers.size == 0:
        return f"numbers of shape {numbers.shape} are not a row"
    good = (numbers >= 0) & (numbers <= MOST)  # false for NaN, too
    if not good.all():
        return f"number {numbers[~good][0]:g} is not finite and from 0 to {MOST:g}"
    if form in COUNTS and len(numbers) != COUNTS[form]:
        return f"form {form!r} has {COUNTS[form]} numbers, not {len(numbers)}"
    if form == "splitwise":
        return _wrong_tables(numbers)
    if form == "roofline":
        least = max(numbers[:2])
    elif form == "phases":
        least = min(numbers[[0, 4, 7]] + numbers[10])
    elif form == "distserve":
        least = min(*(numbers[[0, 3, 6]] + numbers[10]), *(numbers[[12, 15, 18]] + numbers[22]))
    elif form == "experts":
        if max(numbers[2:4]) > 1:
            return f"shares {numbers[2]:g} of the experts and {numbers[3]:g} of the reading must be 1 at most"
        least = numbers[0] + numbers[1] * numbers[2]
    else:
        least = numbers[0] * min(numbers[1:513])
    return "" if least >= LEAST else _TOO_SHORT


_TOO_SHORT = f"an iteration must take some time even where it has little to do, {LEAST:g} s at least; give a base"


def _wrong_tables(numbers: np.ndarray) -> str:
    """Return what is wrong with the tables of the form "splitwise", or nothing."""
    broken = "numbers are not tables of the form 'splitwise'"
    k = int(numbers[1]) if len(numbers) > 2 else 0
    at = 2 + 2 * k
    if k < 2 or len(numbers) < at + 2:
        return broken
    b, c = int(numbers[at]), int(numbers[at + 1])
    if min(b, c) < 2 or len(numbers) != at + 2 + b + c + b * c:
        return broken
    grids = (numbers[2 : 2 + k], numbers[at + 2 : at + 2 + b], numbers[at + 2 + b : at + 2 + b + c])
    if any((np.diff(grid) <= 0).any() for grid in grids):
        return f"{broken}: a grid does not ascend"
    shortest = min(numbers[2 + k] * min(1, numbers[0]), numbers[at + 2 + b + c]) / 2  # as `cost.splitwise_time` has it
    return "" if shortest >= LEAST else _TOO_SHORT


def _read(cls: Any, told: dict[str, Any], what: str) -> Any:
    """Return the dataclass of which `told` has the fields; null is NaN, as JSON has none."""
    known = {f.name: f for f in fields(cls)}
    for key in told:
        if key not in known:
            raise BadInput(f"{what} has no field {key!r}; {nearest(key, known)}")
    for key, f in known.items():
        if key not in told and f.default is MISSING:
            raise BadInput(f"{what} lacks the field {key!r}")
    return cls(**{key: _value(what, key, known[key].type, value) for key, value in told.items()})


def _value(what: str, key: str, kind: Any, value: Any) -> Any:
    """Return a value of JSON as a field of this type holds it."""
    if kind is float and value is None:
        return float("nan")
    if kind is np.ndarray:
        with suppress(TypeError, ValueError, OverflowError):
            return np.array(value, dtype=np.float64)
    elif kind in (float, int):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            with suppress(OverflowError):  # a whole number beyond the floats
                return float(value) if kind is float or abs(value) > MOST_OF else value
    elif kind is Power or isinstance(value, str):
        return value
    raise BadInput(f"{what}: {key}={value!r} is not what belongs there")
