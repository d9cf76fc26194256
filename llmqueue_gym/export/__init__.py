"""Export of policies to serving engines: a folder with a module that the engine loads, and that needs nothing of this.

To add an engine: write a `Target` in a file of its own with its templates, and add its line here.
"""

import os
from pathlib import Path
from typing import Any

from llmqueue_gym.export.chosen import chosen
from llmqueue_gym.export.folder import check_folder, write_folder
from llmqueue_gym.registry import Registry

__all__ = ["TARGETS", "export"]

_HERE = "llmqueue_gym.export"

TARGETS = Registry(
    "engine",
    {
        "vllm": f"{_HERE}.vllm:Vllm",
        "sglang": f"{_HERE}.sglang:Sglang",
        "priority-proxy": f"{_HERE}.proxy:PriorityProxy",
    },
)


def export(
    policy: Any,
    to: str,
    out: str | os.PathLike[str],
    profile: str = "a100-llama3-8b",
    rules: str = "vllm-v1",
    command: str = "llmqueue_gym.export.export",
) -> Path:
    """Write a policy for an engine, and return the folder.

    Args:
        policy: serving policy, its spec, or the folder of a trained one.
        to: engine, a name in `TARGETS`.
        out: folder to write; empty, missing, or an earlier export, which is replaced.
        profile: cost profile, for policies that compute their numbers from it.
        rules: rule set, likewise.
        command: that the files say made them.

    Raises:
        BadInput: there is no such policy or engine, or the engine cannot do what the policy does.
    """
    target = TARGETS(to)
    check_folder(out)
    return write_folder(out, target.files(chosen(policy, profile, rules), command))
