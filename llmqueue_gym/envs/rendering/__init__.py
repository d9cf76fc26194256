"""How a `Scene` is drawn: as a picture or as text. What a frame shows is said by the system's episodes."""

from typing import Any

import numpy as np

from llmqueue_gym.registry import Registry
from llmqueue_gym.systems.scene import Scene

MODES = ("rgb_array", "ansi")
FPS = 10  # frames, which are decisions, per second of a video

_HERE = "llmqueue_gym.envs.rendering"
DRAWERS = Registry("render_mode", {"rgb_array": f"{_HERE}.picture:picture", "ansi": f"{_HERE}.ansi:ansi"})


def drawn(scene: Scene, mode: str) -> Any:
    """Return a frame: for "rgb_array" uint8 `(400, 640, 3)`, for "ansi" text."""
    frame: np.ndarray | str = DRAWERS.builder(mode)(scene)
    return frame
