"""Draw a frame of every environment, as pages of the site show it.

    python docs/frames.py             # all that are missing in docs/_static/frames
    python docs/frames.py MG1 Routing

They are kept, because fleets take minutes to compile.
"""

import sys
from pathlib import Path

import gymnasium
from PIL import Image

from llmqueue_gym import baseline_agent
from llmqueue_gym.envs import ENVIRONMENTS

FRAMES = Path(__file__).parent / "_static" / "frames"
DECISIONS = 150
BY_NAME = {name.removeprefix("llmqueue/").removesuffix("-v0"): name for name in ENVIRONMENTS}


def frame(name: str) -> Image.Image:
    """Return the frame of an id after some decisions of the policy by hand from which learners depart there."""
    env = gymnasium.make(name, render_mode="rgb_array")
    agent = baseline_agent(ENVIRONMENTS[name].order, env)
    observation, _ = env.reset(seed=1)
    for _ in range(DECISIONS):
        observation, _, terminated, truncated, _ = env.step(agent.act(observation))
        if terminated or truncated:
            break
    return Image.fromarray(env.render()).quantize(64)


if __name__ == "__main__":
    FRAMES.mkdir(parents=True, exist_ok=True)
    for short in sys.argv[1:] or [short for short in BY_NAME if not (FRAMES / f"{short}.png").is_file()]:
        frame(BY_NAME[short]).save(FRAMES / f"{short}.png", optimize=True)
        print(short, flush=True)
