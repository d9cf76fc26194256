"""The baseline agent of any environment: a named policy that plays by the rules of a learned one.

To add one for a family of environments: write its class, `<Name>Agent(given, config)`, and add a line here.
"""

from typing import Any

from llmqueue_gym.errors import BadInput
from llmqueue_gym.registry import Registry

_HERE = "llmqueue_gym.envs"

# By the class of the keyword arguments, of which each family has its own.
AGENTS = Registry(
    "agent",
    {
        "DispatchConfig": f"{_HERE}.dispatch_agent:DispatchAgent",
        "MG1Config": f"{_HERE}.baseline:RankAgent",
        "ServerConfig": f"{_HERE}.server_agent:ServerAgent",
        "ServingConfig": f"{_HERE}.serving_agent:ServingAgent",
    },
)


def baseline_agent(given: Any, env: Any) -> Any:
    """Return an agent that plays a policy in an environment; it has `act_env(env)`, most have `act(observation)` too.

    Args:
        given: a policy that belongs there, its spec, or a rank function.
        env: a scalar or vector environment, wrapped or not.

    Raises:
        BadInput: the policy is unknown or cannot be played in this environment, or there are no agents for it.
    """
    config = getattr(env.unwrapped, "config", None)
    for kind in type(config).__mro__:
        if kind.__name__ in AGENTS:
            return AGENTS.builder(kind.__name__)(given, config)
    raise BadInput(f"there are no baseline agents for {type(env.unwrapped).__name__}; AGENTS.register adds them")
