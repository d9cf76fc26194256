"""The LMSYS arena trace of VTC: one JSON object a line with `req_time` (s), `prompt_len`, `output_len`.

The original is a Python pickle, which can run code when it is opened; convert it to these lines elsewhere.
"""

import os

from llmqueue_gym.workloads.traces.in_order import sorted_trace
from llmqueue_gym.workloads.traces.json_lines import read_json_columns
from llmqueue_gym.workloads.traces.trace import Trace


def load_vtc(path: str | os.PathLike[str]) -> Trace:
    """Read a converted VTC trace; its authors rescaled the times to 600 s, and its clients are not kept.

    Raises:
        BadInput: see `load_trace`.
    """
    columns = read_json_columns(path, ["req_time", "prompt_len", "output_len"])
    source = "Ying1123/VTC-artifact; Sheng et al., Fairness in Serving Large Language Models, OSDI 2024"
    return sorted_trace(path, columns, unit=1.0, source=source, licence="Apache-2.0")
