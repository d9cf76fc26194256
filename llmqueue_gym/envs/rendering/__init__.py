"""Frames of the environments. To show a new family: write a function from its episodes to a `Scene`, add its line here.

An environment outside this package overrides `scalar.CompiledEnv.scene`.
"""

from typing import Any

import numpy as np

from llmqueue_gym.envs.episodes import Episodes
from llmqueue_gym.envs.rendering.scene import Scene
from llmqueue_gym.errors import BadInput
from llmqueue_gym.registry import Registry

MODES = ("rgb_array", "ansi")
FPS = 10  # frames, which are decisions, per second of a video

_HERE = "llmqueue_gym.envs.rendering"
SCENES = Registry(  # by the class of the episodes
    "scene",
    {
        "MG1Batch": f"{_HERE}.job_scenes:mg1_scene",
        "ServerEpisodes": f"{_HERE}.job_scenes:server_scene",
        "DispatchEpisodes": f"{_HERE}.dispatch_scene:dispatch_scene",
        "ServingBatch": f"{_HERE}.serving_scene:serving_scene",
    },
)
DRAWERS = Registry("render_mode", {"rgb_array": f"{_HERE}.picture:picture", "ansi": f"{_HERE}.ansi:ansi"})


def scene_of(batch: Episodes, title: str) -> Scene:
    """Return what a frame of the first run of a batch shows.

    Raises:
        BadInput: nobody has said how such episodes are shown.
    """
    for cls in type(batch).__mro__:
        if cls.__name__ in SCENES:
            scene: Scene = SCENES.builder(cls.__name__)(batch, title)
            return scene
    raise BadInput(f"there are no frames of {type(batch).__name__}: override CompiledEnv.scene to have them")


def drawn(scene: Scene, mode: str) -> Any:
    """Return a frame: for "rgb_array" uint8 `(400, 640, 3)`, for "ansi" text."""
    frame: np.ndarray | str = DRAWERS.builder(mode)(scene)
    return frame
