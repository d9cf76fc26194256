"""Chains whose context grows: each prompt has all that was said before it, and then tokens of its own."""

import numpy as np

from llmqueue_gym.workloads.programs.calls import Calls, calls_of


def growing(
    program: np.ndarray,
    place: np.ndarray,
    parents: np.ndarray,
    first: np.ndarray,
    own: np.ndarray,
    outputs: np.ndarray,
    **more: object,
) -> Calls:
    """Return chains each call of which has the whole context before it in its prompt, and then tokens of its own."""
    ends = np.cumsum(own + outputs)
    heads = np.flatnonzero(place == 0)
    said = ends - (ends[heads] - own[heads] - outputs[heads])[program]  # up to the end of each call
    prompts = said - outputs
    rows = np.arange(len(program))
    told: dict[str, object] = {"base": np.where(place > 0, rows - 1, -1), "kept": np.where(place > 0, prompts - own, 0)}
    return calls_of(program, parents, first, prompts, outputs, **(told | more))
