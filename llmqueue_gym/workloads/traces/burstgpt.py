"""BurstGPT: `Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type`, time in s."""

import os
from pathlib import Path

from llmqueue_gym.columns import read_columns
from llmqueue_gym.errors import BadInput
from llmqueue_gym.workloads.traces.trace import Trace


def load_burstgpt(path: str | os.PathLike[str]) -> Trace:
    """Read a BurstGPT trace; rows with 0 response tokens are failed requests and are counted in `dropped`.

    Raises:
        BadInput: see `load_trace`.
    """
    stamps, prompts, outputs = read_columns(path, ["Timestamp", "Request tokens", "Response tokens"])
    times = stamps.numbers()
    stamps.check_sorted(times)
    prompt_tokens, output_tokens = prompts.counts(), outputs.counts()
    served = output_tokens > 0
    if not served.any():
        raise BadInput(f"{path} is empty: every row has 0 response tokens, a failed request")
    return Trace(
        arrival_s=times[served] - times[served][0],
        prompt_tokens=prompt_tokens[served],
        output_tokens=output_tokens[served],
        name=Path(path).name,
        source="HPMLL/BurstGPT; Wang et al., BurstGPT, KDD 2025",
        licence="CC-BY-4.0",
        dropped=int((~served).sum()),
    )
