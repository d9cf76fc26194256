"""Records episodes that a policy by hand plays as a Minari data set, for offline learners.

    python agents/minari_episodes.py --env-id llmqueue/LLMBatching-v0 --player remaining-seconds --episodes 20
    minari list local

Observations are those of the environment, a `Dict` of jobs, system and mask; rewards are in its unit. What the policy
is told is what the agent sees. Needs `pip install -r agents/requirements-clients.txt`.
"""

from dataclasses import dataclass

import gymnasium
import minari
import tyro

import llmqueue_gym  # noqa: F401 (registers the environments)
from llmqueue_gym.envs.opened import baseline_agent, order_of
from llmqueue_gym.errors import in_one_line
from llmqueue_gym.integrations.report import env_arguments, first_training_seed


@dataclass
class Options:
    """What is recorded.

    Attributes:
        env_id: environment.
        env_args: its arguments, such as `load=0.8`.
        player: policy by hand; that of the id unless told otherwise.
        episodes: how many.
        dataset: its id in Minari, `llmqueue/<environment>/<player>-v0` unless told otherwise.
        seed: of the first episode among training seeds; they follow one another.
    """

    env_id: str = "llmqueue/MG1Preemptive-v0"
    env_args: tuple[str, ...] = ()
    player: str = ""
    episodes: int = 10
    dataset: str = ""
    seed: int = 0


def main(o: Options) -> str:
    """Record, and return the id of the data set."""
    env = minari.DataCollector(gymnasium.make(o.env_id, **env_arguments(o.env_args)))
    name = o.player or order_of(o.env_id)
    agent, first = baseline_agent(name, env), first_training_seed(o.seed)
    for seed in range(first, first + o.episodes):
        observation, _ = env.reset(seed=seed)
        over = False
        while not over:
            observation, _, terminated, truncated, _ = env.step(agent.act(observation))
            over = terminated or truncated
    short = o.env_id.removeprefix("llmqueue/").removesuffix("-v0").lower()
    dataset = o.dataset or f"llmqueue/{short}/{name.partition(':')[0]}-v0"
    env.create_dataset(
        dataset,
        algorithm_name=name,
        author="llmqueue_gym",
        description=f"{o.episodes} episodes of {o.env_id}, played by the policy {name}, seeds from {first} on.",
    )
    return dataset


if __name__ == "__main__":
    with in_one_line():
        print(main(tyro.cli(Options, description=__doc__.partition("\n")[0])))
