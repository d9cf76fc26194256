"""Agents from files, whatever made them: what plays in rollouts and on boards.

| file | what it is |
|---|---|
| `agent.zip` | an algorithm of Stable-Baselines3 or sb3-contrib, as its `save` writes it |
| a folder with `rllib_checkpoint.json` or `metadata.json` | a checkpoint of RLlib, as `save_to_path` writes it |
| a folder with `card.json` | a trained policy, see `policies.learned` |
| `file.py` | Python that defines `agent`, an object as `envs.rollout.acting` takes it, or a policy |
"""

import importlib
import os
import runpy
import zipfile
from pathlib import Path
from typing import Any

from llmqueue_gym.envs.rollout import acting
from llmqueue_gym.errors import BadInput
from llmqueue_gym.policies.base import BasePolicy
from llmqueue_gym.policies.learned import load
from llmqueue_gym.policies.learned.artefact import CARD

# By the class of what chooses actions: the algorithm whose `predict` is the right one, for the masks.
_ALGORITHMS = (
    ("sb3_contrib.common.maskable.policies:MaskableActorCriticPolicy", "sb3_contrib:MaskablePPO"),
    ("stable_baselines3.common.policies:ActorCriticPolicy", "stable_baselines3:PPO"),
    ("stable_baselines3.dqn.policies:DQNPolicy", "stable_baselines3:DQN"),
    ("sb3_contrib.qrdqn.policies:QRDQNPolicy", "sb3_contrib:QRDQN"),
)
_CHECKPOINT = ("rllib_checkpoint.json", "metadata.json")


def load_agent(path: str | os.PathLike[str]) -> Any:
    """Return the agent, or the policy, of a file or folder.

    Raises:
        BadInput: there is none, or it is of none of these kinds, or the library that made it is missing.
    """
    path = Path(path)
    if not path.exists():
        raise BadInput(f"{path}: no such file or folder")
    if path.is_dir() and (path / CARD).is_file():
        return load(path)
    if path.is_dir() and any((path / name).is_file() for name in _CHECKPOINT):
        return _outside(path, "a checkpoint of RLlib", "ray[rllib]", _of_rllib)
    if path.is_file() and zipfile.is_zipfile(path):
        return _outside(path, "an algorithm of Stable-Baselines3", "llmqueue-gym[train]", _of_stable_baselines)
    if path.suffix == ".py":
        return _defined(path)
    kinds = "a .zip of Stable-Baselines3, a checkpoint of RLlib, the folder of a trained policy, or Python with `agent`"
    raise BadInput(f"{path}: not an agent; give {kinds}")


def _outside(path: Path, what: str, needs: str, make: Any) -> Any:
    """Return what a library makes of its own file; whatever it raises becomes one line."""
    try:
        importlib.import_module("torch").set_num_threads(1)  # more of them slow networks as small as these down
        return make(path)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    except ImportError as error:
        raise BadInput(f"{path}: {what} needs pip install '{needs}' ({_line(error)})") from None
    except Exception as error:
        raise BadInput(f"{path}: not {what} ({_line(error)})") from None


def _of_rllib(path: Path) -> Any:
    return importlib.import_module("llmqueue_gym.integrations.rllib").module_agent(path)


def _of_stable_baselines(path: Path) -> Any:
    saved: Any = importlib.import_module("stable_baselines3.common.save_util")
    importlib.import_module("llmqueue_gym.integrations.sb3")  # whose networks it may have
    data, _, _ = saved.load_from_zip_file(path, device="cpu")
    chooses = data["policy_class"]
    for policy, algorithm in _ALGORITHMS:
        if issubclass(chooses, _named(policy)):
            return _named(algorithm).load(path, device="cpu")
    raise BadInput(f"no algorithm is known that acts by a {chooses.__name__}")


def _named(target: str) -> Any:
    module, name = target.split(":")
    return getattr(importlib.import_module(module), name)


def _defined(path: Path) -> Any:
    try:
        names = runpy.run_path(str(path), run_name=path.stem)
    except Exception as error:
        raise BadInput(f"{path}: {type(error).__name__}: {_line(error)}") from None
    agent = names.get("agent")
    if agent is None:
        raise BadInput(f"{path}: it defines no `agent`, an object with act(observation), or a policy")
    if acting(agent) is None and not isinstance(agent, BasePolicy):
        raise BadInput(f"{path}: `agent` is a {type(agent).__name__}, with neither act(observation) nor predict")
    return agent


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
