"""The best parameter of a policy that pays for predictions, by its exact cost: mean response time and price.

from llmqueue_gym import Scenario
from llmqueue_gym.systems.optimum import best

found = best("one-bit-paid", Scenario("predict", load=0.9))
print(found.policy, found.exact.cost)  # one-bit-paid:threshold=2.17..., 6.453
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from llmqueue_gym.errors import BadInput, Unstable, nearest
from llmqueue_gym.systems.known import load_of

if TYPE_CHECKING:
    from llmqueue_gym.systems.scenario import Scenario

PARAMETERS = {"one-bit-paid": "threshold", "skip-predict": "threshold", "delay-predict": "limit", "selective": "p"}
ROUGH = 200  # cells of predictions while it is looked for; costs are then right to a tenth of a per cent
GRID = 9  # values that are tried first
EXACT = 0.01  # of the parameter, relative, or of the share p


class Best(NamedTuple):
    """The best parameter.

    Attributes:
        policy: spec of the policy with it.
        value: of the parameter.
        exact: its `Staged`.
    """

    policy: str
    value: float
    exact: Any


def best(policy: str, scenario: "Scenario") -> Best:
    """Return the parameter at which a policy costs least in a scenario of system `predict`.

    Args:
        policy: a name, or a spec that tells the other parameters, as in selective:blind_first=false.
        scenario: laws, load and costs.

    Raises:
        BadInput: the policy has no parameter to look for, or it is told.
        NotApplicable: the theorem does not cover the case.
        Unstable: with every value predictions and jobs are more than the server can do.
    """
    from scipy.optimize import minimize_scalar  # which takes a while to import

    name, colon, told = policy.partition(":")
    if name not in PARAMETERS:
        raise BadInput(f"policy {name!r} has no parameter to look for; {nearest(name, PARAMETERS)}")
    parameter, law = PARAMETERS[name], scenario.law
    if f"{parameter}=" in told:
        raise BadInput(f"{policy} tells the {parameter} that is looked for; leave it out")

    def spec(u: float) -> str:
        value = float(u) if parameter == "p" else float(np.exp(u))
        return f"{name}:{told},{parameter}={value!r}" if colon else f"{name}:{parameter}={value!r}"

    def cost(u: float) -> float:
        try:
            return float(_exact(spec(u), scenario, ROUGH).cost)
        except Unstable:
            return np.inf

    low, high = (0.0, 1.0) if parameter == "p" else np.log([law.ppf(0.01), law.isf(1e-5)])
    grid = np.linspace(low, high, GRID)
    costs = [cost(u) for u in grid]
    i = int(np.argmin(costs))
    near = grid[max(i - 1, 0)], grid[min(i + 1, GRID - 1)]
    found = minimize_scalar(cost, bounds=near, method="bounded", options={"xatol": EXACT})
    at = float(found.x) if found.fun < costs[i] else float(grid[i])
    return Best(spec(at), at if parameter == "p" else float(np.exp(at)), _exact(spec(at), scenario))


def _exact(spec: str, scenario: "Scenario", *cells: int) -> Any:
    from llmqueue_gym.theory.stages import CELLS, analyse_stages

    system: Any = scenario.system
    made = scenario.policy(spec)
    model, cheap, load = system.predictor(scenario, made), system.cheap_model(scenario), load_of(scenario)
    return analyse_stages(made, scenario.law, model, load, system.costs, cheap, *(cells or (CELLS,)))
